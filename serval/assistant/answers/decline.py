"""Questions about what these parts cannot see, declined by code: small language models never decline, they invent."""

from __future__ import annotations

import re
from typing import NamedTuple

_SOMEONE = (
    r"(?:he|she|they|him|her|them|(?:the|that|this|those|these|a|any)(?: \w+)? (?:m[ae]n|wom[ae]n|person|people|boys?|girls?"
    r"|kids?|child(?:ren)?|guys?|lad(?:y|ies)|cyclists?|drivers?|visitors?|strangers?|postm[ae]n|baby))"
)
_IS = r"(?:is|was|are|were|be|been|'s|looks?|looked|seems?|seemed|got)"
_AGED = r"(?:\w+ )?(?:young|old|younger|older|adults?)\b"
_HOLDERS = (
    r"(?:bags?|box(?:es)?|suitcases?|backpacks?|handbags?|drawers?|pockets?|cupboards?|fridge|refrigerator|parcels?"
    r"|packages?|envelopes?|oven|microwave|trunk|boot|safe|wallet|purse|basket|bin)"
)


class _Topic(NamedTuple):
    said: str
    words: str  # any of these in the question; * stands for any ending
    phrases: tuple[str, ...] = ()  # or any of these patterns


# The first that fits speaks. Everything is matched in lower case.
_TOPICS = (
    _Topic(
        "I cannot tell colours: the parts I see with know kinds of things and their places, not their colours.",
        "colour* color* red reddish blue green yellow purple pink violet brown black white gray grey beige golden silver "
        "turquoise maroon blond blonde",
        (rf"{_IS} (?:it |the \w+ )?orange$",),
    ),
    _Topic(
        "I cannot tell how old anyone is, and I do not guess.",
        "elderly teenager* minor minors",
        (
            r"how old", r"what age", r"age of", r"(?:his|her|their) ages?\b", r"years? old", r"old enough", r"young or old",
            r"old or young", rf"{_SOMEONE} {_AGED}", rf"{_IS} {_SOMEONE} {_AGED}",
        ),
    ),
    _Topic(
        "I see that a person is there, but I cannot tell a man from a woman, and I do not guess.",
        "gender sex male males female females",
        (
            r"(?:m[ae]n|boys?|ladies) or (?:a )?(?:wom[ae]n|girls?|gentlemen)\b",
            r"(?:wom[ae]n|girls?) or (?:a )?(?:m[ae]n|boys?)\b",
            r"(?:person|people|someone|cyclist|driver|visitor|he|she|it) (?:really )?(?:a )?(?:m[ae]n|wom[ae]n|boys?|girls?)\b",
        ),
    ),
    _Topic(
        "I cannot read feelings from a picture, and I do not guess at them.",
        "emotion* mood feeling* angry happy sad upset afraid scared frightened nervous worried anxious surprised bored annoyed "
        "excited smile* smiling cry cries cried crying laugh* frown* friendly drunk tired calm enjoy* lonely proud",
        (r"in love", rf"how (?:did|does|do|is|was|are|were) {_SOMEONE} (?:feel|feeling)"),
    ),
    _Topic(
        "I only watch, I do not listen, so I cannot tell you anything about sounds or what people say.",
        "hear hears heard hearing sound* noise noises noisy loud* music voice* audio listen* shout* scream* whisper* "
        "bark barks barked barking honk* accent talk talks talked talking speaking spoke conversation",
        (
            rf"{_SOMEONE} (?:say|said|tell|told|speak|ask|answer)\w*",
            r"(?:who|someone|anyone|somebody|anybody) (?:said|say|spoke|speak)\b",
        ),
    ),
    _Topic(
        "I can say what happens, but not what anyone means by it or what comes next.",
        "intend* intention* purpose think* thought suspicious* dangerous threat* deliberate* motive*",
        (
            r"why\b(?! (?:did|do|have|were|are) you\b)", r"trying to", r"want(?:s|ed)? to", r"plan(?:s|ned|ning)? to",
            r"about to", r"going to\b(?! the\b| a\b)", r"by accident", r"up to", r"what will", r"will (?:he|she|they|it|the)\b",
            r"waiting for", r"looking for",
        ),
    ),
    _Topic(
        "I cannot tell brands, makes or models; I can only repeat text that I can read in the picture.",
        "brand brands manufacturer logo logos",
        (r"makes? of", r"make and model", r"wh(?:at|ich) (?:make|model)\b", r"model of", r"which company", r"who made\b"),
    ),
    _Topic(
        "I cannot tell what things are made of.",
        "material materials wooden metal metallic plastic leather fabric ceramic cotton steel texture",
        (r"made (?:of|from|out of|with)\b", r"(?:glass|paper) or\b"),
    ),
    _Topic(
        "I only know what the camera shows, so I cannot tell what is hidden from it.",
        "behind inside contents hide hides hidden hiding contain contains contained",
        (
            rf"in(?:to|side of)? (?:the|that|this|his|her|their|a|my|your) (?:\w+ )?{_HOLDERS}\b", r"off[- ]?screen\b",
            r"out of (?:view|sight|frame|the picture)", r"round the corner", r"under(?:neath)? (?:his|her|their)\b",
            r"outside (?:of )?(?:the )?(?:picture|frame|view)", r"next room", r"through the wall",
        ),
    ),
    _Topic(
        "I cannot describe how people look or what they wear.",
        "wear wears wearing wore dressed clothes clothing outfit hairstyle haircut tattoo tattoos beard beards handsome "
        "beautiful pretty ugly attractive",
        (r"hair\b(?! dr)",),
    ),
    _Topic(
        "I see that a person is there; who or what kind of person it is I cannot tell, and I do not guess.",
        "nationality ethnic* race religio* pregnant sick ill illness disab* profession occupation rich poor criminal* thief "
        "married related friends immigrant*",
        (r"for a living", r"which country"),
    ),
    _Topic(
        "I do not know who anyone is: I recognise that a person is there, not which person.",
        "whose identify identified identifies identity famous celebrit*",
        (
            r"who(?: exactly)?(?: is| was| are| were|'s|'re) "
            r"(?:that|this|the|those|these|he|she|they|it|him|her|in|on|at|by|next|with)\b",
            r"do you (?:know|recogni[sz]e) (?:him|her|them|that|this|the)\b",
            r"same (?:person|m[ae]n|wom[ae]n|car|dog|cat|guy|one|people|boy|girl)\b",
            r"(?:his|her|their|\w+'s) (?:first |last )?names?\b",
            r"name of (?:the |that |this )?(?:person|man|woman|boy|girl|child|guy|lady|driver|cyclist|dog|cat)\b",
            r"what (?:is|was|are|were) (?:he|she|they) called", r"wh(?:o|at)'s (?:his|her|their)\b",
        ),
    ),
    _Topic(
        "I cannot measure such things from a picture.",
        "temperature weigh weighs weight distance speed price cost smell* taste tastes tasted",
        (
            r"how (?:tall|heavy|big|large|wide|deep|far|fast|hot|cold|warm|high|expensive|strong)\b",
            r"how much (?:does|did|do|is|was)\b",
        ),
    ),
)  # fmt: skip


