"""From messages and encoded media to the sequence a model reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from serval.conversation.messages import Media, MediaKind, Message, media_of
from serval.conversation.segments import MediaSegment, TextSegment, from_segments
from serval.conversation.sequence import Modality, MultimodalSequence
from serval.conversation.template import ChatTemplate, Piece
from serval.conversation.tokenizer import Before, SpecialToken, Tokenizer
from serval.refusal import Refusal

_MODALITY: dict[MediaKind, Modality] = {"image": Modality.IMAGE, "video": Modality.VIDEO, "audio": Modality.AUDIO}


@dataclass(frozen=True, eq=False)
class Encoded:
    """A media part as a connector leaves it.

    Attributes:
        features: (count, width) embeddings.
        time: (count,) seconds on the stream's clock; None for all at the part's own time.
        step, positions: where its tokens stand (`MediaSegment`).
    """

    features: Tensor
    time: Tensor | None = None
    step: float = 1.0
    positions: Tensor | None = None


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
    questions: bool = False,
    device: torch.device | str | None = None,
) -> MultimodalSequence:
    """A conversation as a batch of one: (1, length, …). A media token's ``source`` is the number of its medium, from 0.

    Args:
        media: features of every media part; parts that are equal share them.
        embed: (count,) token ids → (count, width), the model's own table.
        reply: end where the assistant's words begin.
        learn: set ``labels`` to what the assistant says; see `encode_pieces`.
        media_labels: let media tokens name the text that follows them.
        questions: text belongs to the medium before it in its turn; see `encode_pieces`.
        device: where ``embed`` wants its ids.

    Raises:
        Refusal: a part was not encoded; the template is wrong or hostile, has no place for a part, or does not say how much
            of a tool call is to be learned.
    """
    parts = list(media_of(messages))
    for number, part in enumerate(parts, 1):
        if part not in media:
            raise Refusal(f"{part.kind} {number} of the conversation", "it was not encoded", "encode every media part")
    pieces = template.render(messages, reply=reply, tools=tools)
    if learn and any(message.tool_calls for message in messages) and not _told(pieces):
        why = "it does not say how much of a tool call is to be learned"
        raise Refusal("the chat template", why, "put {% generation %} around what the assistant writes")
    segments: list[TextSegment | MediaSegment] = []
    for each in encode_pieces(pieces, tokenizer, learn=learn, questions=questions):
        if isinstance(each, TextSegment):
            segments.append(each)
        else:
            part, found = parts[each], media[parts[each]]
            time = part.time if found.time is None else found.time
            segments.append(MediaSegment(found.features, _MODALITY[part.kind], each, time, found.step, found.positions))
    return from_segments(segments, embed, media_labels=media_labels, device=device)


def stops(template: ChatTemplate, tokenizer: Tokenizer) -> frozenset[int]:
    """Ids with which the assistant ends its turn: the special token that the template has after its words, the one that ends
    texts, and what the model's files say."""
    pieces = template.render([Message.of("user", "a"), Message.of("assistant", "b")], reply=False)
    said = [each for each in encode_pieces(pieces, tokenizer, learn=True) if isinstance(each, TextSegment) and each.learn]
    names = {id_: name for name, id_ in tokenizer.special_tokens.items()}
    last = [each.ids[-1] for each in said[-1:]]
    return template.ends | {id_ for id_ in names if id_ in last or names[id_] == template.variables.get("eos_token")}


class _Kind(NamedTuple):
    """What neighbouring tokens share."""

    learn: bool = False
    time: float | None = None
    source: int = -1


class _Stretch(NamedTuple):
    """Text, a special token, or the number of a medium with the token that stood for it, if one did."""

    content: str | int | None
    kind: _Kind
    token: SpecialToken | None = None


