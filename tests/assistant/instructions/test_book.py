"""When an instruction may speak, and the plain reason when it may not."""

from datetime import UTC, datetime, timedelta, timezone
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.instructions.book import InstructionBook
from serval.assistant.instructions.instruction import Instruction, Schedule
from serval.assistant.instructions.schedule import awake, describe, parse_expiry, parse_schedule
from serval.refusal import Refusal

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)  # a Tuesday


def make(name="a", **fields):
    return Instruction(id=name, text=name, **fields)


def due(instruction, *, spoke=None, time=100.0, wall=NOON, acknowledged=False):
    book = InstructionBook([instruction])
    if spoke is not None:
        book.spoke(instruction.id, "door", spoke)
    if acknowledged:
        book.acknowledge(instruction.id)
    return book.due(instruction, "door", time, wall)


def test_globs_priority_and_switched_off():
    first, second, third = (
        make("first", sources=("door*",)),
        make("second", priority=5),
        make("third", sources=("yard", "d?or")),
    )
    book = InstructionBook([first, second, third, make("off", enabled=False)])
    assert [each.id for each in book.for_source("door")] == ["second", "first", "third"]
    assert [each.id for each in book.for_source("door-2")] == ["second", "first"]
    assert [each.id for each in book.for_source("kitchen")] == ["second"]


@pytest.mark.parametrize(
    ("instruction", "given_", "why"),
    [
        (make(), {}, ""),
        (make(), {"spoke": 99.9}, ""),
        (make(enabled=False), {}, "it is switched off"),
        (make(cooldown=30), {"spoke": 80.0}, "it spoke 20.0 s ago and keeps silent for 10.0 s more"),
        (make(cooldown=30), {"spoke": 70.0}, ""),
        (make(rearm="once"), {}, ""),
        (make(rearm="once"), {"spoke": 3.0}, "it was to speak once, and did at 3.0 s"),
        (make(rearm="once"), {"spoke": 3.0, "acknowledged": True}, "it was to speak once, and did at 3.0 s"),
        (make(rearm="acknowledged"), {"spoke": 3.0}, "what it said at 3.0 s is not acknowledged yet"),
        (make(rearm="acknowledged"), {"spoke": 3.0, "acknowledged": True}, ""),
        (make(expires=NOON + timedelta(seconds=1)), {}, ""),
        (make(expires=NOON), {}, "it expired at 2026-11-24 12:00"),
        (make(expires=datetime(2026, 11, 24, 11, 0)), {}, "it expired at 2026-11-24 11:00"),
        (make(expires=datetime(2026, 11, 24, 11, 30, tzinfo=timezone(timedelta(hours=-2)))), {}, ""),
        (make(schedule=Schedule(days=("mon", "fri"))), {}, "it is awake only on Monday and Friday"),
        (make(schedule=Schedule(start="13:00", end="14:00")), {}, "it is awake only from 13:00 to 14:00"),
        (make(schedule=Schedule(days=("tue",), start="08:00", end="18:00")), {}, ""),
    ],
)
def test_due(instruction, given_, why):
    assert due(instruction, **given_) == (why == "", why)


def test_what_was_said_is_held_for_each_instruction_and_source():
    one, two = make("one", rearm="acknowledged"), make("two", rearm="acknowledged")
    book = InstructionBook([one, two])
    for source in ("door", "yard"):
        book.spoke("one", source, 5.0)
    assert book.due(two, "door", 6.0, NOON)[0]
    assert book.due(one, "street", 6.0, NOON)[0]
    book.acknowledge("one", "yard")
    assert not book.due(one, "door", 6.0, NOON)[0]
    assert book.due(one, "yard", 6.0, NOON)[0]
    book.spoke("one", "yard", 7.0)
    assert not book.due(one, "yard", 8.0, NOON)[0]
    book.acknowledge("one")
    assert book.due(one, "door", 8.0, NOON)[0]
    assert book.due(one, "yard", 8.0, NOON)[0]


