"""When an instruction is awake and when it ends: as people write it, and whether now is such a time."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

from serval.assistant.instructions.instruction import Schedule
from serval.refusal import Refusal

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_NAMES = dict(zip(_DAYS, "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(), strict=True))


def awake(schedule: Schedule, wall: datetime) -> bool:
    """Whether a moment lies in a schedule.

    A span over midnight belongs to the day on which it begins; one that ends as it begins is the whole day.
    """
    start, end = _minutes(schedule.start), _minutes(schedule.end)
    now = wall.hour * 60 + wall.minute
    today, yesterday = _DAYS[wall.weekday()], _DAYS[(wall - timedelta(days=1)).weekday()]

    def on(day: str) -> bool:
        return not schedule.days or day in schedule.days

    if start < end:
        return on(today) and start <= now < end
    if start == end:
        return on(today)
    return (on(today) and now >= start) or (on(yesterday) and now < end)


def describe(schedule: Schedule) -> str:
    """ "on Monday and Friday from 08:00 to 18:00"."""
    names = [_DAY_NAMES[day] for day in _DAYS if day in schedule.days]
    days = "" if len(names) in (0, 7) else "on " + (", ".join(names[:-1]) + " and " if names[:-1] else "") + names[-1]
    hours = (
        ""
        if schedule.start == schedule.end or (schedule.start, schedule.end) == ("00:00", "24:00")
        else (f"from {schedule.start} to {schedule.end}")
    )
    return " ".join(part for part in (days, hours) if part) or "always"


def parse_schedule(text: str) -> Schedule:
    """A schedule as people write it: "mon-fri 08:00-18:00", "sat,sun", "22:00-06:00", "weekdays 9-17".

    Raises:
        Refusal: it is not written so.
    """
    wrong = Refusal(f"schedule “{text[:60]}”", "it is not days and hours", "write it as “mon-fri 08:00-18:00”")
    days: list[str] = []
    start, end = "00:00", "24:00"
    for part in text.lower().replace(", ", ",").split():
        if hours := re.fullmatch(r"(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?", part):
            start, end = f"{int(hours[1]):02}:{hours[2] or '00'}", f"{int(hours[3]):02}:{hours[4] or '00'}"
            continue
        for piece in part.split(","):
            piece = {"weekdays": "mon-fri", "weekend": "sat-sun", "weekends": "sat-sun", "daily": "mon-sun"}.get(piece, piece)
            ends = [each[:3] for each in piece.split("-")]
            if not 1 <= len(ends) <= 2 or any(each not in _DAYS for each in ends):
                raise wrong
            first, last = _DAYS.index(ends[0]), _DAYS.index(ends[-1])
            days += [_DAYS[(first + step) % 7] for step in range((last - first) % 7 + 1)]
    if not text.strip():
        raise wrong
    try:
        return Schedule.model_validate({"days": [day for day in _DAYS if day in days], "start": start, "end": end})
    except ValueError:
        raise wrong from None


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def in_zone(moment: datetime, wall: datetime) -> datetime:
    """A moment written without a zone is meant in the zone of the watch."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=wall.tzinfo)
    return moment if wall.tzinfo is not None else moment.astimezone().replace(tzinfo=None)


def parse_expiry(text: str, now: datetime) -> datetime:
    """When an instruction ends: "2027-01-31 18:00", a day, "18:00" (the next one), or "90 s", "30 min", "8 h", "3 d" from now.

    Raises:
        Refusal: it is none of these, or over.
    """
    wrong = Refusal(f"expiry “{text[:60]}”", "it is no time", "write “2027-01-31 18:00”, “18:00”, “30 min”, “8 h” or “3 d”")
    words = text.strip().lower()
    try:
        if span := re.fullmatch(r"(\d{1,5}) ?(s|min|m|h|d)[a-z]*", words):
            unit = {"s": "seconds", "min": "minutes", "m": "minutes", "h": "hours", "d": "days"}[span[2]]
            return now + timedelta(**{unit: int(span[1])})
        if clock := re.fullmatch(r"(\d{1,2}):(\d\d)", words):
            then = datetime.combine(now.date(), time(int(clock[1]), int(clock[2])), tzinfo=now.tzinfo)
            return then if then > now else then + timedelta(days=1)
        then = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise wrong from None
    then = in_zone(then, now)
    if then <= now:
        raise Refusal(f"expiry “{text[:60]}”", "it is over already", "give a time to come")
    return then
