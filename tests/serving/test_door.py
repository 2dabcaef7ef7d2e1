"""Nothing comes in but with the right host, from the right page, with a key; and not too much of it."""

import base64
import json
import re
import socket
import time

import pytest
from fastapi.routing import APIWebSocketRoute
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serval.refusal import Refusal
from serval.serving.limits import Limits


def routes(app):
    """Every route of the application and of the routers in it."""
    inside = [each.original_router for each in app.routes if hasattr(each, "original_router")]
    return [each for router in (app, *inside) for each in router.routes if getattr(each, "path", None)]


def scope_of(route):
    """The scope that a route asks for, wherever in its dependencies that stands."""
    found, waiting = set(), [route.dependant]
    while waiting:
        each = waiting.pop()
        found |= {call.scope for call in [each.call] if hasattr(call, "scope")}
        waiting += each.dependencies
    return found


def test_every_route_but_health_wants_a_key(serve, key):
    key("anna")
    running = serve()
    client, asked = running.client(), 0
    for route in routes(running.app):
        path = re.sub(r"\{[^}]*\}", "x", route.path)
        if isinstance(route, APIWebSocketRoute):
            with pytest.raises(InvalidStatus) as refused, connect(running.url.replace("http", "ws") + path):
                pass
            assert refused.value.response.status_code == 401, path
            asked += 1
            continue
        for method in route.methods or ():
            status = client.request(method, path).status_code
            assert status == (200 if path == "/health" else 401), (method, path)
            asked += 1
    assert asked >= 20


def test_every_route_says_what_scope_it_needs(service):
    for route in routes(service.app):
        if route.path.startswith(("/v1", "/metrics")):
            assert scope_of(route), route.path


