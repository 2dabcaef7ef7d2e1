import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from serval.assistant.event import Event, EventKind, Evidence, GateState
from serval.assistant.timeline import RunInfo, SourceInfo, Timeline, TraceRow
from serval.assistant.timeline.database import told_plainly
from serval.media.box import Box
from serval.refusal import Refusal


def event(name: str, at: float = 0.0, **more: object) -> Event:
    fields = {"id": name, "source": "door", "t_start": at, "t_end": at + 1, "said_at": at + 1, "text": f"event {name}"}
    return Event(**{**fields, **more})


def row(at: float, score: float = 0.1, **more: object) -> TraceRow:
    fields = {"time": at, "source": "door", "index": int(at * 10), "instruction": "hand", "gate": "objects", "score": score}
    return TraceRow(**{**fields, "threshold": 0.5, "action": "silent", "why": "nothing changed", **more})


FULL = event(
    "full",
    instruction="taxi",
    text="Schöne Grüße \u2028 \x00 ☕ “TAXI”",
    data={"nested": [1, None, {"a": "🚕"}]},
    score=1 / 3,
    why_now=GateState(gate="text", score=0.9, threshold=0.5, policy="wake", why="new text"),
    evidence=(
        Evidence(time=1 / 7, frame="ab" * 32, box=Box(0.1, 0.2, 0.3, 1 / 3), label="text", score=0.1, text="TAXI\x1b[2J"),
    ),
    models={"reader": "rapidocr@1"},
)


