"""How a model's folder says that conversations are written: tokenizer, chat template, and what begins and ends them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from serval.conversation.build import stops
from serval.conversation.segments import TextSegment
from serval.conversation.template import ChatTemplate
from serval.conversation.tokenizer import Tokenizer


@dataclass(frozen=True)
class Speech:
    """Attributes:
    begin: ids that stand before a conversation, unless its template writes them.
    """

    tokenizer: Tokenizer
    template: ChatTemplate
    begin: tuple[int, ...] = ()

    @cached_property
    def stops(self) -> frozenset[int]:
        """Ids that end the assistant's turn (`serval.conversation.build.stops`). Raises `Refusal` as the template does."""
        return stops(self.template, self.tokenizer)

    @classmethod
    def from_folder(cls, folder: Path, ends: Sequence[int] = ()) -> Speech | None:
        """Of a model's folder; None where it has no tokenizer.

        Args:
            ends: more ids that end a reply, as a part of ``config.json`` says.

        Raises:
            Refusal: there is a tokenizer and no template, or a file is damaged.
        """
        if not (folder / "tokenizer.json").exists():
            return None
        tokenizer, template = Tokenizer(folder / "tokenizer.json"), ChatTemplate.from_folder(folder)
        begin = _begin(json.loads((folder / "tokenizer.json").read_bytes()))
        return cls(tokenizer, replace(template, ends=template.ends | set(ends)), begin)

    def begun(self, segments: Sequence[TextSegment | int]) -> Iterator[TextSegment | int]:
        """The segments, with `begin` before them."""
        first = segments[0] if segments else None
        if self.begin and not (isinstance(first, TextSegment) and tuple(first.ids[: len(self.begin)]) == self.begin):
            yield TextSegment(self.begin)
        yield from segments


def _begin(content: dict[str, Any]) -> tuple[int, ...]:
    """The ids that a ``tokenizer.json`` puts before every text."""
    last: dict[str, Any] = content.get("post_processor") or {}
    ids: list[int] = []
    for step in last.get("processors", [last]):
        for each in step.get("single", ()) if step.get("type") == "TemplateProcessing" else ():
            if "SpecialToken" not in each:
                break
            ids += step["special_tokens"][each["SpecialToken"]["id"]]["ids"]
    return tuple(ids)
