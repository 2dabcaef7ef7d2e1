"""What goes wrong with sources, decoders, readers and clocks, through the service: told in one line, and others go on."""

import io
import json
import os
import signal
import socket
import threading
import time
from datetime import datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from serval.assistant.timeline.timeline import Timeline
from serval.serving.limits import Limits
from serval.serving.options import ServeOptions
from serval.serving.run import server
from serval.sources.clock import RealClock
from tests.serving.clip import ready
from tests.serving.conftest import Running
from tests.sources.conftest import HttpCamera, encode, moving

MJPEG = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
TS = b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n"
PACE = 0.005  # seconds between two things that a camera sends
LINES = 128  # events of a source that has any one fault for a while


def jpeg(rgb):
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG")
    return file.getvalue()


def part(rgb):
    data = jpeg(rgb)
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"


SHOTS = moving(30)
PARTS = [part(each) for each in SHOTS]
WIDE = [part(each) for each in moving(30, 320, 240)]


def paced(pieces, until, send):
    """One piece after the other, again and again."""
    while not until.is_set():
        for each in pieces:
            send(each)
            if until.wait(PACE):
                return


def stalls(send, mended, closing):
    send(MJPEG + b"".join(PARTS[:10]))
    mended.wait(60)
    paced(PARTS, closing, send)


def freezes(send, mended, closing):
    send(MJPEG + b"".join(PARTS[:10]))
    paced([PARTS[9]], mended, send)
    paced(PARTS, closing, send)


def has_no_picture(send, mended, closing):
    send(TS)
    paced([encode([], container="mpegts", sound=True)], closing, send)


def loops(send, mended, closing):
    send(TS)
    paced([encode(SHOTS, container="mpegts")], closing, send)


def changes(send, mended, closing):
    send(MJPEG)
    paced(PARTS, mended, send)
    paced(WIDE, closing, send)


def loses(send, mended, closing):
    """One packet in twenty never comes, and one in twenty has other bytes in it."""
    data, random = encode(moving(250), container="mpegts"), np.random.default_rng(4)
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    luck = random.random(len(packets))
    torn = [
        each[:20] + random.bytes(160) + each[180:] if odds < 0.1 else each for each, odds in zip(packets, luck, strict=True)
    ]
    send(TS)
    paced([b"".join(each for each, odds in zip(torn, luck, strict=True) if odds >= 0.05)], closing, send)


FAULTS = {each.__name__: each for each in (stalls, freezes, has_no_picture, loops, changes, loses)}


class Leaping(RealClock):
    """A stream's clock, which a test can hurry."""

    of: dict[str, "Leaping"] = {}  # noqa: RUF012 - of all streams, by the name of the thread that made it

    def __init__(self):
        self.leapt = 0.0
        super().__init__()
        self.of[threading.current_thread().name] = self

    def now(self):
        return super().now() + self.leapt


@pytest.fixture(scope="module")
def mended():
    return {name: threading.Event() for name in FAULTS}


