"""When a watch's time begins, and what of it is counted at the end."""

from serval.assistant.watch_options import WatchOptions
from serval.assistant.watching import Watching
from serval.sources.clock import RealClock


def test_a_file_plays_from_the_moment_that_watching_starts(short, tmp_path, monkeypatch):
    """However long it took to load what looks at it."""
    made = RealClock.__init__

    def long_ago(clock):
        made(clock)
        clock._start -= 60

    monkeypatch.setattr(RealClock, "__init__", long_ago)
    options = WatchOptions((str(short),), tell=("tell me when the sign says hello",), pace="realtime", run=tmp_path / "run")
    told = []
    watching = Watching(options, told.append)
    summary = watching.run()
    assert "late" not in summary.drops["short"]
    assert summary.status.frames["short"] >= 3
    assert "stalled" not in {event.data.get("note") for event in told}
    assert summary.seconds < 30


def test_the_time_for_which_a_camera_was_waited_for_counts(tmp_path, monkeypatch):
    def on(event):
        if event.data.get("note") == "lost":
            watching.clock._start -= 50
            watching.stop()

    watching = Watching(WatchOptions(("camera:997",), tell=("describe every new scene",), run=tmp_path / "run"), on)
    assert 50 <= watching.run().seconds < 80
