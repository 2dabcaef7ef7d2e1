"""What a person may call a thing of theirs."""

from __future__ import annotations

import re

from serval.assistant.instructions.nouns import lookup
from serval.assistant.timeline.plain import one_line
from serval.encoders.labels import COCO_GROUPS
from serval.refusal import Refusal

LONGEST = 40  # characters
_FIT = re.compile(r"\w(?:[\w '’&+-]*\w)?")


def checked(name: str) -> str:
    """The name on one line, without "a" or "an" before it.

    Raises:
        Refusal: empty, too long, with signs in it, or a word that means a whole kind of things.
    """
    clean = re.sub(r"^(?:an?) (?=\S)", "", one_line(name), flags=re.IGNORECASE).replace("’", "'")
    short = f"“{clean[:LONGEST]}{'…' if len(clean) > LONGEST else ''}”"
    if not 1 <= len(clean) <= LONGEST:
        raise Refusal(f"the name {short}", f"it must have 1 to {LONGEST} characters", 'call it for example "my mug"')
    if not _FIT.fullmatch(clean) or "_" in clean or not any(map(str.isalpha, clean)):
        raise Refusal(f"the name {short}", "it must be words, without signs", 'call it for example "my mug"')
    if lookup(clean) is not None or clean.casefold() in COCO_GROUPS:
        raise Refusal(f"the name {short}", f"it could be any {clean.casefold()}", f'say which: "my {clean.casefold()}"')
    return clean


def key(name: str) -> str:
    """Names with the same key are the same."""
    return " ".join(name.casefold().split())