class TestEvents:
    def test_come_back_exactly_after_the_timeline_was_closed(self, where):
        with Timeline.open(where) as timeline:
            assert timeline.add(FULL)
        with Timeline.open(where, write=False) as timeline:
            assert list(timeline.events()) == [FULL]
            assert timeline.event("full") == FULL
            assert timeline.event("other") is None

    def test_added_twice_are_kept_once_and_another_event_cannot_take_the_id(self, where):
        with Timeline.open(where) as timeline:
            assert timeline.add(FULL)
            assert not timeline.add(FULL)
            with pytest.raises(ValueError, match="another event has the id"):
                timeline.add(event("full"))
            assert timeline.count() == 1

    def test_with_numbers_that_json_cannot_hold_are_a_defect_of_the_caller(self, where):
        with Timeline.open(where) as timeline:
            with pytest.raises(ValueError, match="JSON"):
                timeline.add(event("bad", score=float("nan")))
            assert timeline.count() == 0

    def test_are_found_by_everything_they_can_be_asked_for(self, where):
        with Timeline.open(where) as timeline:
            for number in range(20):
                timeline.add(event(f"e{number}", at=float(number), source="door" if number % 2 else "yard"))
            timeline.add(event("note", at=30.0, kind=EventKind.NOTE))
            timeline.add(FULL)

            def found(**wanted: object) -> list[str]:
                names = [each.id for each in timeline.events(**wanted)]
                assert timeline.count(**wanted) == len(names)
                return names

            assert found(since=5.5, until=6.5) == ["e5", "e6"]  # any overlap counts
            assert found(source="yard", until=3.0) == ["e0", "e2"]
            assert found(kind=EventKind.NOTE) == ["note"]
            assert found(instruction="taxi") == ["full"]
            assert found(text="GRÜSSE") == found(text="“taxi”") == ["full"]
            assert found(text="%") == found(text="event_1") == []  # taken by the letter
            assert [each.id for each in timeline.events(limit=2, newest_first=True)] == ["note", "e19"]
            assert [each.id for each in timeline.events(limit=0)] == []

    def test_come_in_the_order_they_were_said_over_many_pages(self, where):
        times = [float((number * 37) % 1300 // 2) for number in range(1300)]  # pairs of equal times
        with Timeline.open(where) as timeline:
            with timeline._engine.begin() as connection:  # one transaction: 1300 durable ones would only take long
                from serval.assistant.timeline import schema

                rows = [event(f"e{number}", at=at) for number, at in enumerate(times)]
                columns = ("id", "kind", "source", "instruction", "t_start", "t_end", "said_at")
                values = [
                    {**{key: getattr(each, key) for key in columns}, "words": "", "body": each.model_dump_json()}
                    for each in rows
                ]
                connection.execute(schema.events.insert(), values)
            said = [(each.said_at, int(each.id[1:])) for each in timeline.events()]
            assert said == sorted((at + 1, number) for number, at in enumerate(times))
            assert [(each.said_at, int(each.id[1:])) for each in timeline.events(newest_first=True)] == said[::-1]

    def test_of_two_runs_in_one_database_are_apart(self, postgresql):
        with Timeline.open(f"{postgresql}&run=one") as one, Timeline.open(f"{postgresql}&run=two") as two:
            one.add(event("same"))
            two.add(event("same", text="another"))
            assert one.count(text="another") == 0
            assert two.count(text="another") == 1
        with pytest.raises(Refusal, match="not written by Serval"):
            Timeline.open(f"{postgresql}&run=three", write=False)
        with pytest.raises(Refusal, match="not plain"):
            Timeline.open(f'{postgresql}&run=a"b')


class TestGateTrace:
    def test_is_written_when_enough_wait_and_with_every_event(self, where):
        with Timeline.open(where, flush_rows=10, flush_seconds=1e9) as timeline:
            other = Timeline.open(where, write=False)
            for number in range(14):
                timeline.trace(row(number / 10))
            assert other.trace_count() == 10
            timeline.add(event("e"))
            assert other.trace_count() == 14
            timeline.trace(row(9.0))
            assert timeline.trace_count() == 15  # its own reader misses nothing
            other.close()

    def test_waits_no_longer_than_it_may(self, where):
        with Timeline.open(where, flush_seconds=0.0) as timeline, Timeline.open(where, write=False) as other:
            timeline.trace(row(0.0))
            assert other.trace_count() == 1

    def test_comes_back_exactly_by_time_source_and_instruction(self, where):
        rows = [row(1 / 3, 2 / 3), row(0.5, source="yard"), row(0.7, instruction=None, why="\x1b[31m")]
        with Timeline.open(where) as timeline:
            for each in rows:
                timeline.trace(each)
            assert list(timeline.traced()) == rows
            assert list(timeline.traced(source="yard")) == [rows[1]]
            assert list(timeline.traced(instruction="hand", since=0.4)) == [rows[1]]
            assert list(timeline.traced(limit=1, newest_first=True)) == [rows[2]]
            assert timeline.sources() == ("door", "yard")
            assert timeline.span() == (1 / 3, 0.7)

    def test_keeps_its_cap_and_says_what_it_cost(self, where):
        with Timeline.open(where, trace_rows=100, flush_rows=30) as timeline:
            assert timeline.trimmed is None
            for number in range(1000):
                timeline.trace(row(float(number)))
            timeline.flush()
            times = [each.time for each in timeline.traced()]
            assert times == [float(number) for number in range(900, 1000)]
            assert timeline.trimmed is not None
            assert (timeline.trimmed.rows, timeline.trimmed.until) == (900, 899.0)

    def test_with_a_number_that_is_none_is_a_defect_of_the_gate(self, where):
        with Timeline.open(where) as timeline, pytest.raises(ValueError, match="'objects'"):
            timeline.trace(row(1.0, float("nan")))


class TestRun:
    def test_tells_what_it_was_made_of_without_any_password(self, where, tmp_path):
        file = tmp_path / "door.bin"
        file.write_bytes(b"frames")
        address = "rtsp://me:secret@cam.local/1"
        info = RunInfo(
            sources=(SourceInfo.of_file("door", file), SourceInfo(name="cam", address=address, live=True)),
            parts={"detector": "nanodet@1"},
            arguments={"sources": [address], "answerer": {"url": "https://key:secret@host/v1"}, "fps": 5},
            started=datetime(2026, 1, 2, tzinfo=UTC),
        )
        with Timeline.open(where) as timeline:
            assert timeline.info is None
            timeline.start(info)
        with Timeline.open(where, write=False) as timeline:
            assert timeline.info == info
            assert "secret" not in timeline.info.model_dump_json()
            assert timeline.sources() == ("cam", "door")
        info.sources[0].check(file)
        file.write_bytes(b"others")
        with pytest.raises(Refusal, match="not the file"):
            info.sources[0].check(file)


WRITER = """
import sys
from serval.assistant.event import Event
from serval.assistant.timeline import Timeline, TraceRow
timeline = Timeline.open(sys.argv[1], flush_rows=7)
for number in range(100_000):
    timeline.trace(TraceRow(number, "door", number, None, "objects", 0.1, 0.5, "silent", "x" * 50))
    timeline.add(Event(id=str(number), source="door", t_start=number, t_end=number, said_at=number, text="word " * number))
    print(number, flush=True)
"""


class TestDurability:
    @pytest.mark.parametrize("acknowledged", [1, 23, 60])
    def test_every_acknowledged_event_survives_kill_9(self, tmp_path, acknowledged):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        last = -1
        for line in writer.stdout:
            last = int(line)
            if last >= acknowledged:
                writer.send_signal(signal.SIGKILL)
                break
        last = max([last, *map(int, writer.stdout.read().split())])  # what it had said before it died
        writer.wait()
        with Timeline.open(tmp_path) as timeline:
            events = list(timeline.events())
            assert [each.id for each in events] == [str(number) for number in range(len(events))]
            assert len(events) > last
            assert all(each.text == "word " * int(each.id) for each in events)
            assert timeline.trace_count() >= last + 1
            assert timeline.add(event("after"))
        assert sqlite3.connect(tmp_path / "timeline.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)

    def test_a_log_torn_anywhere_leaves_a_whole_timeline(self, tmp_path):
        run = tmp_path / "run"
        timeline = Timeline.open(run)
        for number in range(12):
            timeline.add(event(str(number), at=float(number), text="word " * 200))
        log = (run / "timeline.sqlite-wal").read_bytes()
        counts = []
        for part in range(0, 101, 5):
            torn = tmp_path / str(part)
            torn.mkdir()
            shutil.copy(run / "timeline.sqlite", torn)
            (torn / "timeline.sqlite-wal").write_bytes(log[: len(log) * part // 100])
            try:
                with Timeline.open(torn, write=False) as copy:
                    counts.append(len(names := [each.id for each in copy.events()]))
                    assert names == [str(number) for number in range(len(names))]
            except Refusal as refusal:
                assert "not written by Serval" in str(refusal)  # torn before its very first commit
                assert not counts
        timeline.close()
        assert counts == sorted(counts)
        assert counts[-1] == 12

    def test_two_readers_never_see_half_an_event_nor_hold_up_the_writer(self, tmp_path):
        done, wrong = threading.Event(), []

        def read() -> None:
            seen = 0
            with Timeline.open(tmp_path, write=False) as reader:
                while not done.is_set():
                    names = [each.id for each in reader.events()]
                    if names != [str(number) for number in range(len(names))] or len(names) < seen:
                        wrong.append(names)
                    seen = len(names)

        with Timeline.open(tmp_path, wait=0.0) as timeline:
            readers = [threading.Thread(target=read) for _ in range(2)]
            for reader in readers:
                reader.start()
            try:
                for number in range(100):
                    assert timeline.add(event(str(number), at=float(number)))
            finally:
                done.set()
                for reader in readers:
                    reader.join()
        assert not wrong

    def test_threads_of_one_program_may_all_write(self, where):
        with Timeline.open(where) as timeline:

            def write(thread: int) -> None:
                for number in range(10):
                    timeline.trace(row(float(number)))
                    timeline.add(event(f"{thread}-{number}"))

            threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert timeline.count() == 40
            assert timeline.trace_count() == 40


@contextmanager
def files_no_larger_than(size: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def as_nobody():
    """Root may write anywhere: step down for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestRefusals:
    """Each is one line that names the file and the remedy."""

    @contextmanager
    def refused(self, words: str):
        with pytest.raises(Refusal, match=words) as caught:
            yield caught
        text = str(caught.value)
        assert "\n" not in text
        assert "0x" not in text
        assert caught.value.remedy

    def test_a_disk_that_takes_no_more_loses_nothing_that_was_acknowledged(self, tmp_path):
        with Timeline.open(tmp_path) as timeline:
            timeline.add(event("before"))
            with files_no_larger_than(200_000), self.refused("disk"):
                for number in range(1000):
                    timeline.add(event(str(number), text="x" * 5000))
            kept = timeline.count()
            assert kept >= 1
            assert timeline.add(event("after"))
            assert timeline.count() == kept + 1

    def test_trace_that_cannot_be_written_does_not_pile_up(self, tmp_path):
        with Timeline.open(tmp_path, flush_rows=50) as timeline, files_no_larger_than(100_000):
            for number in range(600):
                try:
                    timeline.trace(row(float(number), why="x" * 500))
                except Refusal:
                    assert len(timeline._pending) <= 50
            assert number > len(timeline._pending)
            assert len(timeline._pending) <= 100

    def test_a_full_disk_is_called_so(self):
        database = sqlite3.connect(":memory:")
        database.execute("PRAGMA max_page_count = 2")
        with self.refused("disk is full"), told_plainly("timeline"):
            database.execute("CREATE TABLE a AS SELECT zeroblob(100000)")

    def test_a_locked_file(self, tmp_path):
        with Timeline.open(tmp_path, wait=0.01) as timeline:
            timeline.add(event("before"))
            other = sqlite3.connect(tmp_path / "timeline.sqlite", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with self.refused("locked"):
                timeline.add(event("meanwhile"))
            assert timeline.count() == 1  # reading goes on
            other.execute("ROLLBACK")
            assert timeline.add(event("meanwhile"))

    def test_a_file_that_is_no_database(self, tmp_path):
        (tmp_path / "timeline.sqlite").write_bytes(b"once upon a time " * 1000)
        for write in (True, False):
            with self.refused("not a database"):
                Timeline.open(tmp_path, write=write)

    def test_a_database_of_somebody_elses(self, tmp_path):
        other = sqlite3.connect(tmp_path / "timeline.sqlite")
        other.execute("CREATE TABLE events (name)")
        other.close()
        with self.refused("not written by Serval"):
            Timeline.open(tmp_path)

    def test_a_damaged_file(self, tmp_path):
        with Timeline.open(tmp_path) as timeline:
            for number in range(50):
                timeline.add(event(str(number), text="word " * 300))
        path = tmp_path / "timeline.sqlite"
        content = bytearray(path.read_bytes())
        for page in range(4096 * 2, len(content), 4096):
            content[page : page + 2000] = b"\xa5" * 2000
        path.write_bytes(content)
        with self.refused("damaged"), Timeline.open(tmp_path, write=False) as timeline:
            list(timeline.events())

    def test_a_damaged_entry(self, tmp_path):
        with Timeline.open(tmp_path) as timeline:
            timeline.add(event("one"))
        with sqlite3.connect(tmp_path / "timeline.sqlite") as other:
            other.execute("UPDATE events SET body = '{}'")
        with self.refused("damaged"), Timeline.open(tmp_path, write=False) as timeline:
            list(timeline.events())

    def test_a_newer_schema(self, tmp_path):
        Timeline.open(tmp_path).close()
        with sqlite3.connect(tmp_path / "timeline.sqlite") as other:
            other.execute("UPDATE meta SET value = '2' WHERE key = 'schema_version'")
        for write in (True, False):
            with self.refused("newer Serval wrote it"):
                Timeline.open(tmp_path, write=write)

    def test_a_folder_without_a_run(self, tmp_path):
        with self.refused("no such file"):
            Timeline.open(tmp_path / "none", write=False)
        assert not (tmp_path / "none").exists()

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with self.refused("cannot be made"):
            Timeline.open(tmp_path / "file" / "run")

    def test_a_read_only_folder_is_read_but_not_written(self, world_readable):
        with Timeline.open(world_readable) as timeline:
            timeline.add(FULL)
        world_readable.chmod(0o555)
        with as_nobody():
            with Timeline.open(world_readable, write=False) as timeline:
                assert list(timeline.events()) == [FULL]
                assert timeline.trace_count() == 0
            with self.refused("cannot be (opened|written)"):
                Timeline.open(world_readable)

    def test_a_read_only_folder_left_by_a_crash_is_not_read_by_half(self, world_readable):
        timeline = Timeline.open(world_readable)
        timeline.add(FULL)
        crashed = world_readable / "crashed"
        crashed.mkdir()
        for name in ("timeline.sqlite", "timeline.sqlite-wal"):
            shutil.copy(world_readable / name, crashed)
        timeline.close()
        crashed.chmod(0o555)
        with as_nobody(), self.refused("cannot be opened"):
            Timeline.open(crashed, write=False)
        crashed.chmod(0o755)

    def test_a_server_that_is_not_there_and_no_password_gets_out(self, tmp_path):
        with self.refused("cannot be reached") as caught:
            Timeline.open(f"postgresql://me:secret@/db?host={tmp_path}")
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("address", ["mysql://me:secret@host/db", "http://host/", "postgresql://me:secret@host:port/db"])
    def test_an_address_of_something_else(self, address):
        with self.refused("only PostgreSQL|cannot be read"):
            Timeline.open(address)


def test_the_file_can_be_read_with_any_sqlite_tool(tmp_path):
    with Timeline.open(tmp_path) as timeline:
        timeline.add(FULL)
    (body,) = sqlite3.connect(tmp_path / "timeline.sqlite").execute("SELECT body FROM events").fetchone()
    assert json.loads(body)["evidence"][0]["text"] == "TAXI\x1b[2J"
