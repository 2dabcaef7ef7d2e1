"""The only way out: allowed hosts, resolved once, dialled as checked, no hop further."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serval.refusal import Refusal
from serval.serving.outgoing import post, target

ALLOWED = ("https://example.org", "http://127.0.0.1:8080", "http://[::1]:8080")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "https://example.org:8443/",
        "https://evil.example/",
        "https://example.org.evil.example/",
        "https://example.org@evil.example/",
        "https://evil.example\\@example.org/",
        "https://example.org\\.evil.example/",
        "https://example.org%2eevil.example/",
        "https://example.org./",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://user:pass@example.org/",
        "https://example.org/#x",
        "https://example.org/a b",
        "https://example.org/\r\nX: 1",
        "https://exämple.org/",
        "http://127.0.0.1/",
        "http://127.0.0.1:8081/",
        "http://2130706433:8080/",
        "http://0x7f.0.0.1:8080/",
        "http://0177.0.0.1:8080/",
        "http://127.1:8080/",
        "http://localhost:8080/",
        "http://[::ffff:127.0.0.1]:8080/",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://example.org/",
        "//example.org/",
        "https:///",
        "https://[::1",
        "",
        "https://example.org/" + "x" * 2000,
    ],
)
def test_hostile_addresses(url):
    with pytest.raises(Refusal):
        target(url, ALLOWED, lambda host, port: ["93.184.216.34"])


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "::1", "fe80::1",
     "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "not an address", "::127.0.0.1", "::ffff:0:127.0.0.1",
     "64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::7f00:1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "::", "fe80::1%eth0"],
)  # fmt: skip
def test_a_name_that_points_inside(address):
    for addresses in ([address], ["93.184.216.34", address]):
        with pytest.raises(Refusal):
            target("https://example.org/", ALLOWED, lambda host, port, found=addresses: found)


def test_a_name_is_looked_up_once_and_dialled_as_it_was_found():
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    found = target("https://EXAMPLE.org:443/hook?a=1", ALLOWED, lambda host, port: next(answers))
    assert (found.address, found.host, found.port, found.path) == ("93.184.216.34", "example.org", 443, "/hook?a=1")


def test_what_was_checked_is_dialled_whatever_the_name_becomes(monkeypatch):
    """The name is looked up for the check, and never again."""
    dialled, answers = [], iter([["93.184.216.34"], ["127.0.0.1"]])

    def dial(address, timeout):
        dialled.append(address)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", dial)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("looked up once more"))
    with pytest.raises(OSError):
        post(target("https://example.org/hook", ALLOWED, lambda host, port: next(answers)), b"{}", {})
    assert dialled == [("93.184.216.34", 443)]
    with pytest.raises(Refusal):  # and the next time it is checked anew
        target("https://example.org/hook", ALLOWED, lambda host, port: next(answers))


@pytest.mark.parametrize(
    "drip", [b"H", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5, b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"]
)
def test_an_answer_that_comes_byte_by_byte_is_given_up(drip):
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(drip)
                while not stopped.wait(0.01):
                    connection.sendall(b"x")

        thread = threading.Thread(target=answer)
        thread.start()
        origin = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(OSError):
            post(target(f"{origin}/hook", [origin]), b"{}", {}, seconds=0.2)
        stopped.set()
        thread.join()


def test_what_the_owner_allows_by_number():
    assert target("http://127.0.0.1:8080/x", ALLOWED).address == "127.0.0.1"
    assert target("http://[::1]:8080/x", ALLOWED).address == "::1"


def test_redirects_are_not_followed():
    reached = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            reached.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/secret")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{server.server_port}"
    assert post(target(f"{origin}/hook", [origin]), b"{}", {}) == 302 and reached == ["/hook"]
    server.shutdown()
    with pytest.raises(OSError):
        server.server_close()
        post(target(f"{origin}/hook", [origin]), b"{}", {}, seconds=1)
