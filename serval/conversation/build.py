"""From messages and encoded media to the sequence a model reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from serval.conversation.messages import Media, MediaKind, Message, media_of
from serval.conversation.segments import MediaSegment, TextSegment, from_segments
from serval.conversation.sequence import Modality, MultimodalSequence
from serval.conversation.template import ChatTemplate, Piece
from serval.conversation.tokenizer import Tokenizer
from serval.refusal import Refusal

_MODALITY: dict[MediaKind, Modality] = {"image": Modality.IMAGE, "video": Modality.VIDEO, "audio": Modality.AUDIO}


@dataclass(frozen=True, eq=False)
class Encoded:
    """A media part as a connector leaves it.

    Attributes:
        features: (count, width) embeddings.
        time: (count,) seconds on the stream's clock; None for all at the part's own time.
        step: how far positions move with each (`MediaSegment`).
    """

    features: Tensor
    time: Tensor | None = None
    step: float = 1.0


def build_sequence(
    messages: Sequence[Message],
    media: Mapping[Media, Encoded],
    tokenizer: Tokenizer,
    template: ChatTemplate,
    embed: Callable[[Tensor], Tensor],
    *,
    reply: bool = True,
    tools: Sequence[Mapping[str, Any]] = (),
    learn: bool = False,
    media_labels: bool = False,
) -> MultimodalSequence:
    """A conversation as a batch of one: (1, length, …). A token's ``source`` is the number of its medium, from 0.

    Args:
        media: features of every media part; parts that are equal share them.
        embed: (count,) token ids → (count, width), the model's own table.
        reply: end where the assistant's words begin.
        learn: set ``labels`` to what the assistant says; see `encode_pieces`.
        media_labels: let media tokens name the text that follows them.

    Raises:
        Refusal: a part was not encoded, or the template is wrong, hostile or has no place for a part.
    """
    parts = list(media_of(messages))
    for number, part in enumerate(parts, 1):
        if part not in media:
            raise Refusal(f"{part.kind} {number} of the conversation", "it was not encoded", "encode every media part")
    segments: list[TextSegment | MediaSegment] = []
    for each in encode_pieces(template.render(messages, reply=reply, tools=tools), tokenizer, learn=learn):
        if isinstance(each, TextSegment):
            segments.append(each)
        else:
            part, found = parts[each], media[parts[each]]
            time = part.time if found.time is None else found.time
            segments.append(MediaSegment(found.features, _MODALITY[part.kind], each, time, found.step))
    return from_segments(segments, embed, media_labels=media_labels)


def encode_pieces(pieces: Sequence[Piece], tokenizer: Tokenizer, *, learn: bool = False) -> list[TextSegment | int]:
    """Token ids of a rendered conversation, and the numbers of media where they go.

    Special tokens are found in what the template wrote and nowhere else. What stands between two of them is encoded in
    one go, as it is when a model is tuned: the ids of ordinary conversations are those of the usual libraries. With
    ``learn`` the assistant's words begin with a token of their own, as they do when it replies, and the special token
    that ends them is learned too. Parts with a time of their own begin with a token of their own as well.
    """
    made: list[TextSegment | int] = []
    run: list[str] = []
    key: tuple[bool, float | None] = (False, None)

    def flush() -> None:
        if ids := tokenizer.encode("".join(run)):
            made.append(TextSegment(ids, *key))
        run.clear()

    for content, learned, time in _stretches(pieces, tokenizer.special_tokens):
        if isinstance(content, str):
            if (learned and learn, time) != key:
                flush()
                key = (learned and learn, time)
            run.append(content)
        else:
            flush()
            made.append(TextSegment([content.id], learned and learn) if isinstance(content, _Special) else content)
    flush()
    return made


@dataclass(frozen=True)
class _Special:
    id: int


def _stretches(
    pieces: Sequence[Piece], special: Mapping[str, int]
) -> Iterator[tuple[str | int | _Special, bool, float | None]]:
    """Text, the number of a medium, or a special token; whether it is to be learned; its time."""
    names = "|".join(re.escape(name) for name in sorted(special, key=len, reverse=True))
    cut = re.compile(f"({names})" if names else r"(?!)()")
    told = any(piece.learn and piece.kind == "template" for piece in pieces)  # the template itself says what is learned
    ends = False  # the assistant's words were the last thing
    for piece in pieces:
        if piece.kind == "media":
            yield piece.medium, False, None
            ends = False
        elif piece.kind == "text":
            yield piece.text, piece.learn, piece.time
            ends = piece.learn and not told
        else:
            for number, stretch in enumerate(cut.split(piece.text)):
                if number % 2:
                    yield _Special(special[stretch]), piece.learn or ends, None
                    ends = False
                elif stretch:
                    yield stretch, piece.learn, None
                    ends = ends and stretch.isspace()
