"""The small English that instructions are written in: tokens, lemmas, numbers and the verbs whose meaning can be seen."""

from __future__ import annotations

import re

from serval.assistant.view import ChangeKind

_TOKEN = re.compile(
    r"""["“”„«»]([^"“”„«»]*)["“”„«»]   # a quotation, kept whole
      | (?<![\w])['‘’]([^'‘’]+)['‘’](?!\w)   # the same in single quotes, unless it is an apostrophe
      | \d+(?:[.,]\d+)*                      # a number
      | [^\W\d_]+(?:[-'’][^\W\d_]+)*       # a word, with its hyphens and apostrophes
      | [,;.?!:+]""",
    re.VERBOSE,
)
_JOINED = {
    "can't": "can not", "cannot": "can not", "won't": "will not", "shan't": "will not", "noone": "nobody", "cant": "can not",
    "dont": "do not", "isnt": "is not", "theres": "there is", "i'd": "i would", "let's": "let us", "onto": "on", "upon": "on",
    "anymore": "any more", "everytime": "every time", "gonna": "going to", "wanna": "want to", "anyplace": "anywhere",
    "ok": "okay", "pls": "please", "plz": "please", "atop": "on",
}  # fmt: skip
_SUFFIXES = {"n't": "not", "'re": "are", "'ve": "have", "'ll": "will", "'m": "am", "'d": "had"}
_IS_BEFORE = set(
    "there someone somebody something anyone anybody anything nobody everyone it that what who he she here where".split()
)
_IS_AFTER = set(
    "a an the no not in on at by near gone here there visible missing away back out up coming going leaving being taken".split()
)

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
NUMBERS = {word: value for value, word in enumerate(_UNITS.split())} | {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "hundred": 100, "dozen": 12, "couple": 2, "pair": 2,
}  # fmt: skip
ORDINALS = {
    word: value for value, word in enumerate("first second third fourth fifth sixth seventh eighth ninth tenth".split(), 1)
}

_PLURALS = {
    "people": "person", "persons": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse",
    "knives": "knife", "wolves": "wolf", "geese": "goose", "oxen": "ox", "buses": "bus", "lorries": "lorry", "shelves": "shelf",
    "leaves": "leaf", "wives": "wife", "thieves": "thief", "gentlemen": "gentleman", "ladies": "lady", "skis": "skis",
    "movies": "movie", "cookies": "cookie", "selfies": "selfie", "vases": "vase", "horses": "horse", "houses": "house",
    "purses": "purse", "bananas": "banana", "sofas": "sofa", "pizzas": "pizza", "fridges": "fridge",
}  # fmt: skip
_SINGULAR = set(
    "bus glass glasses scissors grass dress gas lens skis tennis chess canvas plus headphones trousers jeans".split()
)

# What the verbs of a clause come down to. A verb may stand here and in the table of the next word too: "leave" is both.
_VERBS: dict[ChangeKind, str] = {
    ChangeKind.APPEARS: "appear arrive enter come approach visit return turn-up show-up pop-up show emerge join gather park "
    "walk-in walk-into walk-by walk-past walk-up walk-through walk-along run-in run-into run-by run-past run-up drive-in "
    "drive-up drive-by drive-past drive-into drive-along pull-in pull-into pull-up step-in step-into step-up go-in "
    "go-into go-by "
    "go-past get-here get-in get-home get-into get-on get-back be-here fly-in fly-by fly-past pass jump-on jump-in "
    "climb-on climb-in "
    "sneak-in wander-in wander-by barge-in roll-up cycle-by cycle-past ride-by ride-past stop-by drop-by "
    "hop-on reach cross",
    ChangeKind.LEAVES: "leave disappear vanish exit depart go-away go-out go-off go go-home get-out get-off walk-out walk-away "
    "walk-off run-away run-off run-out drive-off drive-away drive-out pull-out pull-away move-out step-out step-away fly-away "
    "fly-off wander-off head-out head-off clear-out sail-away cycle-off ride-off escape",
    ChangeKind.MOVES: "move shift slide roll fall budge stir topple wobble tip-over knock-over fall-over fall-down walk run "
    "drive walk-around run-around move-around fly nudge push relocate displace",
    ChangeKind.PUT: "put place set lay drop drop-off put-down set-down lay-down put-back leave-behind leave-on deliver deposit "
    "bring stack rest dump throw-away drop-down place-down",
    ChangeKind.TAKEN: "take pick-up pick remove grab steal lift take-away take-off take-back collect snatch swipe nick pinch "
    "pick-off carry-off carry-away lift-up grab-up pull-away take-out run-off-with walk-off-with make-off-with",
}  # fmt: skip
VERBS: dict[str, ChangeKind] = {verb: kind for kind, verbs in _VERBS.items() for verb in verbs.split()}
PARTICLES = set("in into out off away up down by past through along around back over here home behind on with".split())
_IRREGULAR = {
    "came": "come", "went": "go", "gone": "go", "left": "leave", "took": "take", "taken": "take", "stole": "steal",
    "stolen": "steal", "fell": "fall", "fallen": "fall", "drove": "drive", "driven": "drive", "ran": "run", "flew": "fly",
    "flown": "fly", "laid": "lay", "brought": "bring", "shown": "show", "got": "get", "gotten": "get", "is": "be", "are": "be",
    "was": "be", "were": "be", "been": "be", "being": "be", "am": "be", "has": "have", "had": "have", "having": "have",
    "does": "do", "did": "do", "done": "do", "doing": "do", "saw": "see", "seen": "see", "said": "say", "says": "say",
    "written": "write", "wrote": "write", "rode": "ride", "ridden": "ride", "threw": "throw", "thrown": "throw",
    "sat": "sit", "stood": "stand", "lying": "lie", "lain": "lie", "held": "hold", "ate": "eat", "eaten": "eat",
    "slept": "sleep", "swept": "sweep",
    "spoke": "speak", "rang": "ring", "lit": "light", "hid": "hide", "hit": "hit", "cut": "cut", "put": "put", "set": "set",
    "read": "read", "dying": "die", "goes": "go", "happening": "happen", "wearing": "wear", "wore": "wear", "worn": "wear",
    "broke": "break", "broken": "break", "caught": "catch", "fought": "fight", "hung": "hang", "hidden": "hide", "woke": "wake",
    "drank": "drink", "sang": "sing", "swam": "swim", "built": "build", "spilt": "spill", "began": "begin", "begun": "begin",
}  # fmt: skip
PARTICIPLES = set(
    "taken stolen put placed set laid dropped left delivered removed moved grabbed lifted picked collected".split()
)
_PARTICIPLE_ENDING = re.compile(r"(ed|en|wn|ung)$")


