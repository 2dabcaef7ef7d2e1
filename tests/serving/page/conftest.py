"""People before the page, in a real Chromium, at a service that runs."""

from __future__ import annotations

import os
import shutil
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.serving.page.chromium import ABSENT, camera, chromium
from tests.serving.page.speech import RATE, heard

PATIENCE = 30_000  # milliseconds; nothing here is timed, it only must come


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if shutil.which("chromium") is None:
        terminalreporter.write_line(ABSENT, yellow=True)


@pytest.fixture(scope="module")  # while it is there a loop of asyncio runs in this thread, where other modules want theirs
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with the street before its camera, and somebody who asks before its microphone."""
    folder = tmp_path_factory.mktemp("chromium")
    expect.set_options(timeout=PATIENCE)
    with wave.open(str(folder / "microphone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(heard(), -1, 1) * 32767).astype("<i2").tobytes())
    with chromium(lambda: camera(folder / "camera.y4m"), folder / "microphone.wav") as found:
        yield found


Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Open the page of a service in a browser of one's own. What goes wrong in its scripts fails the test."""
    contexts: list[BrowserContext] = []
    broken: list[str] = []

    def opened(url: str, **options: Any) -> Page:
        granted = ["camera", "microphone"]
        options = {"viewport": {"width": 1440, "height": 1000}, "color_scheme": "light", "permissions": granted, **options}
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(PATIENCE)
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("console", lambda said: broken.append(said.text) if "Content Security Policy" in said.text else None)
        page.goto(url)
        return page

    yield opened
    for each in contexts:
        each.close()
    assert not broken, "\n".join(broken)


@pytest.fixture
def picture() -> Callable[..., None]:
    """Keep a picture of the page for the documents, where ``$SERVAL_PICTURES`` names a folder for them."""

    def kept(page: Page, name: str, **options: Any) -> None:
        if folder := os.environ.get("SERVAL_PICTURES"):
            page.evaluate("() => scrollTo(0, 0)")
            page.screenshot(path=Path(folder) / f"{name}.png", **options)

    return kept
