"""Questions for a box by its phrase, and for a phrase by its box, boxes being text (REC and REG in MoME, arXiv 2407.12709)."""

from __future__ import annotations

from collections.abc import Iterator

from serval.conversation.messages import Media, Message, Text
from serval.data.boxes import box_text
from serval.data.item import Item, Region

WHERE = "Where is {phrase}? Answer with its box."
WHAT = "What is in the box {box}? Answer with a phrase that fits nothing else."


def comprehension(item: Item, where: str = WHERE) -> Iterator[Item]:
    """For each phrase of each region: the phrase is given, the box is the answer."""
    for number, region, phrase, picture in _phrases(item):
        yield _asked(item, f"where/{number}", picture, where.format(phrase=phrase), _box(region))


def generation(item: Item, what: str = WHAT) -> Iterator[Item]:
    """For each phrase of each region: the box is given, the phrase is the answer."""
    for number, region, phrase, picture in _phrases(item):
        yield _asked(item, f"what/{number}", picture, what.format(box=_box(region)), phrase)


def _phrases(item: Item) -> Iterator[tuple[str, Region, str, Media]]:
    pictures = [*item.media, *(part for message in item.messages for part in message.media)]
    for number, region in enumerate(item.regions):
        if region.box is not None:
            for place, phrase in enumerate(region.phrases):
                yield f"{number}.{place}", region, phrase, pictures[region.media]


def _box(region: Region) -> str:
    assert region.box is not None  # `_phrases` leaves those out
    return box_text(region.box)


def _asked(item: Item, name: str, picture: Media, question: str, answer: str) -> Item:
    asked = Message(role="user", parts=(picture, Text(text=f"\n{question}")))
    return Item(id=f"{item.id}/{name}", source=item.source, messages=(asked, Message.of("assistant", answer)))