def encode_pieces(
    pieces: Sequence[Piece], tokenizer: Tokenizer, *, learn: bool = False, questions: bool = False
) -> list[TextSegment | int]:
    """Token ids of a rendered conversation, and the numbers of media where they go.

    Special tokens are found in what the template wrote and nowhere else. What stands between two of them is encoded in
    one go, as it is when a model is tuned: the ids of ordinary conversations are those of the usual libraries. With
    ``learn`` the assistant's words begin with a token of their own, as they do when it replies, and the special token
    that ends them is learned too. Parts with a time of their own begin with a token of their own as well.

    With ``questions`` all that follows a medium has its number as ``source``, up to the next medium or the next message's
    words: a question, the end of its turn and the beginning of the reply, never what the assistant says (AKI,
    arXiv:2503.02597, whose mask opens as much). A question before its picture belongs to none.
    """
    made: list[tuple[_Kind, list[int]] | int] = []
    run: list[str] = []
    kind = _Kind()
    before: Before = "nothing"

    def add(ids: list[int], its: _Kind) -> None:
        last = made[-1] if made else None
        if isinstance(last, tuple) and last[0] == its:
            last[1].extend(ids)
        elif ids:
            made.append((its, ids))

    def flush() -> None:
        nonlocal before
        if text := "".join(run):
            add(tokenizer.encode(text, before), kind)
            before = "text"
        run.clear()

    for content, its, token in _trimmed(_stretches(pieces, tokenizer, learn, questions)):
        if not isinstance(content, str) or its != kind:
            flush()
        kind = its
        if isinstance(content, str):
            run.append(content)
            continue
        before = "special"
        if content is not None:
            made.append(content)
        elif token is not None:
            add([token.id], its)
    flush()
    return [each if isinstance(each, int) else TextSegment(each[1], *each[0]) for each in made]


def _told(pieces: Sequence[Piece]) -> bool:
    """Whether the template itself says what is learned."""
    return any(piece.learn and piece.kind == "template" for piece in pieces)


def _stretches(pieces: Sequence[Piece], tokenizer: Tokenizer, learn: bool, questions: bool) -> Iterator[_Stretch]:
    told = _told(pieces)
    ends = False  # the assistant's words were the last thing
    turn = source = -1  # of the medium that the text belongs to
    for piece in pieces:
        if piece.learn or (piece.kind == "text" and piece.message not in (-1, turn)):
            source = -1
        if piece.kind == "media":
            turn, source = piece.message, piece.medium if questions else -1
            token = next(tokenizer.cut(piece.text), None)
            yield _Stretch(piece.medium, _Kind(), token if isinstance(token, SpecialToken) else None)
            ends = False
        elif piece.kind == "text":
            yield _Stretch(piece.text, _Kind(learn and piece.learn, piece.time, source))
            ends = piece.learn and not told
        else:
            for each in tokenizer.cut(piece.text):
                if isinstance(each, SpecialToken):
                    yield _Stretch(None, _Kind(learn and (piece.learn or ends), None, source), each)
                    ends = False
                else:
                    yield _Stretch(each, _Kind(learn and piece.learn, None, source))
                    ends = ends and each.isspace()


def _trimmed(stretches: Iterable[_Stretch]) -> list[_Stretch]:
    """White space beside a special token may belong to it, whoever wrote it."""
    made = list(stretches)
    for place, stretch in enumerate(made):
        if stretch.token is not None and stretch.token.strips_left:
            _trim(made, range(place - 1, -1, -1), _SPACE_AFTER)
        if stretch.token is not None and stretch.token.strips_right:
            _trim(made, range(place + 1, len(made)), _SPACE_BEFORE)
    return made


def _trim(stretches: list[_Stretch], places: Iterable[int], space: re.Pattern[str]) -> None:
    for place in places:
        content = stretches[place].content
        if not isinstance(content, str):
            return
        stretches[place] = stretches[place]._replace(content=space.sub("", content))
        if stretches[place].content:
            return


# What the tokenizers library takes for white space: Unicode's, so not the four separators that Python adds.
_SPACE_BEFORE, _SPACE_AFTER = re.compile(r"\A[^\S\x1c-\x1f]+"), re.compile(r"[^\S\x1c-\x1f]+\Z")
