"""Written English to words as they are read out: numbers, money, times and signs become words."""

from __future__ import annotations

import re
from typing import Final

_ONES: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen"
).split()
_TENS: Final = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES: Final = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_MOST: Final = 10**15  # what is longer is read digit by digit
_ORDINALS: Final = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
_ORDINALS_MORE: Final = {"twelve": "twelfth"}
_MONEY: Final = {"$": ("dollar", "cent"), "£": ("pound", "pence"), "€": ("euro", "cent")}
_SIGNS: Final = {
    "%": "percent", "&": "and", "+": "plus", "=": "equals", "@": "at", "°": "degrees", "×": "times", "÷": "divided by",
    "<": "less than", ">": "greater than", "#": "number", "~": "about", "$": "dollars",
    "£": "pounds", "€": "euros", "½": "a half", "¼": "a quarter", "±": "plus or minus",
}  # fmt: skip
_SHORT: Final = {
    "mr.": "mister", "mrs.": "misses", "ms.": "miz", "dr.": "doctor", "st.": "saint", "vs.": "versus", "etc.": "et cetera",
    "e.g.": "for example", "i.e.": "that is", "no.": "number", "approx.": "approximately",
}  # fmt: skip
_UNITS: Final = {
    "km": "kilometers", "cm": "centimeters", "mm": "millimeters", "kg": "kilograms", "fps": "frames per second", "s": "seconds",
    "ms": "milliseconds", "h": "hours", "min": "minutes", "mb": "megabytes", "gb": "gigabytes", "khz": "kilohertz",
    "m": "meters", "am": "A M", "pm": "P M",
}  # fmt: skip

_NUMBER: Final = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_FIND: Final = re.compile(
    rf"(?P<money>[$£€])\s?(?P<amount>{_NUMBER})(?:\s(?P<scale>thousand|million|billion))?"
    r"|(?P<hour>\b\d{1,2}):(?P<minute>[0-5]\d)\b"
    r"|(?P<ordinal>\b\d+)(?:st|nd|rd|th)\b"
    rf"|(?P<minus>(?<![\w)])[-−])?(?P<number>{_NUMBER})(?:\s?(?P<unit>{'|'.join(_UNITS)})\b)?",
    re.IGNORECASE,
)
_ABBREVIATION: Final = re.compile("|".join(rf"(?<!\w){re.escape(each)}" for each in _SHORT), re.IGNORECASE)


def spoken(text: str) -> str:
    """Text in which only words and marks of punctuation are left: ``at 7:30, 12%`` → ``at seven thirty, twelve percent``."""
    text = _ABBREVIATION.sub(lambda found: _SHORT[found[0].lower()], text)
    text = _FIND.sub(lambda found: f" {_read(found)} ", text)
    text = "".join(f" {_SIGNS[each]} " if each in _SIGNS else each for each in text)
    text = re.sub(r"\s+([,.;:!?…])", r"\1", text)
    return " ".join(text.split())


def cardinal(number: int) -> str:
    """``1204`` → ``one thousand two hundred four``."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10] + (f" {_ONES[number % 10]}" if number % 10 else "")
    size, name = next(each for each in _SCALES if each[0] <= number)
    rest = f" {cardinal(number % size)}" if number % size else ""
    return f"{cardinal(number // size)} {name}{rest}"


def ordinal(number: int) -> str:
    """``23`` → ``twenty third``."""
    *before, last = cardinal(number).split()
    irregular = (_ORDINALS | _ORDINALS_MORE).get(last)
    return " ".join([*before, irregular or (last[:-1] + "ieth" if last.endswith("y") else last + "th")])


def _read(found: re.Match[str]) -> str:
    if found["money"]:
        return _money(found["money"], found["amount"].replace(",", ""), found["scale"])
    if found["hour"]:
        minute = int(found["minute"])
        return f"{cardinal(int(found['hour']))} {_minutes(minute)}".strip()
    if found["ordinal"]:
        number = int(found["ordinal"])
        return ordinal(number) if number < _MOST else _digits(found["ordinal"])
    unit = _UNITS[found["unit"].lower()] if found["unit"] else ""
    read = _number(found["number"], year=not unit and not found["minus"])
    return f"{'minus ' if found['minus'] else ''}{read} {unit}".strip()


def _number(text: str, *, year: bool = False) -> str:
    whole, _, part = text.replace(",", "").partition(".")
    if part:
        return f"{_number(whole)} point {_digits(part)}"
    number = int(whole)
    if (len(whole) > 1 and whole[0] == "0") or number >= _MOST:
        return _digits(whole)
    if year and text == whole and (1100 <= number < 2000 or 2010 <= number < 2100):
        return f"{cardinal(number // 100)} {_minutes(number % 100) or 'hundred'}"
    return cardinal(number)


def _minutes(number: int) -> str:
    return "" if number == 0 else f"oh {_ONES[number]}" if number < 10 else cardinal(number)


def _money(sign: str, amount: str, scale: str | None) -> str:
    name, small = _MONEY[sign]
    if scale or len(amount.partition(".")[2]) not in (0, 2):
        return f"{_number(amount)} {scale or ''} {name}s"
    whole, _, part = amount.partition(".")
    cents = int(part or 0)
    said = [] if int(whole) == 0 and cents else [f"{_number(whole)} {name}{'' if int(whole) == 1 else 's'}"]
    if cents:
        said.append(f"{cardinal(cents)} {small}{'' if cents == 1 or small == 'pence' else 's'}")
    return " and ".join(said)


def _digits(text: str) -> str:
    return " ".join(_ONES[int(each)] for each in text)
