"""What the pixel gate costs a 720p frame, beside comparing whole frames."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.footage import HEIGHT, WIDTH, real_video
from benchmarks.table import Result, Table, Target
from benchmarks.timing import in_turns, paired_ratio, percentile, steps

NAME = "pixel_gate"
ABOUT = "The pixel gate on 720p frames"


def run(quick: bool) -> Result:
    from serval.assistant.perception.pixel_gate import PixelGate
    from serval.media.frame import Frame

    count, rounds = (20, 3) if quick else (100, 15)
    with tempfile.TemporaryDirectory() as folder:
        path = real_video(Path(folder) / "real.mp4", count)
        pictures = _decoded(path)

        def gate(frames: list[av.VideoFrame]) -> list[float]:
            state, changes = PixelGate(), []
            for index, picture in enumerate(frames):
                luma = Frame(picture, source="", index=index, time=0.0).luma
                changes.append(state.change(luma))
                state.examined(luma)
            return changes

        def whole(frames: list[av.VideoFrame]) -> list[float]:
            """The same comparison at full size: grey levels, exposure taken out, a 3x3 mean, the largest difference."""
            before, changes = None, []
            for picture in frames:
                luma = picture.reformat(format="gray").to_ndarray().astype(np.float32)
                if before is not None:
                    ratio = float(np.clip((np.median(luma) + 4.0) / (np.median(before) + 4.0), 0.5, 2.0))
                    changes.append(float(np.abs(cv2.blur(luma - before * ratio, (3, 3))).max()))
                before = luma
            return changes

        def mean(frames: list[av.VideoFrame]) -> list[float]:
            """The cheapest whole-frame comparison there is: mean absolute difference of the bytes."""
            grey = [picture.reformat(format="gray").to_ndarray() for picture in frames]
            return [float(cv2.norm(a, b, cv2.NORM_L1)) / a.size for a, b in itertools.pairwise(grey)]

        variants = {
            "pixel gate (64x36)": lambda: gate(pictures),
            "same comparison, whole frames": lambda: whole(pictures),
            "mean difference, whole frames": lambda: mean(pictures),
            "decoding alone": lambda: _decoded(path),
            "decoding and pixel gate": lambda: gate(_decoded(path)),
        }
        samples = in_turns(variants, rounds, "pixel gate")
        frames = _single(pictures)
    wall = {name: [1000 * each / count for each in taken.wall] for name, taken in samples.items()}
    cpu = {name: [1000 * each / count for each in taken.cpu] for name, taken in samples.items()}
    base = wall["pixel gate (64x36)"]
    rows = tuple(
        (name, statistics.median(wall[name]), statistics.median(cpu[name]), paired_ratio(wall[name], base)) for name in variants
    )
    return Result(
        tables=(
            Table(
                "Milliseconds a frame",
                ("variant", "ms (median)", "ms of processor", "times the gate"),
                rows,
                note=f"One frame at a time the gate takes {statistics.median(frames):.2f} ms (median) and "
                f"{percentile(frames, 99):.2f} ms (99th percentile).",
            ),
        ),
        method=f"{count} frames of a real video at {WIDTH}x{HEIGHT}, H.264, decoded by one thread. All variants in turns, "
        f"{rounds} rounds after one to warm up; medians over the rounds. The gate scales the decoded planes to 64x36 grey "
        "levels by swscale and compares them with the frame before.",
        targets=(
            Target("pixel gate, without decoding", statistics.median(base), 5.0, "ms"),
            Target("pixel gate, with decoding", statistics.median(wall["decoding and pixel gate"]), 5.0, "ms"),
        ),
        data={"wall_ms": wall, "cpu_ms": cpu, "single_ms": frames},
    )


def _decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return list(container.decode(video=0))


def _single(pictures: list[av.VideoFrame]) -> list[float]:
    """Milliseconds of each frame by itself."""
    from serval.assistant.perception.pixel_gate import PixelGate
    from serval.media.frame import Frame

    state, taken = PixelGate(), []
    for index, picture in enumerate(steps(pictures, "frame by frame")):
        began = time.perf_counter()
        luma = Frame(picture, source="", index=index, time=0.0).luma
        state.change(luma)
        taken.append(1000 * (time.perf_counter() - began))
        state.examined(luma)
    return taken
