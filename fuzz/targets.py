"""What is fuzzed: each function takes bytes, and may end in a `Refusal` or in a result that holds what it promises.

Each imports what it tests when it is first called, so that nothing else has to be loaded and instrumented.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

import atheris

from serval.refusal import Refusal

_FOLDER = Path(tempfile.mkdtemp(prefix="serval-fuzz-"))


def messages(data: bytes) -> None:
    """Conversations of both families, as JSON or as what fits anywhere."""
    from serval.conversation.formats import from_huggingface, from_openai

    made = _json(data)
    for form in (from_openai, from_huggingface):
        with contextlib.suppress(Refusal):
            form(made if isinstance(made, list) else [made])


def containers(data: bytes) -> None:
    """First bytes of files: a demuxer's name, never one that points elsewhere."""
    from serval.media.sniff import sniff, sniff_sound

    for look in (sniff, sniff_sound):
        with contextlib.suppress(Refusal):
            assert look(data, "it") not in ("concat", "hls", "sdp", "dash", "image2")


def safetensors(data: bytes) -> None:
    """A checkpoint: a header of any content, with its right length before it half of the time."""
    from serval.weights.checkpoint import SafetensorsCheckpoint

    given = atheris.FuzzedDataProvider(data)
    header = given.ConsumeBytes(1500)
    size = len(header) if given.ConsumeBool() else given.ConsumeUInt(8)
    path = _FOLDER / "model.safetensors"
    path.write_bytes(size.to_bytes(8, "little") + header + given.ConsumeBytes(500))
    with contextlib.suppress(Refusal):
        checkpoint = SafetensorsCheckpoint(path)
        for name in checkpoint.names():
            checkpoint.tensor(name)


def gguf(data: bytes) -> None:
    """A GGUF file behind its magic and version."""
    from serval.weights.gguf_file import read_gguf

    path = _FOLDER / "model.gguf"
    path.write_bytes(b"GGUF\x03\0\0\0" + data)
    with contextlib.suppress(Refusal):
        read_gguf(path)


def instructions(data: bytes) -> None:
    """A file of standing instructions."""
    from serval.assistant.instructions import store

    path = _FOLDER / "instructions.yaml"
    path.write_bytes(data if data[:1] != b"\x01" else b"- id: a\n  text: " + data[1:])
    with contextlib.suppress(Refusal):
        for each in store.load(path):
            assert 1 <= len(each.text) <= 500


def sentences(data: bytes) -> None:
    """What people ask to be watched for."""
    from serval.assistant.instructions.understand import understand

    understood = understand(data.decode("utf-8", "replace")[:500])
    assert understood.read_back or understood.cannot


def captions(data: bytes) -> None:
    """Texts of events in every form of export: no cue is broken into two, JSON reads back."""
    from serval.assistant.event import Event, Evidence
    from serval.assistant.timeline.export.json_lines import json_lines
    from serval.assistant.timeline.export.subtitles import srt, webvtt

    given = atheris.FuzzedDataProvider(data)
    text, seen = given.ConsumeUnicodeNoSurrogates(200), given.ConsumeUnicodeNoSurrogates(50)
    evidence = (Evidence(time=1.0, frame="0", text=seen),)
    event = Event(id="e", source="s", t_start=1.0, t_end=2.0, said_at=2.0, text=text, evidence=evidence)
    assert "".join(srt([event])).count(" --> ") <= 1 and "".join(webvtt([event])).count(" --> ") <= 1
    (line,) = json_lines([event])
    assert json.loads(line)["text"] == text and line.count("\n") == 1


def addresses(data: bytes) -> None:
    """Addresses of webhooks: what is let through belongs to the host that is allowed."""
    from serval.serving.outgoing import target

    url = data.decode("utf-8", "replace")
    for each in (url, f"https://example.org{url}", f"https://{url}example.org/"):
        with contextlib.suppress(Refusal):
            found = target(each, ["https://example.org"], lambda host, port: ["93.184.216.34"])
            assert (found.host, found.port, found.scheme) == ("example.org", 443, "https")


def keys(data: bytes) -> None:
    """A file of keys, and a key."""
    from serval.serving.keys import Keys

    path = _FOLDER / "keys.json"
    path.write_bytes(data)
    with contextlib.suppress(Refusal):
        assert Keys(path).person(data.decode("utf-8", "replace")) is None


def realtime(data: bytes) -> None:
    """Messages on a realtime socket."""
    from serval.serving.realtime.protocol import Unreadable, read

    for each in (data.decode("utf-8", "replace"), json.dumps(_json(data))):
        with contextlib.suppress(Unreadable):
            read(each)


def _json(data: bytes) -> object:
    """JSON if it is some, else nested values that are drawn from the bytes."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return _value(atheris.FuzzedDataProvider(data), 4)


_WORDS = (
    "role content type text image_url url input_audio data format video_url user assistant tool system name image audio path"
).split()


def _value(given: atheris.FuzzedDataProvider, depth: int) -> object:
    kind = given.ConsumeIntInRange(0, 7)
    if kind == 0 and depth:
        return [_value(given, depth - 1) for _ in range(given.ConsumeIntInRange(0, 3))]
    if kind <= 2 and depth:
        return {given.PickValueInList(_WORDS): _value(given, depth - 1) for _ in range(given.ConsumeIntInRange(0, 4))}
    if kind == 3:
        return given.PickValueInList([None, True, False, 0, -1, 1e300, float("nan")])
    return given.PickValueInList(_WORDS) if kind <= 5 else given.ConsumeUnicode(40)
