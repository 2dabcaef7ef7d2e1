"""What a data set may ask of this machine, and which files it may name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from serval.conversation.messages import Media, Text, media_of
from serval.data.item import Item
from serval.refusal import Refusal


@dataclass(frozen=True)
class DataLimits:
    """Caps on untrusted data sets. Reading takes a few times the memory of the largest record, whatever the file's size.

    Attributes:
        file: bytes of a file.
        items: records of a file.
        record: bytes of one record, or of one field beside the records.
        depth: lists and objects inside one another.
        messages, parts: of one conversation.
        characters: of all texts of a conversation.
        media: characters of media written into it.
    """

    file: int = 1 << 40
    items: int = 200_000_000
    record: int = 64 << 20
    depth: int = 64
    messages: int = 16_384
    parts: int = 65_536
    characters: int = 8_000_000
    media: int = 64 << 20

    def check(self, item: Item) -> None:
        """
        Raises:
            Refusal: the item's conversation is too long.
        """
        parts = [part for message in item.messages for part in message.parts]
        calls = [call for message in item.messages for call in message.tool_calls]
        texts = [part.text for part in parts if isinstance(part, Text)] + [call.arguments for call in calls]
        media = [each for part in parts if isinstance(part, Media) for each in (part.url, part.data) if each]
        found = {
            "messages": len(item.messages),
            "parts": len(parts) + len(calls),
            "characters": sum(map(len, texts)),
            "characters of media": sum(map(len, media)),
        }
        for (what, count), most in zip(found.items(), (self.messages, self.parts, self.characters, self.media), strict=True):
            if count > most:
                raise Refusal("", f"it has {count:,} {what}, and {most:,} are the limit", "split it")


USUAL = DataLimits()


def check_places(item: Item, root: Path | None) -> None:
    """Nothing an item names may be outside ``root``, and without one nothing may leave the folder it will be in.

    Raises:
        Refusal: a path is absolute, climbs, or leads out by a link; a URL names a file.
    """
    for part in (*item.media, *media_of(item.messages)):
        _check_place(part, root)


def _check_place(part: Media, root: Path | None) -> None:
    if part.url is not None and part.url[:5].lower() == "file:":
        raise Refusal("", f"its {part.kind} is a file: URL", "name files by their path below the media folder")
    if part.path is None:
        return
    if root is not None:
        media_path(root, part.path)
    elif PurePosixPath(_slashed(part.path)).is_absolute() or _climbs(part.path):
        raise Refusal("", f"its {part.kind} {part.path[:80]!r} is not below a folder", "give the media folder that holds it")


def media_path(root: Path, path: str) -> Path:
    """Where a medium is, links followed; it need not be there.

    Raises:
        Refusal: it is not in ``root``.
    """
    try:
        folder = root.resolve()
        found = (folder / _slashed(path)).resolve()
        inside = found.is_relative_to(folder) and found != folder
    except (OSError, ValueError, RuntimeError):  # a loop of links, a null byte
        inside = False
    if not inside:
        raise Refusal("", f"{path[:80]!r} is not in {root.name or root}", "give the media folder that holds it")
    return found


def _climbs(path: str) -> bool:
    return not path or "\0" in path or ".." in _slashed(path).split("/") or path[1:2] == ":"


def _slashed(path: str) -> str:
    return path.replace("\\", "/")