def test_silence_cannot_be_acknowledged_ahead():
    instruction = make(rearm="acknowledged")
    book = InstructionBook([instruction])
    book.acknowledge("a")
    book.spoke("a", "door", 1.0)
    assert not book.due(instruction, "door", 2.0, NOON)[0]


def test_threads_do_not_disturb_each_other():
    instructions = [make(f"i{n}", rearm="acknowledged") for n in range(8)]
    book = InstructionBook(instructions)

    def work(instruction):
        for number in range(300):
            book.spoke(instruction.id, f"s{number % 40}", float(number))
            book.acknowledge(instruction.id)
            assert book.due(instruction, f"s{number % 40}", number + 1.0, NOON)[0]

    failures = []

    def guarded(instruction):
        try:
            work(instruction)
        except Exception as error:
            failures.append(error)

    threads = [Thread(target=guarded, args=(each,)) for each in instructions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


TUESDAY_NIGHT = Schedule(days=("tue",), start="22:00", end="06:00")


@pytest.mark.parametrize(
    ("day", "clock", "inside"),
    [
        (24, "21:59", False),
        (24, "22:00", True),
        (24, "23:59", True),
        (25, "05:59", True),
        (25, "06:00", False),
        (24, "03:00", False),
    ],
)
def test_a_span_over_midnight_belongs_to_the_day_it_begins_on(day, clock, inside):
    hour, minute = map(int, clock.split(":"))
    assert awake(TUESDAY_NIGHT, datetime(2026, 11, day, hour, minute)) is inside


CLOCK = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))


@given(CLOCK, CLOCK, st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)))
def test_a_span_and_its_complement_fill_the_day(start, end, wall):
    if start != end:
        assert awake(Schedule(start=start, end=end), wall) != awake(Schedule(start=end, end=start), wall)
    assert awake(Schedule(start=start, end=start), wall)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mon-fri 08:00-18:00", "on Monday, Tuesday, Wednesday, Thursday and Friday from 08:00 to 18:00"),
        ("weekdays 9-17", "on Monday, Tuesday, Wednesday, Thursday and Friday from 09:00 to 17:00"),
        ("sat,sun", "on Saturday and Sunday"),
        ("fri-mon", "on Monday, Friday, Saturday and Sunday"),
        ("22:00-06:00", "from 22:00 to 06:00"),
        ("Monday, Wednesday 8-12", "on Monday and Wednesday from 08:00 to 12:00"),
        ("daily 0-24", "always"),
    ],
)
def test_schedules_as_people_write_them(text, said):
    assert describe(parse_schedule(text)) == said


@pytest.mark.parametrize("text", ["", "soon", "mon-fri 8-25", "xyz-abc", "mon-tue-wed", "24:01-25:00", "8:99-9:00"])
def test_no_schedule(text):
    with pytest.raises(Refusal):
        parse_schedule(text)


@given(st.text(max_size=30))
def test_any_text_is_a_schedule_or_refused(text):
    for read in (parse_schedule, lambda said: parse_expiry(said, NOON)):
        try:
            read(text)
        except Refusal as refusal:
            assert "\n" not in refusal.why


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("90 s", NOON + timedelta(seconds=90)),
        ("30min", NOON + timedelta(minutes=30)),
        ("8 hours", NOON + timedelta(hours=8)),
        ("3 d", NOON + timedelta(days=3)),
        ("18:00", NOON.replace(hour=18)),
        ("09:30", NOON.replace(day=25, hour=9, minute=30)),
        ("2027-01-31 18:00", datetime(2027, 1, 31, 18, 0, tzinfo=UTC)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
    ],
)
def test_expiry(text, then):
    assert parse_expiry(text, NOON) == then


@pytest.mark.parametrize("text", ["", "later", "25:00", "999999 d", "2026-11-24 11:59"])
def test_no_expiry(text):
    with pytest.raises(Refusal):
        parse_expiry(text, NOON)
