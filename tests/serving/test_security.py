"""What strangers try on the service: addresses and paths wherever a name can stand, other pages' sockets, too many of them."""

import contextlib
import select
import socket
import time

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serval.serving.limits import Limits
from tests.serving.clip import ready

NAMES = [
    "http://127.0.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "https://example.org\\@127.0.0.1:{port}/",
    "https://example.org@127.0.0.1:{port}/",
    "https://127。0。0。1:{port}/",
    "rtsp://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "/proc/self/environ",
    "../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "\\\\127.0.0.1\\share\\a.mp4",
    "camera:0",
    "concat:/etc/passwd|/etc/hosts",
    "subfile,,start,0,end,0,,:/etc/passwd",
    "-i /etc/passwd",
    "street\0.mp4",
]


@pytest.fixture
def canary():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made
        assert select.select([made], [], [], 0) == ([], [], []), "nobody came"


def test_nothing_that_a_client_names_is_called_or_opened(serve, canary):
    running = serve(webhooks=("https://example.org",), limits=Limits(requests=10**6))
    client, port = running.client(), canary.getsockname()[1]
    stream = client.post("/v1/streams", json={}).json()["id"]
    ready(client, stream)
    for name in [each.format(port=port) for each in NAMES]:
        tries = [
            client.post("/v1/streams", json={"source": name}),
            client.post("/v1/streams", json={"name": name}),
            client.post("/v1/webhooks", json={"url": name}),
            client.post("/v1/ask", json={"stream": name, "question": "what is there?"}),
            client.get("/v1/timeline/export", params={"stream": stream, "to": name}),
            client.get("/v1/pictures/x", params={"stream": name}),
            client.get(f"/v1/pictures/{name.replace('?', '').replace('#', '').replace(chr(0), '')}", params={"stream": stream}),
            client.get(f"/page/{name.replace('?', '').replace('#', '').replace(chr(0), '')}"),
            client.get(f"/v1/models/{name.replace('?', '').replace('#', '').replace(chr(0), '')}"),
            client.post("/v1/chat/completions", json={"model": name, "messages": [{"role": "user", "content": "x"}]}),
            client.post(f"/v1/streams/{stream}/frames", content=name.encode()),
            client.post(f"/v1/streams/{stream}/frames", content=f"ffconcat version 1.0\nfile '{name}'\n".encode()),
        ]
        for answer in tries:
            assert 400 <= answer.status_code < 500, (name, answer.request.url, answer.status_code)
            assert "root:" not in answer.text and "PATH=" not in answer.text
    assert [each.name for each in (running.folder / "streams").iterdir()] == [stream]
    assert running.parts.webhooks.held() == []


def test_no_client_gives_a_decoder_arguments(service):
    client = service.client()
    for field in ("path", "address", "url_", "options", "ffmpeg", "format", "demuxer", "run", "timeline"):
        for path, body in (("streams", {}), ("webhooks", {"url": "https://a.b/"}), ("ask", {"stream": "x", "question": "x"})):
            answer = client.post(f"/v1/{path}", json={**body, field: "-i /etc/passwd"})
            assert answer.status_code == 400 and answer.json()["error"]["param"] == field
    assert not list((service.folder / "streams").iterdir())


def test_a_link_in_place_of_a_run_leads_nowhere(service, tmp_path):
    """Whoever can write to the service's folder can do so; a client that has a stream's name gets nothing else by it."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "stream.json").write_text("{}")
    (service.folder / "streams" / "feed").symlink_to(tmp_path / "secret")
    for stream in ("feed", ".", "..", "feed/../feed", ""):
        assert service.client().get("/v1/timeline", params={"stream": stream}).status_code == 404
        assert service.client().get("/v1/pictures/x", params={"stream": stream}).status_code == 404


# -- sockets --------------------------------------------------------------------------------------------------------------


def status(url, **headers):
    """101 where a socket is let in; what it is told where it is not."""
    try:
        with connect(url, additional_headers=headers) as made:
            made.recv(10)
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.parametrize(
    ("headers", "open_", "with_keys"),
    [
        ({}, 101, 101),  # a program: no browser leaves its Origin out
        ({"Origin": "OWN"}, 101, 101),
        ({"Origin": "https://friend.example"}, 101, 101),
        ({"Origin": "http://evil.example"}, 403, 403),
        ({"Origin": "null"}, 403, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403, 403),
        ({"Origin": "https://friend.example.evil.example"}, 403, 403),
        ({"Origin": ""}, 403, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403, 403),
    ],
)
def test_a_socket_of_another_page_is_not_let_in(serve, key, tmp_path, headers, open_, with_keys):
    alone = serve(origins=("https://friend.example",))
    anna = key("anna")
    kept = serve(origins=("https://friend.example",), folder=tmp_path / "service")
    for running, found, more in ((alone, open_, {}), (kept, with_keys, {"Authorization": f"Bearer {anna}"})):
        url = running.url.replace("http", "ws") + "/v1/realtime?model=serval"
        named = {name: value.replace("OWN", running.url) for name, value in headers.items()}
        assert status(url, **named, **more) == found
        if more:
            assert status(url, **named) == (401 if found == 101 else 403), "and nobody without a key"
            assert status(url, **named, Cookie=f"key={anna}") == (401 if found == 101 else 403)


def test_a_name_that_somebody_points_here_opens_no_socket(service):
    """DNS rebinding: the browser believes that this machine is evil.example."""
    for host in ("evil.example", f"evil.example:{service.port}", f"127.0.0.1.evil.example:{service.port}"):
        with socket.create_connection(("127.0.0.1", service.port)) as made:
            head = f"GET /v1/realtime?model=serval HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\n"
            made.sendall(
                f"{head}Connection: Upgrade\r\nSec-WebSocket-Key: {'x' * 22}==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            made.settimeout(20)
            assert b" 421 " in made.recv(4096).split(b"\r\n")[0]


def test_so_many_sockets_and_feeds_and_no_more(serve):
    running = serve(limits=Limits(sockets=3, all_sockets=3))
    url = running.url.replace("http", "ws") + "/v1/realtime?model=serval"
    with contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(connect(url)).recv(10)
        assert status(url) == 429
        client = running.client()
        feeds = [held.enter_context(client.stream("GET", "/v1/events")).iter_lines() for _ in range(3)]
        assert [next(each) for each in feeds] == [": serval"] * 3
        assert client.get("/v1/events").status_code == 429
    while running.parts.door.sockets.taken:
        time.sleep(0.01)
    assert status(url) == 101, "a place that was given back"


def test_a_body_of_a_gigabyte_is_refused_unread(service):
    with socket.create_connection(("127.0.0.1", service.port)) as made:
        made.sendall(
            b"POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n"
        )
        made.settimeout(20)
        assert b" 413 " in made.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "", "9" * 400])
def test_lengths_that_are_none(service, length):
    with socket.create_connection(("127.0.0.1", service.port)) as made:
        made.sendall(f"POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode())
        made.settimeout(20)
        assert made.recv(4096).split(b" ")[1][:1] in (b"4", b""), "refused, or cut off"
    assert service.client().get("/health").status_code == 200