def _pattern(topic: _Topic) -> re.Pattern[str]:
    words = [rf"{word[:-1]}\w*" if word.endswith("*") else rf"{word}\b" for word in topic.words.split()]
    return re.compile(rf"(?<!\w)(?:{'|'.join((*words, *topic.phrases))})")


_COMPILED = tuple((_pattern(topic), topic.said) for topic in _TOPICS)
# Words on a sign, or said by Serval itself, are asked about in words that otherwise ask for sounds, names or brands.
_SIGN = r"\b(?:signs?|text|words?|letters|labels?|board|poster|banner|plate|headline|caption)\b"
_ABOUT_TEXT = re.compile(
    rf"{_SIGN}.*\b(?:say|says|said|read|reads|name|called)\b|\b(?:say|says|said|read|written|name)\b.*{_SIGN}"
    r"|\bnames? (?:of|on) the (?:shop|street|station|store)\b"
)
_ABOUT_ME = re.compile(r"\b(?:did|have|do|are) you (?:say|said|tell|told|talk|speak|think|hear me)\b|\byou said\b")


def reason(question: str) -> str | None:
    """Why a question cannot be answered with these parts, as one sentence to say; None when it may be tried.

    Colours, ages, genders, feelings, sounds, intentions, brands, materials, hidden things, looks, kinds of people,
    names and measures are declined, whoever asks and however sure a language model would be.
    """
    asked = re.sub(r"\s+", " ", question[:1000].casefold().replace("’", "'")).strip(' ?!."“”')
    if _ABOUT_ME.search(asked) or _ABOUT_TEXT.search(asked):
        return None
    return next((said for pattern, said in _COMPILED if pattern.search(asked)), None)
