"""Nouns of an instruction and the object labels they stand for: a table first, similarity of words second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from serval.assistant.instructions.words import plural, singular

Embed = Callable[[Sequence[str]], NDArray[np.float32]]  # n texts -> [n, d], rows of unit length

ALIKE = 0.7  # cosine from which a noun counts as the class: 22 of 25 nouns were right there
STAND_INS = tuple(map(chr, range(0xA000, 0xA400)))  # letters (of Yi) that stand for taught names, see `taught_nouns`
LIKE_A_TAG = 0.48  # cosine to its nearest tag below which a noun says nothing to the tags: invented words reach 0.46

ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
BAGS = ("backpack", "handbag", "suitcase")
_FOOD = ("banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake")
_TABLEWARE = ("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl")

# Each class with the nouns that mean it and, after the stroke, nouns that say more than the detector sees.
_SAME = {
    "bicycle": "bike|push bike|pushbike|cycle|ebike|e-bike/mountain bike|road bike", "car": "automobile|motorcar|motor "
    "car|auto"
    "/limousine|limo|minivan|jeep|roadster|convertible|sedan|hatchback|estate car|sports car"
    "|suv", "motorcycle": "motorbike|motor bike/moped|motor scooter|vespa",
    "airplane": "aeroplane|plane|aircraft/jet|airliner|jetliner", "bus": "coach/minibus|double decker|double-decker|"
    "school bus",
    "train": "/tram|locomotive|railcar|subway train", "truck": "lorry/pickup|pickup truck|pick-up|delivery truck",
    "boat": "ship|vessel/sailboat|sailing boat|rowing boat|rowboat|dinghy|yacht|ferry|canoe|kayak|motorboat|barge",
    "traffic light": "stoplight|traffic signal", "fire hydrant": "hydrant", "parking meter": "", "stop sign": "",
    "bench": "park bench", "bird": "/pigeon|sparrow|crow|gull|seagull|magpie|parrot|duck|goose|swan|hen|chicken|raven|robin"
    "|blackbird|heron|owl|eagle|hawk|falcon|stork|penguin|ostrich|turkey", "cat": "pussycat/kitten|kitty|tomcat"
    "|tabby", "dog": "hound|pooch|doggy|doggie/puppy|pup|poodle"
    "|labrador|retriever|golden retriever|terrier|german shepherd|beagle|dachshund", "horse": "/pony|foal|mare|stallion",
    "sheep": "/lamb|ewe", "cow": "cattle/calf|bull|ox", "elephant": "", "bear": "/grizzly|brown bear|black bear", "zebra": "",
    "giraffe": "", "backpack": "rucksack|knapsack|back pack/school bag|schoolbag", "umbrella": "parasol|brolly",
    "handbag": "purse|hand bag|shoulder bag/clutch bag", "tie": "necktie|neck tie", "suitcase": "luggage/trolley bag|"
    "carry-on",
    "frisbee": "", "skis": "ski", "snowboard": "", "kite": "", "baseball bat": "", "baseball glove": "", "skateboard": "",
    "sports ball": "ball/football|soccer ball|basketball|volleyball|tennis ball|baseball|beach ball",
    "surfboard": "surf board", "tennis racket": "racket|racquet|tennis racquet",
    "bottle": "/water bottle|beer bottle|wine bottle|milk bottle|flask|thermos", "wine glass": "wineglass|goblet|stemware",
    "cup": "mug|tumbler|beaker/coffee cup|coffee mug|tea cup|teacup|tea mug", "fork": "",
    "knife": "/kitchen knife|table knife|bread knife", "spoon": "/teaspoon|tablespoon|dessert spoon",
    "bowl": "/dog bowl|soup bowl|fruit bowl|salad bowl", "banana": "", "apple": "", "orange": "/tangerine|clementine|"
    "mandarin",
    "sandwich": "/burger|hamburger", "broccoli": "", "carrot": "", "hot dog": "hotdog", "pizza": "", "donut": "doughnut",
    "cake": "/cupcake|birthday cake", "chair": "/armchair|stool|office chair|desk chair|kitchen chair|wheelchair",
    "couch": "sofa|settee|loveseat", "potted plant": "plant|house plant|houseplant|pot plant|flowerpot|flower pot", "bed": "",
    "dining table": "table|desk|dinner table|tabletop|table top/kitchen table|coffee table|worktop|workbench",
    "toilet": "loo|lavatory", "tv": "television|telly|tv set|television set/monitor|computer screen|computer monitor",
    "laptop": "notebook computer|laptop computer/macbook", "mouse": "computer mouse", "keyboard": "computer keyboard",
    "remote": "remote control|clicker/tv remote", "cell phone": "phone|mobile|mobile phone|smartphone|smart phone|cellphone"
    "|handset|telephone/iphone", "microwave": "microwave oven", "oven": "stove|cooker", "toaster": "",
    "sink": "washbasin|basin|wash basin", "refrigerator": "fridge/freezer", "book": "/paperback|hardback|novel|textbook",
    "clock": "/wall clock|alarm clock", "vase": "", "scissors": "pair of scissors",
    "teddy bear": "teddy/stuffed bear|plush bear", "toothbrush": "tooth brush",
    "hair drier": "hairdryer|hair dryer|hairdrier|blow dryer",
    "person": "someone|somebody|anyone|anybody|human|human being|individual|people|folk|folks|whoever|everyone|everybody",
}  # fmt: skip

# More than one class, because the word covers them all or the detector takes them for one another.
_SEVERAL: dict[str, tuple[str, ...]] = {
    "vehicle": ("car", "truck", "bus", "motorcycle"),
    "traffic": ("car", "truck", "bus", "motorcycle"),
    "motor vehicle": ("car", "truck", "bus", "motorcycle"),
    "van": ("car", "truck"),
    "delivery van": ("car", "truck"),
    "two-wheeler": ("bicycle", "motorcycle"),
    "animal": ANIMALS,
    "creature": ANIMALS,
    "wild animal": ANIMALS,
    "wildlife": ANIMALS,
    "beast": ANIMALS,
    "pet": ("cat", "dog", "bird"),
    "livestock": ("horse", "sheep", "cow"),
    "bag": BAGS,
    "tote bag": BAGS,
    "gym bag": BAGS,
    "sports bag": BAGS,
    "duffel bag": BAGS,
    "satchel": BAGS,
    "baggage": BAGS,
    "glass": ("cup", "wine glass"),
    "drinking glass": ("cup", "wine glass"),
    "drink": ("cup", "wine glass", "bottle"),
    "beverage": ("cup", "wine glass", "bottle"),
    "cutlery": ("fork", "knife", "spoon"),
    "silverware": ("fork", "knife", "spoon"),
    "tableware": _TABLEWARE,
    "dish": ("bowl", "cup"),
    "dishes": ("bowl", "cup"),
    "food": _FOOD,
    "fruit": ("banana", "apple", "orange"),
    "vegetable": ("broccoli", "carrot"),
    "seat": ("bench", "chair", "couch"),
    "screen": ("tv", "laptop"),
    "computer": ("laptop", "tv"),
    "gadget": ("cell phone", "laptop", "remote"),
    "furniture": ("chair", "couch", "bed", "dining table", "bench"),
}

# Words for people that say more than the detector sees; a bicycle for its rider.
_PERSON_BUT = (
    "man woman child kid boy girl baby toddler infant teenager teen adult grown-up lady gentleman guy bloke lad "
    "arrival newcomer "
    "lass pedestrian passer-by passers-by passerby visitor guest customer client shopper passenger driver worker "
    "employee colleague coworker co-worker waiter waitress cook chef nurse doctor patient student pupil teacher "
    "player athlete runner jogger walker hiker tourist officer policeman policewoman firefighter soldier guard "
    "courier postman mailman mail-carrier builder cleaner tenant swimmer farmer gardener skater dancer musician "
    "singer speaker presenter newcomer staff crew audience adult senior pensioner youth fella chap dude skier "
    "snowboarder surfer skateboarder rider backpacker goalkeeper"
).split()
_PERSON_PHRASES = {"delivery person", "delivery man", "delivery driver", "police officer", "security guard", "mail carrier"}
_RIDERS = {"cyclist": "bicycle", "bicyclist": "bicycle", "biker": "motorcycle", "motorcyclist": "motorcycle"}

# Kinds of thing that are near a class and yet another matter; similarity must never make one of the other.
_DISTINCT = set(
    (
        "taxi cab taxicab bat notebook briefcase donkey mule firetruck ambulance tractor scooter drone helicopter "
        "balloon robot doll statue mannequin ghost snake fish frog turtle fox wolf deer rabbit hare hedgehog squirrel "
        "rat lion tiger leopard pig goat donkey monkey raccoon hamster spider insect bee fly wasp butterfly whale shark "
        "seal crocodile lizard camel gun pistol rifle weapon sword hammer key keys wallet watch ring necklace hat cap "
        "coat jacket shirt dress shoe glasses sunglasses helmet box parcel package packet letter envelope newspaper "
        "door window gate wall floor ceiling curtain lamp light fire smoke flame water snow rain cloud sky sun moon "
        "star tree flower grass beach castle church bridge tower house building mountain river lake sea ocean road "
        "street field forest garden room camera printer tablet ipad pen pencil paper money coin card cash plate pan pot "
        "kettle spoonful candle sign text face hand stranger intruder burglar thief robber trespasser criminal suspect "
        "owner boss neighbour neighbor friend wife husband"
    ).split()
)


@dataclass(frozen=True)
class Noun:
    """What a noun phrase stands for. ``labels`` are COCO classes; () is none of them."""

    labels: tuple[str, ...]
    narrower: bool = False  # the person's word says more than the classes do: "woman" for person, "cyclist" for bicycle
    score: float = 1.0  # 1 from the table, else the similarity
    near: str = ""  # the class that it was most similar to


@cache
def table() -> dict[str, Noun]:
    """Every noun of the table, singular and in lower case."""
    out = {noun: Noun(labels) for noun, labels in _SEVERAL.items()}
    for label, nouns in _SAME.items():
        same, _, kinds = nouns.partition("/")
        out |= {noun: Noun((label,)) for noun in (label, *same.split("|")) if noun}
        out |= {noun: Noun((label,), narrower=True) for noun in kinds.split("|") if noun}
    out |= {noun: Noun(("person",), narrower=True) for noun in (*_PERSON_BUT, *_PERSON_PHRASES)}
    return out | {noun: Noun((label,), narrower=True) for noun, label in _RIDERS.items()}


def lookup(noun: str) -> Noun | None:
    """The table's entry for a noun phrase without its articles, singular or plural, in any case."""
    words = noun.lower().split()
    if not words:
        return None
    if words[0][0] in STAND_INS:
        return Noun((words[0][0],)) if len(words) == 1 else None
    known = table()
    return known.get(" ".join(words)) or known.get(" ".join([*words[:-1], singular(words[-1])]))


