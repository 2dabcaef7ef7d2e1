"""A sentence taken apart into claims: who or what, how many, does what, to what, where, which words are quoted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from serval.assistant.answers.lexicon import ANY, Item, Token

HEADS = ("first scene", "scene", "read", "looks", "nothing", "likeness", "bustle")  # they begin what they speak of
STATES = ("exist", *HEADS)  # what they speak of may stand behind them


@dataclass(frozen=True)
class Named:
    """A noun phrase. ``label`` is empty for a bare number ("one puts a bottle …")."""

    label: str
    low: int
    high: int
    fresh: bool = True  # names new things, unlike "the person"
    another: bool = False


@dataclass(frozen=True)
class Claim:
    action: str
    subjects: tuple[Named, ...] = ()
    objects: tuple[Named, ...] = ()
    agents: tuple[Named, ...] = ()  # after "by"
    places: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    passive: bool = False
    inherited: bool = False  # the subject is the one of the claim before
    then: bool = False


@dataclass
class _Piece:
    """What stands between two joints."""

    action: str = ""
    passive: bool = False
    be: bool = False
    then: bool = False
    refers: str = ""
    before: list[Named] = field(default_factory=list)
    after: list[Named] = field(default_factory=list)
    agents: list[Named] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    quotes: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    clash: bool = False  # two actions without a joint between them


def claims(tokens: Sequence[Token]) -> tuple[list[Claim], list[str]]:
    """The claims of a sentence in order, and what cannot be followed."""
    out: list[Claim] = []
    problems: list[str] = []
    for clause in _split(tokens, Item.STOP):
        pieces = [_piece(each) for each in _split_keeping_then(clause)]
        problems += ["two actions run into one another" for piece in pieces if piece.clash]
        _clause(pieces, out, problems)
    return out, problems


def _split(tokens: Sequence[Token], at: Item) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.item is at:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _split_keeping_then(tokens: Sequence[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.item is Item.AND:
            parts.append([])
        elif token.item is Item.THEN:
            parts.append([token])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _piece(tokens: Sequence[Token]) -> _Piece:
    piece, number, by = _Piece(), None, False

    def name(label: str, token: Token | None, low: int, high: int) -> None:
        fresh = token is None or token.fresh
        named = Named(label, low, high, fresh, token is not None and token.value == "another")
        (piece.agents if by else piece.after if piece.action else piece.before).append(named)

    def bare() -> None:
        nonlocal number
        if number is not None and number.value != "the":
            name("", number, number.low, number.high)
        number = None

    for token in tokens:
        if token.item is Item.NOUN:
            low, high = token.low, token.high
            if number is not None and number.words == "some":  # "some people", and "some broccoli" however much
                low, high = low, ANY
            elif number is not None:
                low, high = _both(number, token)
            name(token.value, number, low, high)
            number = None
            continue
        if token.item is Item.NUMBER:
            if number is not None and number.value == "the":  # "the two people"
                token = replace(token, fresh=False)
            elif number is not None:
                bare()
            number = token
            continue
        if token.item is Item.FILLER:
            continue
        bare()
        if token.item is Item.ACTION:
            if piece.action == "exist" and token.value != "exist":  # "there is a person coming in"
                piece.before, piece.after, piece.action = piece.before + piece.after, [], token.value
            elif piece.action and token.value != "exist":
                piece.clash = True
            else:
                piece.action = piece.action or token.value
            piece.passive = piece.passive or (piece.be and token.form == "pp" and token.value in ("put", "taken"))
        elif token.item is Item.BE:
            piece.be = True
        elif token.item is Item.BY:
            by = True
        elif token.item is Item.PLACE:
            piece.places.append(token.value)
        elif token.item is Item.QUOTE:
            piece.quotes.append(token.value)
        elif token.item is Item.TIME:
            piece.times.append(token.words)
        elif token.item is Item.REFERS:
            piece.refers = token.value
        elif token.item is Item.THEN:
            piece.then = True
    bare()
    if piece.be and not piece.action:
        piece.action = "exist"
    return piece


def _both(number: Token, noun: Token) -> tuple[int, int]:
    """What "two" and "people" can stand for together; the number wins where they disagree ("two person")."""
    low, high = max(number.low, noun.low), min(number.high, noun.high)
    return (low, high) if low <= high else (number.low, number.high)


def _clause(pieces: list[_Piece], out: list[Claim], problems: list[str]) -> None:
    """Join the pieces of one clause to claims: listed subjects wait for their action, listed objects take the last one."""
    waiting: list[_Piece] = []
    began = len(out)
    for index, piece in enumerate(pieces):
        if piece.action:
            out.append(_claim(piece, [named for each in waiting for named in each.before], out, problems))
            waiting = []
            continue
        acts_later = next((each.action for each in pieces[index + 1 :] if each.action), "") not in ("", *HEADS)
        earlier = out[-1] if len(out) > began else None
        if not any((piece.before, piece.places, piece.quotes, piece.times)):
            continue
        if earlier is None and acts_later and not piece.places and not piece.quotes:
            waiting.append(piece)
        elif earlier is None:
            out.append(_listed(piece, out))
        elif acts_later and piece.before and earlier.action not in STATES:
            waiting.append(piece)
        else:
            out.append(_continued(piece, earlier))
    if waiting:
        problems.append("something is named and nothing said of it")


def _listed(piece: _Piece, out: list[Claim]) -> Claim:
    """A list without a verb: after "a new scene:" or "in view:" it is what is there; quotations are what is read; bare
    numbers go on with what was said ("two people come in: one from the left …")."""
    if out and out[-1].subjects and piece.before and not any(named.label for named in piece.before) and not piece.quotes:
        return _continued(piece, out[-1])
    action = "read" if piece.quotes else out[-1].action if out and out[-1].action == "looks" else "exist"
    return Claim(action, tuple(piece.before), (), (), tuple(piece.places), tuple(piece.quotes), tuple(piece.times))


def _continued(piece: _Piece, earlier: Claim) -> Claim:
    """A list that goes on: "… and two cars", "… and “EXIT” on the right", "… and one from the right"."""
    named = tuple(piece.before)
    if earlier.action in ("put", "taken", "touch") and named and not earlier.passive:
        return replace(earlier, objects=named, places=tuple(piece.places), quotes=(), times=tuple(piece.times))
    subjects = tuple(each if each.label else replace(each, label=_label(earlier), fresh=False) for each in named)
    if piece.quotes:
        return Claim("read", quotes=tuple(piece.quotes), places=tuple(piece.places), times=tuple(piece.times))
    if not named:  # only a place or a time more
        return replace(earlier, places=(*earlier.places, *piece.places), times=(*earlier.times, *piece.times), inherited=True)
    action = "exist" if earlier.action in ("first scene", "scene", "likeness", "looks", "read") else earlier.action
    return replace(earlier, action=action, subjects=subjects, places=tuple(piece.places), quotes=(), times=tuple(piece.times))


def _claim(piece: _Piece, waiting: list[Named], out: list[Claim], problems: list[str]) -> Claim:
    subjects, objects = [*waiting, *piece.before], piece.after
    if piece.action in STATES:
        subjects, objects = [*subjects, *objects], []
    inherited = False
    previous = next((each for each in reversed(out) if each.subjects), None)
    needs_subject = piece.action not in STATES or (piece.action == "exist" and piece.refers != "")
    if any(not each.label for each in subjects) or (not subjects and needs_subject):
        if previous is None:
            problems.append("it is not said who or what")
        else:
            label, inherited = _label(previous), True
            if not subjects:
                subjects = [replace(each, fresh=False) for each in previous.subjects]
            subjects = [
                replace(each, label=each.label or label, fresh=False if piece.action != "exist" else each.fresh)
                for each in subjects
            ]
    if piece.refers and not waiting and not piece.before and previous is not None and needs_subject:
        plural = piece.refers == "2"
        if plural != (sum(each.high for each in previous.subjects) > 1 or len(previous.subjects) > 1):
            problems.append("it is not clear who is meant")
    return Claim(
        piece.action,
        tuple(subjects),
        tuple(objects),
        tuple(piece.agents),
        tuple(piece.places),
        tuple(piece.quotes),
        tuple(piece.times),
        piece.passive,
        inherited and piece.action != "exist",
        piece.then,
    )


def _label(claim: Claim) -> str:
    return claim.subjects[-1].label if claim.subjects else ""


def spread(named: Named) -> str:
    """In words, for what is said about a refusal."""
    if named.low == named.high:
        return f"{named.low} {named.label}"
    return f"{named.label} (at least {named.low})" if named.high >= ANY else f"{named.low} to {named.high} {named.label}"