def tokens(text: str) -> list[str]:
    """Words of an instruction, contractions opened. A quotation is one token that begins with ``"``; case is kept."""
    out: list[str] = []
    for match in _TOKEN.finditer(text.replace("’", "'") if "‘" not in text else text):
        quoted = match[1] if match[1] is not None else match[2]
        if quoted is not None:
            if quoted.strip():
                out.append('"' + " ".join(quoted.split()))
            continue
        out += _open(match[0].replace("’", "'"))
    return [_expand(out, place) for place in range(len(out))]


def _open(word: str) -> list[str]:
    low = word.lower()
    if low in _JOINED:
        return _JOINED[low].split()
    for suffix, full in _SUFFIXES.items():
        if low.endswith(suffix) and len(low) > len(suffix):
            return [word[: -len(suffix)], full]
    if low.endswith("'s"):
        return [word[:-2], "'s"]
    return [word]


def _expand(words: list[str], place: int) -> str:
    """``'s`` is "is" after there/someone … or before what can follow "is"; else it stays the possessive."""
    if words[place] != "'s":
        return words[place]
    before = words[place - 1].lower() if place else ""
    after = words[place + 1].lower() if place + 1 < len(words) else ""
    possible = before in _IS_BEFORE or after in _IS_AFTER or after.endswith("ing")
    return "is" if possible else "'s"


def verb(word: str) -> str:
    """The lemma of a verb form: ``arrives`` → ``arrive``, ``taken`` → ``take``. A word it does not know comes back as it is."""
    word = word.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    for candidate in _stems(word):
        if candidate in _KNOWN:
            return candidate
    return word


def _stems(word: str) -> list[str]:
    out = [word]
    for suffix in ("ing", "ed", "es", "s", "d"):
        if word.endswith(suffix) and len(word) > len(suffix) + 1:
            stem = word[: -len(suffix)]
            out += [stem, stem + "e"]
            if len(stem) > 2 and stem[-1] == stem[-2]:
                out.append(stem[:-1])
            if stem.endswith("i"):
                out.append(stem[:-1] + "y")
    return out


def participle(word: str) -> bool:
    """Whether the form can be passive: taken, placed, removed."""
    return word.lower() in PARTICIPLES or bool(_PARTICIPLE_ENDING.search(word.lower()))


def singular(word: str) -> str:
    """The singular of a noun in lower case; a word that is none comes back as it is."""
    word = word.lower()
    if word in _PLURALS:
        return _PLURALS[word]
    if word in _SINGULAR or len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("xes", "zes", "ches", "shes", "sses", "oes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") else word


def plural(noun: str) -> str:
    """The plural of a noun phrase's last word, for sentences Serval says itself; of a plural, itself."""
    if noun in _PLURALS:
        return noun
    for many, one in _PLURALS.items():
        if noun == one:
            return many
    if noun in ("scissors", "skis", "sheep", "deer", "fish") or (noun.endswith("s") and not noun.endswith(("ss", "us"))):
        return noun
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def number(word: str) -> int | None:
    """The value of a number in figures or words, up to 9999; None for anything else."""
    if word.isascii() and word.isdigit():
        return int(word) if len(word) <= 4 else None
    return NUMBERS.get(word.lower())


SEES = set("see notice spot detect observe find recognize recognise".split())
READS = set("say read show display state contain bear".split())
CHANGES = set("change happen occur switch cut".split())
AUXILIARIES = set("be have do get will start begin try would can could may might shall should".split())
_KNOWN = (
    {part for name in VERBS for part in name.split("-")[:1]}
    | SEES | READS | CHANGES | AUXILIARIES
    | {"write", "exceed", "describe", "report", "announce", "tell", "look", "want", "need"}
)  # fmt: skip
