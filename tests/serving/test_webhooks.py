"""Webhooks: signed, in order, retried with patience, at least once over any death, and bounded."""

import base64
import hashlib
import hmac
import json
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serval.assistant.event import Event, EventKind
from serval.refusal import Refusal
from serval.serving.webhooks import _LATER, FIRST, LONGEST, Webhooks
from tests.serving.clip import hand_in, ready

HOST = "https://example.org"


def event(number, kind=EventKind.UTTERANCE):
    return Event(id=f"e{number}", kind=kind, source="camera", t_start=0, t_end=0, said_at=number, text=f"Number {number}.")


class Receiver:
    """A far side that answers with the statuses of a list, and then with 200."""

    def __init__(self, *statuses):
        self.statuses, self.got = list(statuses), []

    def __call__(self, target, body, headers):
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            raise OSError
        self.got.append((status, headers["webhook-id"], json.loads(body), headers))
        return status

    @property
    def told(self):
        return [number for status, number, _, _ in self.got if status < 300]


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def hooks(tmp_path, now):
    made = []

    def make(receiver, **more):
        options = {"send": receiver, "resolve": lambda host, port: ["93.184.216.34"], "now": lambda: now[0], **more}
        made.append(Webhooks(tmp_path, (HOST,), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_it_is_signed_as_the_convention_has_it(hooks):
    receiver = Receiver()
    ours = hooks(receiver)
    hook = ours.add("anna", f"{HOST}/hook", [EventKind.UTTERANCE])
    ours.note("anna", "s", event(1))
    ours.note("bert", "s", event(2))
    ours.note("anna", "s", event(3, EventKind.SOURCE))
    assert ours.deliver() is None and receiver.told == ["s/e1"]
    _, number, content, headers = receiver.got[0]
    body = json.dumps(content).encode()
    key = base64.b64decode(hook.secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{number}.{headers['webhook-timestamp']}.".encode() + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(signed).decode()
    assert content["event"]["text"] == "Number 1." and hook.secret not in str(headers)


def test_what_fails_is_tried_again_later_and_later_and_in_order(hooks, now):
    receiver = Receiver(500, 0, 302)
    ours = hooks(receiver)
    ours.add("anna", f"{HOST}/hook", [EventKind.UTTERANCE])
    for number in range(3):
        ours.note("anna", "s", event(number))
    waits = []
    while (wait := ours.deliver()) is not None:
        waits.append(wait)
        assert ours.deliver() == wait, "not before its time"
        now[0] += wait
    assert waits == [FIRST, 2 * FIRST, 4 * FIRST] and receiver.told == ["s/e0", "s/e1", "s/e2"]
    assert ours.held("anna")[0].waiting == 0


def test_a_clock_that_is_put_back_keeps_nobody_waiting(hooks, now):
    now[0] = 1e6
    receiver = Receiver(*[0] * 15)
    ours = hooks(receiver)
    ours.add("anna", f"{HOST}/hook", [EventKind.UTTERANCE])
    ours.note("anna", "s", event(1))
    while len(receiver.statuses) > 1:
        now[0] += ours.deliver()
    assert ours.deliver() == LONGEST, "the last of many tries"
    now[0] -= 5 * 3600
    ours.note("anna", "s", event(2))
    assert ours.deliver() is None and receiver.told == ["s/e1", "s/e2"]


def test_patience_has_an_end_but_trying_has_none(hooks, now):
    ours = hooks(Receiver(*[0] * 30))
    ours.add("anna", f"{HOST}/hook", [EventKind.UTTERANCE])
    ours.note("anna", "s", event(1))
    waits = []
    while (wait := ours.deliver()) is not None:
        waits.append(wait)
        now[0] += wait
    assert len(waits) == 30 and max(waits) == LONGEST


def test_whoever_is_gone_holds_up_nobody_else(hooks):
    class Half(Receiver):
        def __call__(self, target, body, headers):
            if target.path == "/gone":
                raise OSError
            return super().__call__(target, body, headers)

    receiver = Half()
    ours = hooks(receiver)
    for path in ("gone", "here"):
        ours.add("anna", f"{HOST}/{path}", [EventKind.UTTERANCE])
    for number in range(3):
        ours.note("anna", "s", event(number))
    ours.deliver()
    assert receiver.told == ["s/e0", "s/e1", "s/e2"]


def test_nothing_is_lost_when_the_service_dies_and_nothing_is_noted_twice(hooks, now):
    receiver = Receiver()
    first = hooks(Receiver(0))
    first.add("anna", f"{HOST}/hook", [EventKind.UTTERANCE])
    first.note("anna", "s", event(1))
    first.deliver()
    now[0] += 10
    second = hooks(receiver)
    for number in (1, 2):
        second.note("anna", "s", event(number), said=now[0])
    second.note("anna", "s", event(0), said=10.0)  # before there was a webhook
    second.deliver()
    second.note("anna", "s", event(1))
    second.deliver()
    assert receiver.told == ["s/e1", "s/e2"]


def test_what_waits_is_bounded_and_what_went_is_counted(hooks):
    receiver = Receiver(0)
    ours = hooks(receiver, most=5)
    ours.add("anna", f"{HOST}/hook", [EventKind.UTTERANCE])
    for number in range(12):
        ours.note("anna", "s", event(number))
    assert (ours.held("anna")[0].waiting, ours.held("anna")[0].lost) == (5, 7)


def pragma(ours, text):
    raw = ours._engine.raw_connection()
    found = raw.execute(f"PRAGMA {text}").fetchone()
    raw.close()
    return found


def full(ours):
    """No page more for the file: SQLite says that the disk is full."""
    pragma(ours, f"max_page_count = {pragma(ours, 'page_count')[0]}")
    return lambda: pragma(ours, "max_page_count = 1000000")


def locked(ours):
    """Another program writes, and does not end."""
    other = sqlite3.connect(pragma(ours, "database_list")[2], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other.close


def read_only(ours):
    pragma(ours, "query_only = ON")
    return lambda: pragma(ours, "query_only = OFF")


@pytest.mark.parametrize(("fail", "why"), [(full, "disk is full"), (locked, "locked"), (read_only, "cannot be written to")])
def test_a_file_that_fails_holds_up_nobody_and_is_made_up_for(hooks, monkeypatch, caplog, fail, why):
    monkeypatch.setattr("serval.serving.webhooks._WAIT", 0.05)
    receiver = Receiver()
    ours = hooks(receiver)
    ours.add("anna", f"{HOST}/hook", [EventKind.UTTERANCE])
    ours.note("anna", "s", event(0))
    mend = fail(ours)
    for number in range(1, 30):
        ours.note("anna", "s", event(number).model_copy(update={"text": "x" * 5000}))
    assert ours.deliver() == ours.deliver() == _LATER
    assert 20 <= ours.late <= 29, "before it was full some had room"
    assert [each.levelname for each in caplog.records] == ["ERROR"] and why in caplog.text, "said once"
    assert "xxx" not in caplog.text
    mend()
    ours.note("anna", "s", event(30))
    while ours.deliver() is not None:
        pass
    assert receiver.told == [f"s/e{number}" for number in range(31)], "each once, in order"


def test_a_damaged_file_holds_up_nobody(hooks, tmp_path, caplog):
    ours = hooks(Receiver())
    ours.add("anna", f"{HOST}/hook", [EventKind.UTTERANCE])
    ours._engine.dispose()
    (tmp_path / "webhooks.sqlite").write_bytes(b"x" * 10_000)
    for number in range(1100):
        ours.note("anna", "s", event(number))
    assert ours.deliver() == _LATER and ours.late == 1100 and len(ours._behind) == 1000 and len(caplog.records) == 1


def test_what_was_sent_is_not_sent_again_because_that_cannot_be_noted(hooks, now):
    mends = []

    class Filling(Receiver):
        def __call__(self, target, body, headers):
            mends.append(read_only(ours))
            return super().__call__(target, body, headers)

    receiver = Filling()
    ours = hooks(receiver)
    ours.add("anna", f"{HOST}/hook", [EventKind.UTTERANCE])
    for number in range(2):
        ours.note("anna", "s", event(number))
    assert [ours.deliver() for _ in range(3)] == [_LATER] * 3 and receiver.told == ["s/e0"]
    mends[0]()
    ours.deliver()
    mends[0]()
    assert ours.deliver() is None and receiver.told == ["s/e0", "s/e1"]


def test_the_watch_goes_on_while_their_file_cannot_be_written(serve, monkeypatch, caplog):
    monkeypatch.setattr("serval.serving.webhooks._WAIT", 0.05)
    running = serve(webhooks=(HOST,))
    client, ours = running.client(), running.parts.webhooks
    monkeypatch.setattr(ours, "_more", {"resolve": lambda host, port: ["93.184.216.34"]})
    monkeypatch.setattr(ours, "_send", Receiver(*[0] * 1000))
    ours.add("local", f"{HOST}/hook", [EventKind.UTTERANCE])
    mend = locked(ours)
    stream = client.post("/v1/streams", json={"instructions": ["describe every new scene"]}).json()["id"]
    ready(client, stream)
    with client.stream("GET", "/v1/events", params={"stream": stream}) as lines:
        hand_in(running.client(), stream, fps=4, seconds=3)
        heard = next(line for line in lines.iter_lines() if line == "event: serval.utterance")
    assert heard and client.get(f"/v1/streams/{stream}").json()["state"] == "watching"
    kept = client.get("/v1/timeline", params={"stream": stream, "kind": "utterance"}).json()
    told = client.get("/metrics").text
    assert kept and f"serval_webhook_events_late_total {ours.late:.1f}" in told and ours.late >= len(kept)
    assert client.post(f"/v1/streams/{stream}/stop").json()["state"] == "ended"
    (said,) = [each.message for each in caplog.records if "webhook" in each.message]
    assert "another program holds it locked" in said
    assert ours.held()[0].waiting == 0
    mend()
    while ours._behind:  # the thread that sends makes up for it
        with ours._changed:
            ours._changed.notify_all()
        time.sleep(0.02)
    kept = client.get("/v1/timeline", params={"stream": stream, "kind": "utterance"}).json()
    assert ours.held()[0].waiting == len(kept)


def test_only_where_the_owner_allows(hooks):
    ours = hooks(Receiver())
    for url in ("http://example.org/", "http://127.0.0.1/", "https://evil.example/", "file:///etc/passwd"):
        with pytest.raises(Refusal):
            ours.add("anna", url, [EventKind.UTTERANCE])
    made = ours.add("anna", f"{HOST}/", [EventKind.UTTERANCE])
    assert not ours.remove("bert", made.id) and ours.remove("anna", made.id) and ours.held() == []


def test_by_default_nothing_is_called(service):
    answer = service.client().post("/v1/webhooks", json={"url": "https://example.org/hook"})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "url"


def test_from_a_clip_to_a_far_side(serve, key):
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    far = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=far.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{far.server_port}"
    anna, bert = key("anna"), key("bert")
    running = serve(webhooks=(origin,))
    client, other = running.client(anna), running.client(bert)
    made = client.post("/v1/webhooks", json={"url": f"{origin}/hook"}).json()
    assert made["secret"].startswith("whsec_") and "secret" not in client.get("/v1/webhooks").json()[0]
    assert other.get("/v1/webhooks").json() == [] and other.delete(f"/v1/webhooks/{made['id']}").status_code == 404
    stream = client.post("/v1/streams", json={"instructions": ["describe every new scene"]}).json()["id"]
    hand_in(client, stream, fps=4, seconds=3)
    while not got:
        time.sleep(0.02)
    assert got[0]["stream"] == stream and got[0]["event"]["kind"] == "utterance"
    assert client.delete(f"/v1/webhooks/{made['id']}").status_code == 204
    far.shutdown()
