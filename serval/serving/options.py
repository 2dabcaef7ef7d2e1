"""What a person may ask of `serval serve`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from serval.refusal import Refusal
from serval.serving.limits import Limits


def home() -> Path:
    """Where a service keeps its streams and keys: ``$SERVAL_DATA/serve``, or ``~/.local/share/serval/serve``."""
    return Path(os.environ.get("SERVAL_DATA") or Path.home() / ".local/share/serval") / "serve"


@dataclass(frozen=True)
class ServeOptions:
    """See `serval serve --help`.

    Attributes:
        sources: what clients may have watched, by name: only its owner gives an address or a path, never the network.
        timeline: address of a PostgreSQL database for the events of all streams; they are in the streams' folders otherwise.
        webhooks: origins that may be called when something is told; nothing else is ever called.
        gate: as of `serval watch`, of all streams.
        ray: address of a Ray cluster that works on answers and gates, or "local" for one on this machine.
        chat: the model of `/v1/chat/completions`, as `serval chat --model` takes it.
        answers: how many answers are worked on at a time, of all streams.
    """

    folder: Path = field(default_factory=home)
    host: str = "127.0.0.1"
    port: int = 8080
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    webhooks: tuple[str, ...] = ()
    timeline: str | None = None
    answerer: str | None = None
    gate: str | None = None
    ray: str | None = None
    chat: str = "smollm2"
    fps: float = 8.0
    memory_mb: float = 128.0
    recording_mb: float = 512.0
    answers: int = 1
    kept: int = 50  # streams of a person that are over
    limits: Limits = field(default_factory=Limits)

    @property
    def keys(self) -> Path:
        return self.folder / "keys.json"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False


def check(options: ServeOptions, *, keys: bool) -> None:
    """Refuse what cannot be served, or should not be.

    Args:
        keys: whether there are any.
    """
    if not options.loopback and not keys:
        raise Refusal(
            f"--host {options.host}",
            "others could reach it, and there is no key",
            "make one: serval keys add NAME --scope watch",
        )
    if not 0 <= options.port <= 65535:
        raise Refusal(f"--port {options.port}", "it must be 0 to 65535", "leave it out for 8080")
    for name in options.sources:
        if not name or not all(each.isalnum() or each in "-_" for each in name):
            raise Refusal(f"--source {name}=…", "a name has letters, digits, - and _", "give NAME=SOURCE")
    for origin in (*options.origins, *options.webhooks):
        if not origin.startswith(("http://", "https://")) or origin.rstrip("/").count("/") != 2:
            raise Refusal(origin, "it is no origin", "give one as https://example.org")
