"""A run that is killed again and again, and taken up again each time."""

import random
import signal
import sqlite3
import subprocess
import sys

from serval.assistant.timeline import Timeline
from serval.assistant.timeline.recording import Recording

WATCH = """
import sys
import numpy as np
from serval.assistant.event import Event, Evidence
from serval.assistant.timeline import Timeline, TraceRow
from serval.assistant.timeline.recording import Recording
from serval.encoders.percept import Looks, Percept
from serval.media.frame import Frame

folder, begin = sys.argv[1], int(sys.argv[2])
timeline, recording = Timeline.open(folder), Recording.open(folder, flush_seconds=0.02)
for number in range(begin, begin + 100_000):
    pixels = np.full((72, 128, 3), number % 251, np.uint8)
    frame = Frame.from_rgb(pixels, source="door", index=number, time=number / 4)
    recording.add(frame, Percept("door", number, frame.time, frame.luma, frame.sha256), Looks(detect=True))
    recording.keep([frame.sha256])
    timeline.trace(TraceRow(frame.time, "door", number, "cup", "objects", 0.9, 0.5, "wake", "because"))
    seen = (Evidence(time=frame.time, frame=frame.sha256, label="cup"),)
    at = dict.fromkeys(("t_start", "t_end", "said_at"), frame.time)
    timeline.add(Event(id=str(number), source="door", text=f"Cup {number}. " * (number % 40), evidence=seen, **at))
    print(number, flush=True)  # shown: from here on it must survive
"""


def test_every_event_that_was_shown_outlives_any_number_of_kills(tmp_path):
    generator = random.Random(20)
    begin = frames = 0
    for _ in range(4):
        watch = subprocess.Popen([sys.executable, "-c", WATCH, str(tmp_path), str(begin)], stdout=subprocess.PIPE, text=True)
        for _ in range(generator.randint(1, 40)):
            shown = int(watch.stdout.readline())
        watch.send_signal(signal.SIGKILL)
        shown = max([shown, *map(int, watch.stdout.read().split())])  # what it still got out
        watch.wait()

        with Timeline.open(tmp_path, write=False) as timeline, Recording.open(tmp_path, write=False) as recording:
            events = list(timeline.events())
            assert [event.id for event in events] == [str(number) for number in range(len(events))]
            assert len(events) > shown
            assert all(event.text == f"Cup {event.id}. " * (int(event.id) % 40) for event in events)
            assert timeline.trace_count() >= len(events)
            kept = [frame.index for frame in recording.frames()]
            assert kept == sorted(set(kept))
            assert len(kept) >= frames
            named = [recording.picture_named(event.evidence[0].frame) for event in events if int(event.id) in kept]
            assert all(named)
        begin, frames = len(events), len(kept)
        for name in ("timeline", "recording"):
            with sqlite3.connect(tmp_path / f"{name}.sqlite") as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert begin > 40
    assert frames > 20