def resolve(noun: str, embed: Embed | None = None) -> Noun:
    """The classes a noun stands for: from the table, else the most similar class at `ALIKE` or above, else none.

    A phrase that ends in a noun of the table ("police car") is a kind of it and never becomes the whole class silently.
    """
    if found := lookup(noun):
        return found
    words = noun.lower().split()
    head = singular(words[-1]) if words else ""
    if embed is None or not words or head in _DISTINCT or " ".join(words) in _DISTINCT or (len(words) > 1 and lookup(head)):
        return Noun(())
    from serval.encoders.labels import COCO

    likeness = _vectors(embed, COCO) @ embed([" ".join([*words[:-1], head])])[0]
    best = int(np.argmax(likeness))
    score = float(likeness[best])
    return Noun((COCO[best],), score=min(score, 1.0), near=COCO[best]) if score >= ALIKE else Noun(())


def nearest_tags(noun: str, embed: Embed) -> tuple[tuple[str, float], ...]:
    """The three ImageNet tags most similar to a noun, best first, with their cosines: all that a likeness can go by."""
    from serval.encoders.labels import IMAGENET

    likeness = _vectors(embed, IMAGENET) @ embed([noun])[0]
    return tuple((IMAGENET[place], round(float(likeness[place]), 2)) for place in np.argsort(-likeness, kind="stable")[:3])


@lru_cache(maxsize=8)
def _vectors(embed: Embed, names: tuple[str, ...]) -> NDArray[np.float32]:
    return embed(names)


def a(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}" if noun != "scissors" else noun


def any_of(labels: tuple[str, ...], many: bool = False) -> str:
    """ "a dog or a cat", "dogs or cats"; "anything I can track" for ()."""
    if not labels:
        return "things" if many else "something I can track"
    named = [plural(label) if many else a(label) for label in labels]
    return named[0] if len(named) == 1 else ", ".join(named[:-1]) + " or " + named[-1]
