"""The outer part of an instruction: politeness and command off, then the shapes that need no grammar (scene, "
"everything, text)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from serval.assistant.instructions.nouns import lookup
from serval.assistant.instructions.words import VERBS, tokens, verb


class Unreadable(Exception):  # noqa: N818 - an outcome of reading, always caught by `understand`
    """The sentence asks for what cannot be watched for. ``topic`` is a key of `limits.REASONS`, ``about`` its words."""

    def __init__(self, topic: str, about: str = "") -> None:
        self.topic, self.about = topic, about
        super().__init__(topic)


@dataclass(frozen=True)
class Request:
    """What is left of an instruction when its command is off: lower case, words one space apart, quotations as ``«0»``."""

    clause: str
    commanded: bool  # a command such as "tell me when" stood before or after it
    guards: bool  # the command was to keep an eye on it: whatever becomes of it matters
    quotes: tuple[str, ...]
    names: frozenset[str]  # words written with a capital inside the sentence


@dataclass(frozen=True)
class TextShape:
    text: str  # "" is any text


_ADVERB = "please|kindly|hey|hi|serval|now|just|always|also|then|so|and|okay|immediately|maybe|thanks|thank you|as well|too"
_OPENING = re.compile(
    rf"^(?:(?:{_ADVERB}|only(?= (?:tell|say|let|alert|notify|warn|speak|inform|report|when|"
    rf"if))|,|:|to|(?:can|could|would|will) you(?: please)?(?: mind)?|i (?:want|need|would like) you to|you "
    rf"should|your (?:job|task) is to|from now on|be so kind as to|if possible|make sure (?:to|you)|be sure to|(?:could|can|"
    r"may) i be) )+"
)
_ME = "(?:me|us|everyone|everybody|them)"
_SAYS = "tell|notify|alert|warn|inform|ping|remind|nudge|update|signal|show"
_SPEAKS = "say|speak|shout|beep|report|announce|mention|comment|describe|narrate|list|log|record"
_LOOKS = "watch|look|check|monitor|observe|track|detect|spot|notice|find|guard"
_COMMAND = re.compile(
    rf"^(?:(?:say|tell {_ME}|describe|report) what (?:you see|is there|is in view)(?= (?:when|if|every|each|as soon))"
    rf"|(?:let {_ME} know|(?:{_SAYS}) {_ME}(?: about it| so)?|(?:{_SAYS}|{_SPEAKS})(?: up| so| it| something| out| to {_ME})?"
    rf"|give {_ME} (?:a|an) [\w-]+|send (?:{_ME} )?(?:a|an|the) (?:alert|notification|warning|note|signal)"
    r"|raise (?:a|an|the) (?:alarm|alert)|i (?:want|need|wish|would like|would love) to (?:know|hear|see|be \w+)"
    rf"|keep (?:a|an|your|close) ?(?:close )?(?:eyes?|watch|lookout|look-out)(?: out| open| peeled)?|be on the look-? "
    rf"?out|keep watch(?:ing)?|keep {_ME} (?:posted|informed|updated|in the loop)"
    rf"|stay alert|be alert|be (?:told|notified|alerted|informed|warned)|(?:start |keep )?(?:{_LOOKS})(?:ing)?(?: out| "
    rf"over)?))\b(?: |$)"
)
_GUARDS = re.compile(rf"^(?:keep (?:a|an|your|close) ?(?:close )?(?:eyes?|watch) on|watch over|(?:{_LOOKS})) (?=the |my |our )")
_WATCHED_PLACE = re.compile(
    rf"^(?:(?:{_LOOKS})|keep an eye on) (?:the|my|our) [\w ]{{1,30}}? and (?=(?:{_SAYS}|{_SPEAKS}|let) )"
)
_COMMA = re.compile(r"^((?:(?:an?|the|any|some) )?\w+(?: or (?:(?:an?|the|any|some) )?\w+)*) ,(?: or| and)? (?=.* (?:or|and) )")
_CONNECTIVE = re.compile(
    r"^(?:(?:whenever|when|if|as soon as|as often as|every ?time|each time|any ?time|once|that|whether|for|about|of|on|"
    r"to|should|in case|after|"
    r"the (?:moment|instant|second(?= (?:an?|the|some\w*|any\w*|you|he|she|it|there|that|when|my)\b)|minute|time|first "
    r"time|next time)(?: that| when)?|while|at(?! least| most)|it(?= starts| begins)|ever) )+"
)
_CLOSING = re.compile(
    rf" (?:, ?)?(?:(?:and|then|please|just|,) ?)*(?:let {_ME} know|(?:{_SAYS}) {_ME}|say so|say it|speak up|shout|beep|"
    rf"(?:describe|report) (?:it|them|him|her|what (?:you see|is there|happens|it is))|thanks|thank you|please|"
    rf"immediately|right away|"
    r"straight away|at once|asap|for me|okay)(?: (?:about it|please|so|at once|immediately|right away|,))*$"
)
_FORBIDS = re.compile(r"^(?:do not|never|stop|no more|quit|(?:i|we) do not want|shut up|be quiet|say nothing|silence)\b")
_ORDERS = re.compile(
    r"^(?:ignore|forget|cancel|delete|disregard|erase|remove all|turn (?:on|off)|switch (?:on|off)|open|close|lock|"
    r"unlock|play|call|email|"
    r"text(?! (?:appears?|shows|comes|turns|pops|is|gets|becomes|can|changes|on|in|or)\b|$)|"
    r"phone|send (?:an? )?(?:email|text|sms)|start|count|say «\d+» (?:when|if|to)|take a (?:picture|photo)|record|"
    r"save|buy|write|translate)\b(?! (?:a|an|any) \w+ appears)"
)

_OPTION = r"(?:every|each|any|all|a|an|the|another|some|there is an?|there is|there are|you see an?|you see the)"
_SCENE = re.compile(
    rf"(?:{_OPTION} )?(?:(?:new|next|other|different|single) )*(?:scenes?|shots?|cuts?|camera cuts?|slides?|scene changes?)"
    r"(?: (?:in|of|on) (?:the |this )?\w+)?(?: (?:changes?|change|appears?|begins?|starts?|comes?(?: up| on| into "
    r"view)?|is shown|cuts?|switches|"
    r"is (?:different|new|another)))?|(?:a |the |any )?(?:camera|scene|shot|video|film|view|channel) "
    r"(?:changes?|cuts?|switch(?:es)?|jumps?|moves on|is (?:new|different))(?: (?:to|over to|away)(?: .*)?)?"
)
_WHERE = (
    r"(?: (?:here|there|at all|now|(?:in|on) (?:the |this |my )?(?:video|picture|view|scene|room|clip|image|stream|"
    r"frame|street|screen|camera|garden|yard|house|kitchen|film|movie)))*"
)
_EVERYTHING = re.compile(
    r"(?:what(?:ever)?|everything(?: that| which)?|anything(?: that| new| at all)?|something(?: new)?|all(?: that)?|all "
    r"changes|(?:any|every|all|a|the)? ?(?:changes?|events?|movements? or changes?)|the (?:picture|image)|things?|stuff)"
    r"(?: (?:you (?:can )?see|you notice|(?:ha(?:s|ve) )?(?:happen|chang|occurr?)(?:s|es|e|ed|ing)?|goes on|is (?:going "
    r"on|happening|changing|new|different|there)|are (?:happening|changing)|there is|takes place))?" + _WHERE
)  # fmt: skip
_SURFACE = (
    r"(?:sign|signs|screen|board|billboard|display|plate|number plate|license plate|licence plate|poster|page|label|"
    r"notice|banner|ticker|"
    r"placard|door|shop|sticker|clock|timer|counter|scoreboard|monitor|tv|slide|caption|subtitle|title|display board|"
    r"paper|note|text|writing|message|headline|sheet)"
)
_WORDS = (
    r"(?:words?|texts?|letters?|numbers?|digits?|names?|messages?|phrase|characters?|captions?|titles?|headlines?|lettering)"
)
_SHOWN = (
    r"(?: (?:appears?|appear|shows? up|comes? up|pops? up|is up|(?:is|are|becomes?|gets?|can be) (?:visible|shown|"
    r"displayed|written|seen|read|there|"
    r"on|in view|readable|printed|present)|comes? into view|turns? up|is (?:in|on) (?:the )?(?:picture|view|screen)))?"
)
_ON = r"(?: (?:on|in|at|above|over|across) (?:a|an|the|any|my|some|this) [\w -]+)?"
_SEE = r"(?:(?:there is|there are|you (?:can )?(?:see|read|spot|notice|find)|it (?:says|reads)) )?"
_TEXTS = (
    re.compile(rf"{_SEE}(?:(?:a|an|any|some|the|one|that|this|my|your|every|each) )?(?:\w+ ){{0,2}}?{_SURFACE} (?:that |"
        rf"which )?(?:says?|reads?|shows?|displays?|saying|reading|showing|displaying|contains?|with|changes to|turns to|"
               rf"states)(?: the)?(?: {_WORDS})? (?P<text>.+)"),
    re.compile(rf"{_SEE}(?:the |a |an )?{_WORDS} (?!of )(?P<text>.+?){_SHOWN}{_ON}"),
    re.compile(r"(?:it|you|the camera|this) (?:says?|reads?|can read) (?P<text>.+)"),
    re.compile(rf"{_SEE}(?P<text>«\d+»(?: sign)?){_SHOWN}{_ON}"),
    re.compile(rf"(?P<text>.+?) (?:is|are) (?:written|printed){_ON}"),
    re.compile(rf"{_SEE}(?:(?:a|an|the|any|that) )?(?P<text>[\w«» -]+?) (?:sign|notice|lettering){_SHOWN}{_ON}"),
)  # fmt: skip
_ANY_TEXT = re.compile(
    rf"{_SEE}(?:(?:any|new|some|a|an|the|more|other|every|each) )*(?:texts?|writing|words?|letters|lettering|captions?|"
    rf"subtitles?|signs?|notices?)(?:{_SHOWN}| changes?| is (?:new|different)){_ON}"
)
_TO_READ = rf"(?:{_SURFACE}|{_WORDS}|writing)"
_EACH = r"(?:(?:every|each|all|any|the|a|an|this|that|these|those|my|new|of|other) )*"
_READ_IT = re.compile(
    rf"(?:read|transcribe)(?: (?:out|aloud|me|us|to me))* {_EACH}{_TO_READ}s?(?: (?:out|aloud|to me|to us))*"
    rf"(?: (?:that |which )?(?:you (?:can )?(?:see|find|read|notice)|appears?|comes? up|shows? up|comes? into view)"
    rf"|{_SHOWN}){_ON}"
    rf"|(?:read(?: (?:out|aloud|me|us))* )?(?:what(?:ever)? |everything (?:that )?)"
    rf"(?:{_EACH}{_TO_READ}s? (?:says?|reads?|shows?|displays?|states?)"
    rf"|it says|they say|(?:is|stands) (?:written|printed|to read|to be read)|you (?:can )?read){_ON}"
    rf"|you (?:can )?(?:read|make out) (?:something|anything|(?:some )?words){_ON}"
    rf"|there is (?:something|anything) to (?:read|be read){_ON}"
)
_LOOKS_LIKE = re.compile(
    r"^(?:it|this|that|(?:the|my|this) (?:picture|image|scene|view|place|camera|video|frame|room)) "
    r"(?:looks|seems|appears|starts to look|begins to look)(?: (?:a bit|a little|somewhat|rather|much|most))? like "
    r"(?=an? |the |some )"
)
_NO_WORDS_SIGN = {
    "stop",
    "street",
    "traffic",
    "road",
    "neon",
    "any",
    "new",
    "a",
    "the",
    "sign",
    "warning",
    "wooden",
    "one",
    "some",
}


def read(text: str) -> Request:
    """Take the command off an instruction.

    Raises:
        Unreadable: it forbids, orders something else, asks a question or makes several requests.
    """
    words = tokens(text)
    quotes: list[str] = []
    plain: list[str] = []
    for before, word in pairwise(["", *words]):
        if _shouted(before, word, text):
            word = f'"{word}'
        if word.startswith('"'):
            plain.append(f"«{len(quotes)}»")
            quotes.append(word[1:])
        else:
            plain.append(word.lower())
    names = frozenset(
        word.lower()
        for before, word in pairwise(words)
        if word[:1].isupper() and word[1:] and not word.isupper() and before not in ".;!?:"
    )
    asked = text.rstrip().endswith("?")
    sentences = [part for part in re.split(r" ?[.;!?](?: |$)", " ".join(plain)) if part.strip(" ,:")]
    peeled = [each for each in map(_peel, sentences) if each[0]]
    if len(peeled) > 1:
        raise Unreadable("several")
    if not peeled:
        raise Unreadable("words")
    clause, commanded, guards = peeled[0]
    if (
        asked
        and not commanded
        and re.match(r"(?:what|is|are|was|were|did|does|do|has|have|can|could|how|who|where|when|why)\b", clause)
    ):
        raise Unreadable("question")
    return Request(clause, commanded, guards, tuple(quotes), names)


def _shouted(before: str, word: str, text: str) -> bool:
    """A word in capitals among others is one to be read: "when EXIT appears"."""
    return (
        word.isupper()
        and len(word) > 2
        and not text.isupper()
        and before.lower() not in ("a", "an")
        and lookup(word.lower()) is None
    )


def _peel(sentence: str) -> tuple[str, bool, bool]:
    """(clause, whether a command stood around it, whether it was to guard)."""
    rest = re.sub(r"(\d) : (\d)", r"\1:\2", sentence)
    rest, commanded, guards = " ".join(rest.replace(" :", "").split()).strip(" ,"), False, False
    for _ in range(4):
        before = rest
        rest = _OPENING.sub("", rest + " ").strip(" ,")
        if _FORBIDS.match(rest):
            raise Unreadable("negation")
        if _ORDERS.match(rest):
            raise Unreadable("command")
        shorter = _CLOSING.sub("", rest).strip(" ,")
        if shorter != rest:
            commanded, rest = True, shorter
        if found := _WATCHED_PLACE.match(rest):
            rest = rest[found.end() :]
        guards = guards or bool(_GUARDS.match(rest))
        if found := _COMMAND.match(rest):
            commanded, rest = True, rest[found.end() :]
        rest = _CONNECTIVE.sub("", rest.strip(" ,") + " ").strip(" ,")
        if rest == before:
            break
    while found := _COMMA.match(rest):
        rest = f"{found[1]} or {rest[found.end() :]}"
    rest = _LOOKS_LIKE.sub("there is ", rest)  # the look of the whole picture is what a likeness is of
    return re.sub(r" , (?:(or|and) )?", lambda joined: f" {joined[1]} " if joined[1] else " ", rest), commanded, guards


def is_scene(clause: str) -> bool:
    return bool(_SCENE.fullmatch(clause))


def is_everything(clause: str) -> bool:
    return bool(_EVERYTHING.fullmatch(clause)) and clause not in ("something", "the picture", "the image", "thing")


def text_shape(request: Request) -> TextShape | None:
    """The text that must be read, when the clause is about text in the picture.

    Raises:
        Unreadable: it names several texts, or something else than text that a screen shows.
    """
    clause = request.clause
    if _ANY_TEXT.fullmatch(clause) or _READ_IT.fullmatch(clause):
        return TextShape("")
    for place, shape in enumerate(_TEXTS):
        found = shape.fullmatch(clause)
        if not found:
            continue
        wanted = found["text"]
        if quoted := re.match(r"(?:the )?«(\d+)»(?: sign)?(.*)", wanted):
            if re.search(r"«\d+»", quoted[2]):
                raise Unreadable("several")
            return TextShape(_fold(request.quotes[int(quoted[1])]))
        words = wanted.split()
        if place == len(_TEXTS) - 1 and (words[-1] in _NO_WORDS_SIGN or len(words) > 3):
            return None
        if place == 4 and words[0] in ("something", "anything"):
            return TextShape("")
        if words[0] in ("a", "an", "some", "any", "something", "someone", "me", "you", "no") or len(words) > 6:
            raise Unreadable("speech", wanted)
        if "or" in words or "and" in words:
            raise Unreadable("several")
        if place == 1 and clause.endswith(wanted) and verb(words[-1]) in VERBS and words[-1] != verb(words[-1]):
            raise Unreadable("action", words[-1])
        return TextShape(_fold(wanted.removeprefix("the ")))
    return None


def _fold(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .,;:!?")
