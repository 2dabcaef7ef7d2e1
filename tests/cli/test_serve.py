"""`serval serve` and `serval keys`, as a person types them."""

import signal
import subprocess
import sys

import httpx2
import pytest

from serval.serving.keys import Keys


def test_keys_are_made_listed_and_taken_back(serval, tmp_path):
    code, out, _ = serval("keys", "list", "--folder", tmp_path)
    assert code == 0 and out == ""
    code, key, _ = serval("keys", "add", "anna", "--folder", tmp_path)
    assert code == 0 and key.startswith("serval-") and Keys(tmp_path / "keys.json").person(key.strip()).name == "anna"
    code, out, _ = serval("keys", "add", "hall", "--scope", "watch", "--folder", tmp_path)
    code, out, _ = serval("keys", "list", "--folder", tmp_path)
    assert [line.split()[0] for line in out.splitlines()] == ["anna", "hall"] and out.splitlines()[1].endswith("watch")
    assert key.strip() not in out
    assert serval("keys", "remove", "anna", "--folder", tmp_path)[0] == 0
    assert Keys(tmp_path / "keys.json").person(key.strip()) is None


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("keys", "add", "anna", "--scope", "fly"), "known are watch, ask, instruct, admin"),
        (("keys", "remove", "nobody"), "there is none"),
        (("serve", "--host", "0.0.0.0"), "there is no key"),
        (("serve", "--port", "70000"), "0 to 65535"),
        (("serve", "--source", "door"), "NAME=SOURCE"),
        (("serve", "--source", "a/b=camera:0"), "letters, digits"),
        (("serve", "--origin", "example.org"), "no origin"),
        (("serve", "--webhooks", "https://example.org/path"), "no origin"),
        (("serve", "--answerer", "nosuch"), "nosuch"),
    ],
)
def test_refused_in_one_line(serval, tmp_path, words, why):
    code, out, err = serval(*words, "--folder", tmp_path)
    assert code == 2 and why in err and err.count("\n") == 1 and out == ""


def test_it_tells_where_it_listens_and_ends_when_it_is_told_to(tmp_path):
    command = [sys.executable, "-m", "serval", "serve", "--folder", tmp_path, "--port"]
    process = subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("Serval listens at http://127.0.0.1:")
        url = line.split()[3].rstrip("/")
        assert httpx2.get(f"{url}/health", timeout=60).json() == {"status": "ok"}
        second = subprocess.run([*command, url.rpartition(":")[2]], capture_output=True, text=True, timeout=120)
        assert second.returncode == 2 and "already in use" in second.stderr and second.stderr.count("\n") == 1
        with httpx2.stream("GET", f"{url}/v1/events", timeout=60) as reader:
            lines = reader.iter_lines()
            assert next(lines) == ": serval"
            process.send_signal(signal.SIGTERM)
            assert list(lines) == [""], "who listens is told the end"
        process.wait(60)
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