def test_a_scope_is_enough_for_its_own_routes_and_no_more(serve, key):
    hall, anna = key("hall", "watch"), key("anna", "watch", "instruct")
    running = serve()
    assert running.client(hall).get("/v1/streams").status_code == 200
    assert running.client(hall).post("/v1/streams", json={}).status_code == 403
    assert running.client(hall).post("/v1/ask", json={"stream": "x", "question": "x"}).status_code == 403
    assert running.client(anna).post("/v1/ask", json={"stream": "x", "question": "x"}).status_code == 403
    assert running.client("serval-1-wrong").get("/v1/streams").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "anna@127.0.0.1"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "[::1"}, 421),
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST:99"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Origin": "file://127.0.0.1"}, 403),
        ({"Origin": "https://friend.example"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_hosts_and_origins(serve, headers, status):
    running = serve(origins=("https://friend.example",))
    assert running.client().get("/v1/streams", headers=headers).status_code == status


def test_the_services_own_page_may(service):
    assert service.client().get("/v1/streams", headers={"Origin": service.url}).status_code == 200


def test_no_cookie_and_no_address_lets_in(serve, key):
    anna = key("anna")
    client = serve().client()
    assert client.get("/v1/streams", headers={"Cookie": f"key={anna}; Authorization=Bearer {anna}"}).status_code == 401
    assert client.get("/v1/streams", params={"key": anna, "access_token": anna}).status_code == 401
    basic = "Basic " + base64.b64encode(f"anna:{anna}".encode()).decode()
    assert client.get("/v1/streams", headers={"Authorization": basic}).status_code == 401, "only for the page"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "OWN", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://friend.example"}, 401),
        ({"Origin": "http://friend.example", "Host": "friend.example"}, 421),
        ({"Sec-Fetch-Site": "same-site"}, 401),
        ({"Sec-Fetch-Site": "none"}, 401),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_browsers_password_box_is_for_scripts_of_the_page_alone(serve, key, headers, status):
    anna = key("anna")
    running = serve(origins=("http://friend.example",))
    basic = "Basic " + base64.b64encode(f"anyone:{anna}".encode()).decode()
    headers = {name: value.replace("OWN", running.url) for name, value in headers.items()}
    client = running.client()
    for method in ("GET", "POST"):
        answer = client.request(method, "/v1/streams", headers={**headers, "Authorization": basic, "Serval-Page": "1"}, json={})
        assert answer.status_code in ((200, 201) if status == 200 else (status,)), method
        assert client.request(method, "/v1/streams", headers={**headers, "Authorization": basic}, json={}).status_code >= 400
    asked = {**headers, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "serval-page"}
    answer = client.options("/v1/streams", headers=asked)
    assert answer.status_code >= 400 and not [each for each in answer.headers if each.startswith("access-control")]


def test_a_socket_takes_no_password_box(serve, key):
    basic = "Basic " + base64.b64encode(f"anyone:{key('anna')}".encode()).decode()
    url = serve().url.replace("http", "ws") + "/v1/realtime?model=serval"
    with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers={"Authorization": basic, "Serval-Page": "1"}):
        pass
    assert refused.value.response.status_code == 401


def test_wrong_keys_are_slowed_down_and_right_ones_elsewhere_are_not(serve, key):
    anna = key("anna")
    running = serve(limits=Limits(refused=5))
    client = running.client()
    tries = [client.get("/v1/streams", headers={"Authorization": "Bearer serval-0-0"}).status_code for _ in range(8)]
    assert tries == [401] * 5 + [429] * 3
    assert running.client(anna).get("/v1/streams").status_code == 429, "the same address"
    assert client.get("/health").status_code == 200


def test_requests_are_limited(serve):
    client = serve(limits=Limits(requests=10)).client()
    found = [client.get("/v1/streams").status_code for _ in range(12)]
    assert found.count(429) in (1, 2) and found[:10] == [200] * 10


def test_a_body_said_to_be_large_and_one_that_is(serve):
    running = serve(limits=Limits(body=1000))
    assert running.client().post("/v1/ask", content=b"x" * 1001).status_code == 413

    def endless():
        for _ in range(100):
            yield b"x" * 100

    answer = running.client().post("/v1/ask", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert running.client().get("/health").status_code == 200


def test_a_body_that_never_comes_is_given_up(serve):
    running = serve(limits=Limits(idle=0.3))
    with socket.create_connection(("127.0.0.1", running.port)) as slow:
        slow.sendall(
            b"POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        slow.settimeout(20)
        assert b" 408 " in slow.recv(4096).split(b"\r\n")[0]


def test_a_head_that_never_comes_is_given_up(serve, monkeypatch):
    monkeypatch.setattr("serval.serving.run._HEAD", 0.2)
    running = serve()
    with socket.create_connection(("127.0.0.1", running.port)) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\n")
        slow.settimeout(20)
        assert slow.recv(4096) == b"", "cut off"
    assert running.client().get("/health").status_code == 200


def test_a_socket_is_not_cut_off(serve, monkeypatch):
    monkeypatch.setattr("serval.serving.run._HEAD", 0.1)
    with connect(serve().url.replace("http", "ws") + "/v1/realtime?model=serval") as socket_:
        socket_.recv(10)
        time.sleep(0.3)
        socket_.send(json.dumps({"type": "session.update", "session": {"type": "realtime"}}))
        assert "session" in json.loads(socket_.recv(10))["type"]


def test_beyond_this_machine_only_with_keys(serve, key, tmp_path):
    with pytest.raises(Refusal, match="there is no key"):
        serve(host="0.0.0.0")
    key("anna")
    assert serve(host="0.0.0.0").client().get("/v1/streams").status_code == 401


def test_keys_that_are_gone_do_not_open_the_door(serve, key):
    anna = key("anna")
    running = serve()
    (running.folder / "keys.json").unlink()
    assert running.client().get("/v1/streams").status_code == 401
    assert running.client(anna).get("/v1/streams").status_code == 401


def test_errors_tell_strangers_nothing(service, monkeypatch):
    def broken(*_):
        raise RuntimeError("/home/anna/secret.mp4 at 0x7f00dead")

    monkeypatch.setattr(service.hub, "seen_by", broken)
    answer = service.client().get("/v1/streams")
    assert answer.status_code == 500 and "secret" not in answer.text and "0x" not in answer.text
    monkeypatch.setattr(service.hub, "seen_by", lambda _: (_ for _ in ()).throw(Refusal("/home/anna", "no", "mend it")))
    answer = service.client().get("/v1/streams")
    assert answer.status_code == 400 and "anna" not in answer.text


def test_two_people_see_only_what_is_theirs(serve, key):
    anna, bert, admin = key("anna"), key("bert"), key("admin", "admin")
    running = serve()
    ours, theirs, all_of_them = running.client(anna), running.client(bert), running.client(admin)
    stream = ours.post("/v1/streams", json={"instructions": ["tell me when a person comes in"]}).json()["id"]
    of = {"stream": stream}
    tries = [
        ("GET", f"/v1/streams/{stream}", {}),
        ("POST", f"/v1/streams/{stream}/stop", {}),
        ("POST", f"/v1/streams/{stream}/frames", {"content": b"x"}),
        ("DELETE", f"/v1/streams/{stream}", {}),
        ("GET", "/v1/instructions", {"params": of}),
        ("POST", "/v1/instructions", {"params": of, "json": {"text": "tell me when a dog appears"}}),
        ("PATCH", "/v1/instructions/person-comes-in", {"params": of, "json": {"enabled": False}}),
        ("POST", "/v1/instructions/person-comes-in/acknowledge", {"params": of}),
        ("DELETE", "/v1/instructions/person-comes-in", {"params": of}),
        ("GET", "/v1/timeline", {"params": of}),
        ("GET", "/v1/timeline/export", {"params": {**of, "to": "srt"}}),
        ("GET", "/v1/why", {"params": {**of, "time": 1}}),
        ("GET", "/v1/pictures/0", {"params": of}),
        ("GET", "/v1/events", {"params": of}),
        ("POST", "/v1/ask", {"json": {"stream": stream, "question": "what is there?"}}),
    ]
    for method, path, more in tries:
        answer = theirs.request(method, path, **more)
        assert answer.status_code == 404, (method, path, answer.status_code)
        assert answer.json() == theirs.get("/v1/streams/none").json(), "as if it had never been"
    assert theirs.get("/v1/streams").json() == []
    assert [each["id"] for each in ours.get("/v1/streams").json()] == [stream]
    assert [each["id"] for each in all_of_them.get("/v1/streams").json()] == [stream]
    touched = {path for _, path, _ in tries}
    for route in routes(running.app):
        if "{stream}" in route.path:
            assert any(path == route.path.replace("{stream}", stream) for path in touched), route.path
