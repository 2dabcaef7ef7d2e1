"""The page: a few files from a list, that may load nothing from elsewhere and run nothing that is not among them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from serval.serving.problems import Problem
from serval.serving.service import Watcher

router = APIRouter(include_in_schema=False)

_FOLDER: Final = Path(__file__).parents[1] / "page"
_JAVASCRIPT: Final = "text/javascript; charset=utf-8"
FILES: Final = {
    "style.css": "text/css; charset=utf-8",
    "mark.svg": "image/svg+xml",
    **dict.fromkeys(
        (
            *("api.js", "ask.js", "boxes.js", "capture.js", "events.js", "instructions.js", "key.js", "make.js"),
            *("microphone.js", "moment.js", "page.js", "record.js", "recorder.js", "speak.js", "streams.js", "talk.js"),
            *("theme.js", "tiles.js", "timeline.js", "trace.js"),
        ),
        _JAVASCRIPT,
    ),
}
"""What `/page/{file}` serves, and as what."""

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self), geolocation=()",
}


@router.get("/")
def index(person: Watcher) -> Response:
    """The page itself."""
    return _served("index.html", "text/html; charset=utf-8", "no-store")


@router.get("/page/{file}")
def part(person: Watcher, file: str) -> Response:
    """A file that the page is made of."""
    if file not in FILES:
        raise Problem(404, "the page has no such file")
    return _served(file, FILES[file], "no-cache")


def _served(file: str, kind: str, cache: str) -> Response:
    return Response((_FOLDER / file).read_bytes(), media_type=kind, headers={**_HEADERS, "Cache-Control": cache})