@pytest.fixture(scope="module")
def running(tmp_path_factory, mended):
    """A service with a camera for every fault, and with one that has none."""
    folder = tmp_path_factory.mktemp("faults")

    def answer(visit, request, send, closing):
        name = request.split()[1].decode().strip("/")
        if name in FAULTS:
            FAULTS[name](send, mended[name], closing)
        else:
            send(MJPEG)
            paced(PARTS, closing, send)

    camera = HttpCamera(answer)
    (folder / "song.mp4").write_bytes(encode([], container="mp4", sound=True))
    whole = encode(moving(120), container="mpegts")
    (folder / "torn.ts").write_bytes(whole[: len(whole) // 2] + os.urandom(8000) + whole[len(whole) // 2 + 8000 :])
    sources = {name: f"http://127.0.0.1:{camera.port}/{name}" for name in (*FAULTS, "sound")}
    sources |= {name: str(folder / f"{name}.{kind}") for name, kind in (("song", "mp4"), ("torn", "ts"))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serval.serving.stream.RealClock", Leaping)
        patch.setattr("serval.sources.live._LOOK", 0.02)
        patch.setattr("serval.sources.pushed._LOOK", 0.02)
        limits = Limits(requests=10**6, streams=20, events=64)
        made = server(ServeOptions(folder=folder / "service", port=0, sources=sources, limits=limits))
        thread = threading.Thread(target=made.run, daemon=True)
        thread.start()
        while not made.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = made.servers[0].sockets[0].getsockname()[1]
        found = Running(f"http://127.0.0.1:{port}", folder / "service", made, thread)
        yield found
        camera.closing.set()
        found.stop()
        camera.close()


@pytest.fixture(scope="module")
def client(running):
    return running.client()


@pytest.fixture(scope="module")
def other(client):
    """A stream that has no fault."""
    stream = client.post("/v1/streams", json={"name": "other", "source": "sound"}).json()["id"]
    ready(client, stream)
    return stream


def view(client, stream):
    return client.get(f"/v1/streams/{stream}").json()


def told(client, stream):
    """What was told of the source, by kind: each in one line that names neither a path nor an address."""
    events = client.get("/v1/timeline", params={"stream": stream, "kind": "source", "limit": 1000}).json()
    for each in events:
        assert each["text"].isprintable() and "/" not in each["text"] and "http" not in each["text"]
    assert [each["said_at"] for each in events] == sorted(each["said_at"] for each in events)
    return {each["data"]["note"]: each["text"] for each in events}


def goes_on(client, stream):
    before = view(client, stream)["frames"]
    wait(lambda: view(client, stream)["frames"] > before + 3)
    assert view(client, stream)["state"] == "watching"


def wait(until, hurried=None):
    """Until it is so; a clock is hurried meanwhile, step by step."""
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        if hurried is not None:
            Leaping.of[f"serval-stream-{hurried}"].leapt += 0.5
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("fault", "note", "says", "over"),
    [
        ("stalls", "stalled", "connected, and no picture for", "back"),
        ("freezes", "frozen", "the same picture for", "thawed"),
        ("has_no_picture", "audio_only", "sound and no picture for", None),
        ("loops", "clock_jump", "jump", None),
        ("changes", None, "", "resolution"),
        ("loses", None, "", None),
    ],
)
def test_a_source_with_a_fault(client, other, mended, fault, note, says, over):
    stream = client.post("/v1/streams", json={"name": "faulty", "source": fault}).json()["id"]
    ready(client, stream)
    if fault != "has_no_picture":
        wait(lambda: view(client, stream)["frames"] > 0)
    if note is not None:
        wait(lambda: note in told(client, stream), hurried=stream if note != "clock_jump" else None)
        assert says in told(client, stream)[note]
    assert view(client, stream)["state"] == "watching"
    goes_on(client, other)
    mended[fault].set()
    if over is not None:
        wait(lambda: over in told(client, stream))
    if fault != "has_no_picture":
        goes_on(client, stream)
    assert len(told(client, stream)) <= 8 and view(client, stream)["memory_bytes"] < 128 * 2**20
    count = len(client.get("/v1/timeline", params={"stream": stream, "limit": 1000}).json())
    assert count <= LINES, "a fault that goes on is not told again and again"
    assert client.post(f"/v1/streams/{stream}/stop").json()["state"] == "ended"


def test_a_file_with_sound_alone_fails_and_says_why(running, client, other):
    with running.client().stream("GET", "/v1/events") as lines:
        came = lines.iter_lines()
        assert next(came) == ": serval"
        stream = client.post("/v1/streams", json={"source": "song"}).json()["id"]
        heard = (json.loads(line[6:]) for line in came if line.startswith("data: "))
        last = next(each for each in heard if each["stream"] == stream and each.get("state") == "failed")
    assert last["why"] == "its source cannot be watched"
    shown = view(client, stream)
    assert (shown["state"], shown["why"]) == ("failed", last["why"])
    assert client.get("/v1/timeline", params={"stream": stream}).status_code == 409
    goes_on(client, other)


def test_a_file_with_a_hole_is_watched_past_it(client, other):
    stream = client.post("/v1/streams", json={"source": "torn"}).json()["id"]
    wait(lambda: view(client, stream)["state"] == "ended")
    assert {"opened", "ended"} <= set(told(client, stream)) <= {"opened", "broken", "ended", "clock_jump", "dropped"}
    assert view(client, stream)["frames"] > 10
    goes_on(client, other)


def test_pictures_that_are_handed_in_no_more_and_then_are_others(client, other):
    stream = client.post("/v1/streams", json={"name": "handed"}).json()["id"]
    ready(client, stream)

    def hand_in(shot):
        answer = client.post(f"/v1/streams/{stream}/frames", content=jpeg(shot))
        assert answer.status_code == 200 and answer.json()["dropped"] in ("", "busy")

    hand_in(SHOTS[0])
    wait(lambda: "stalled" in told(client, stream), hurried=stream)
    hand_in(SHOTS[1])
    wait(lambda: "back" in told(client, stream))
    wait(lambda: hand_in(SHOTS[1]) or "frozen" in told(client, stream), hurried=stream)
    wait(lambda: hand_in(moving(3, 320, 240)[2]) or {"thawed", "resolution"} <= set(told(client, stream)))
    goes_on(client, other)


def test_a_decoder_that_is_killed_is_one_refused_picture(running, client, other):
    stream = client.post("/v1/streams", json={"name": "handed"}).json()["id"]
    ready(client, stream)
    one, answers = running.parts.decoder._pictures, []

    def hand_in():
        wait(lambda: not running.hub.alive(stream).refuses)
        answers.append(client.post(f"/v1/streams/{stream}/frames", content=jpeg(SHOTS[0])))

    hand_in()
    os.kill(one._process.pid, signal.SIGSTOP)
    thread = threading.Thread(target=hand_in)
    thread.start()
    wait(one._turn.locked)
    os.kill(one._process.pid, signal.SIGKILL)
    thread.join()
    hand_in()
    assert [each.status_code for each in answers] == [200, 400, 200]
    assert answers[1].json()["error"]["message"] == "the picture: it cannot be decoded"
    goes_on(client, other)


# -- readers --------------------------------------------------------------------------------------------------------------


def asked(running):
    """A line of events on a socket, with little room."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", running.port))
    reader.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait(lambda: b": serval" in reader.recv(4096, socket.MSG_PEEK))
    return reader


def text(number):
    return f"{number} " + "x" * 4000


def test_a_reader_who_is_slow_is_told_what_he_missed_and_holds_up_nobody(running, client, other):
    count = 0
    with asked(running) as slow:

        def blocked():
            """Whether no buffer of the system takes any more: what waits still does a moment later."""
            nonlocal count
            for _ in range(100):
                count += 1
                running.hub.news.tell({"type": "serval.note", "owner": "local", "stream": other, "text": text(count)})
            time.sleep(0.1)
            return max(len(each._waiting) for each in running.hub.news._readers) == 64

        wait(blocked)
        assert max(len(each._waiting) for each in running.hub.news._readers) == 64, "no more than so many wait for him"
        goes_on(client, other)
        slow.settimeout(30)
        came = b""
        while f"{count} xxx".encode() not in came:
            came += slow.recv(65536)
    found = [json.loads(line[6:]) for line in came.split(b"\n") if line.startswith(b"data: ") and line.endswith(b"}")]
    numbers = [int(each["text"].split()[0]) for each in found if each["type"] == "serval.note"]
    missed = sum(each["count"] for each in found if each["type"] == "serval.missed")
    assert numbers == sorted(numbers) and missed > 0
    assert numbers[-1] - len(numbers) <= missed, "none is passed over in silence"


def test_a_reader_who_never_reads_is_cut_off(running, client, other, monkeypatch):
    monkeypatch.setattr("serval.serving.run._STUCK", 0.2)
    feeds = running.parts.door.feeds
    wait(lambda: feeds.taken == 0)  # of those before
    with asked(running):
        wait(lambda: feeds.taken == 1)

        def more():
            for number in range(50):
                running.hub.news.tell({"type": "serval.note", "owner": "local", "stream": other, "text": text(number)})
            return feeds.taken == 0

        wait(more)
    goes_on(client, other)


# -- clocks ---------------------------------------------------------------------------------------------------------------


class Wall(datetime):
    """The time of day, which somebody puts forward and back."""

    shift = timedelta()

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + cls.shift


def test_a_clock_on_the_wall_that_is_put_to_another_hour_changes_nothing(running, client, other, monkeypatch):
    stream = client.post("/v1/streams", json={"source": "sound"}).json()["id"]
    ready(client, stream)
    goes_on(client, stream)
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() + Wall.shift.total_seconds())
    for module in ("assistant.watching", "assistant.watcher", "assistant.instructions.store", "serving.hub"):
        monkeypatch.setattr(f"serval.{module}.datetime", Wall)
    opened = [stream]
    for hours in (-7, 7):
        monkeypatch.setattr(Wall, "shift", timedelta(hours=hours))
        before = view(client, stream)["seconds"]
        goes_on(client, stream)
        assert 0 <= view(client, stream)["seconds"] - before < 3600
        opened.append(client.post("/v1/streams", json={"source": "sound"}).json()["id"])
        ready(client, opened[-1])
        goes_on(client, opened[-1])
    assert client.post("/v1/instructions", params={"stream": stream}, json={"text": "tell me when a cat appears"}).is_success
    wait(lambda: "cat-appears" in view(client, stream)["scores"])
    for each in opened:
        assert client.post(f"/v1/streams/{each}/stop").json()["state"] == "ended"
        with Timeline.open(running.hub._folder / each / "run", write=False) as timeline:
            times = [found.said_at for found in timeline.events()]
            rows = [row.time for row in timeline.traced()]
        assert times == sorted(times) and rows == sorted(rows) and max([*times, *rows]) < 3600
    goes_on(client, other)


def test_a_machine_that_slept_for_hours_goes_on_where_it_is(running, client):
    stream = client.post("/v1/streams", json={"source": "sound"}).json()["id"]
    ready(client, stream)
    goes_on(client, stream)
    Leaping.of[f"serval-stream-{stream}"].leapt += 5 * 3600
    goes_on(client, stream)
    wait(lambda: view(client, stream)["seconds"] > 5 * 3600)
    told(client, stream)
    assert client.post(f"/v1/streams/{stream}/stop").json()["state"] == "ended"
