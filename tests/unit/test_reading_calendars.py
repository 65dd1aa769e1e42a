"""An iCalendar file becomes the appointments that a person would read from it, whatever its clocks do."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.cli.reading_calendars import Reader, Span, read_calendar
from app.cli.shell import Problem

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # a Monday
BERLIN = ZoneInfo("Europe/Berlin")


def calendar(*parts: str, before: str = "") -> bytes:
    """A file with these components, in CRLF lines."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//tests//EN", before, *parts, "END:VCALENDAR"]
    return "\r\n".join(line for part in lines for line in part.splitlines() if line).encode() + b"\r\n"


def event(text: str, uid: str = "one") -> str:
    return f"BEGIN:VEVENT\nUID:{uid}\nDTSTAMP:20260101T000000Z\n{text}\nEND:VEVENT"


def reader(days: int = 60, length: int | None = None, now: datetime = NOW) -> Reader:
    cut = timedelta(minutes=length) if length else None
    return Reader("free.ics", Span(now, now + timedelta(days=days)), BERLIN, cut)


def read(content: bytes, days: int = 60, length: int | None = None) -> list[str]:
    """Begin and end of each appointment, by the clock of Berlin."""
    return [shown(span) for span in read_calendar(content, reader(days, length))[0]]


def shown(span: Span) -> str:
    begin, end = (moment.astimezone(BERLIN) for moment in span)
    return f"{begin:%m-%d %H:%M}-{end:%H:%M}"


BEGIN_END = "DTSTART;TZID=Europe/Berlin:20260303T100000\nDTEND;TZID=Europe/Berlin:20260303T103000"


@pytest.mark.parametrize(
    "times",
    [
        BEGIN_END,
        "DTSTART:20260303T090000Z\nDTEND:20260303T093000Z",
        "DTSTART:20260303T090000Z\nDURATION:PT30M",
        "DTSTART:20260303T100000\nDTEND:20260303T103000",
        "DTSTART;TZID=America/New_York:20260303T040000\nDURATION:PT30M",
        "DTSTART;TZID=W. Europe Standard Time:20260303T100000\nDURATION:PT30M",
    ],
)
def test_a_time_is_read_in_its_own_zone_and_a_floating_one_in_the_workspaces(times: str) -> None:
    """UTC, a named zone, a Windows name, or none at all."""
    assert read(calendar(event(times))) == ["03-03 10:00-10:30"]


def test_a_zone_that_the_file_brings_along_is_used() -> None:
    """VTIMEZONE under a name of its own."""
    zone = (
        "BEGIN:VTIMEZONE\nTZID:Ours\nBEGIN:STANDARD\nDTSTART:19701025T030000\nTZOFFSETFROM:+0500\nTZOFFSETTO:+0500\n"
        "END:STANDARD\nEND:VTIMEZONE"
    )
    assert read(calendar(event("DTSTART;TZID=Ours:20260303T140000\nDURATION:PT30M"), before=zone)) == [
        "03-03 10:00-10:30"
    ]


def test_what_is_busy_or_cancelled_is_no_appointment() -> None:
    """And what is busy takes away what it overlaps."""
    free, late = event(BEGIN_END), event(BEGIN_END.replace("T10", "T14"), "late")
    busy = event("DTSTART:20260303T091500Z\nDURATION:PT5M\nTRANSP:OPAQUE", "busy")
    away = event("DTSTART;VALUE=DATE:20260303\nX-MICROSOFT-CDO-BUSYSTATUS:OOF", "away")
    assert read(calendar(free, late, busy)) == ["03-03 14:00-14:30"]
    assert read(calendar(free, late, away)) == []
    assert read(calendar(event(f"{BEGIN_END}\nSTATUS:CANCELLED"), late)) == ["03-03 14:00-14:30"]
    assert read(calendar(event(f"{BEGIN_END}\nTRANSP:TRANSPARENT"))) == ["03-03 10:00-10:30"]


def test_an_event_recurs_by_the_clock_through_a_change_of_it() -> None:
    """10:00 stays 10:00 when summer time begins on the 29th of March; exceptions and moved ones count."""
    weekly = event(f"{BEGIN_END}\nRRULE:FREQ=WEEKLY;COUNT=6\nEXDATE;TZID=Europe/Berlin:20260310T100000")
    moved = event(
        "RECURRENCE-ID;TZID=Europe/Berlin:20260317T100000\nDTSTART;TZID=Europe/Berlin:20260318T160000\nDURATION:PT30M"
    )
    gone = event(f"RECURRENCE-ID:20260324T090000Z\n{BEGIN_END.replace('0303', '0324')}\nSTATUS:CANCELLED")
    assert read(calendar(weekly, moved, gone)) == [
        "03-03 10:00-10:30",
        "03-18 16:00-16:30",
        "03-31 10:00-10:30",
        "04-07 10:00-10:30",
    ]


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        ("FREQ=DAILY", 14),
        ("FREQ=DAILY;UNTIL=20260305T090000Z", 3),
        ("FREQ=DAILY;UNTIL=20260305T085959Z", 2),
        ("FREQ=DAILY;UNTIL=20260305", 3),
        ("FREQ=WEEKLY;BYDAY=TU,TH", 4),
        ("FREQ=DAILY;BYHOUR=10,11,12;COUNT=5", 5),
        ("FREQ=MONTHLY;BYDAY=1TU", 1),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", 1),
    ],
)
def test_recurrences_end_where_the_rule_or_the_window_ends(rule: str, count: int) -> None:
    """The first occurrence counts even where the rule does not name it."""
    assert len(read(calendar(event(f"{BEGIN_END}\nRRULE:{rule}")), days=15)) == count


def test_extra_dates_and_days_that_are_left_out() -> None:
    """RDATE with and without a length of its own, EXDATE by day."""
    extra = "RDATE;TZID=Europe/Berlin:20260304T110000\nRDATE;VALUE=PERIOD:20260305T090000Z/PT1H"
    daily = f"{BEGIN_END}\nRRULE:FREQ=DAILY;COUNT=2\nEXDATE;VALUE=DATE:20260304"
    assert read(calendar(event(f"{BEGIN_END}\n{extra}"))) == [
        "03-03 10:00-10:30",
        "03-04 11:00-11:30",
        "03-05 10:00-11:00",
    ]
    assert read(calendar(event(daily))) == ["03-03 10:00-10:30"]


def test_a_whole_day_is_free_only_when_it_is_cut_into_appointments() -> None:
    """Within business hours, around what is busy; a weekend has none."""
    days = event("DTSTART;VALUE=DATE:20260306\nDTEND;VALUE=DATE:20260309")
    busy = event("DTSTART:20260306T090000Z\nDTEND:20260306T150000Z\nTRANSP:OPAQUE", "busy")
    spans, left_out = read_calendar(calendar(days), reader())
    assert (spans, left_out["whole days, free only with --length"]) == ([], 3)
    assert read(calendar(days, busy), length=30) == [
        "03-06 09:00-09:30",
        "03-06 09:30-10:00",
        "03-06 16:00-16:30",
        "03-06 16:30-17:00",
    ]


def test_free_time_is_cut_into_appointments_around_what_is_busy() -> None:
    """From its begin, none of them over its end."""
    free = event("DTSTART:20260303T090000Z\nDTEND:20260303T120000Z")
    busy = event("DTSTART:20260303T100000Z\nDTEND:20260303T101000Z\nTRANSP:OPAQUE", "busy")
    assert read(calendar(free, busy), length=45) == ["03-03 10:00-10:45", "03-03 11:10-11:55", "03-03 11:55-12:40"]


def test_free_busy_lists_say_it_themselves() -> None:
    """FBTYPE=FREE is free, everything else busy, also without a type."""
    lists = (
        "BEGIN:VFREEBUSY\nUID:f\nDTSTAMP:20260101T000000Z\n"
        "FREEBUSY;FBTYPE=FREE:20260303T090000Z/PT30M,20260303T100000Z/20260303T103000Z\n"
        "FREEBUSY:20260303T101500Z/PT5M\nEND:VFREEBUSY"
    )
    assert read(calendar(lists)) == ["03-03 10:00-10:30"]


def test_what_is_over_or_beyond_the_window_is_left_out() -> None:
    """Only whole appointments to come."""
    begun = event("DTSTART:20260302T085500Z\nDURATION:PT30M")
    assert read(calendar(begun, event(BEGIN_END, "next"))) == ["03-03 10:00-10:30"]
    assert read(calendar(event(BEGIN_END)), days=1) == []


def test_a_skipped_time_is_read_with_the_offset_before_and_a_double_one_is_the_first() -> None:
    """As RFC 5545 has it: 2:30 on the 29th of March is 3:30 summer time."""
    skipped = event("DTSTART;TZID=Europe/Berlin:20260328T023000\nDURATION:PT30M\nRRULE:FREQ=DAILY;COUNT=3")
    assert read(calendar(skipped)) == ["03-28 02:30-03:00", "03-29 03:30-04:00", "03-30 02:30-03:00"]
    autumn = datetime(2026, 10, 20, tzinfo=UTC)
    double = event("DTSTART;TZID=Europe/Berlin:20261025T023000\nDURATION:PT30M")
    [span] = read_calendar(calendar(double), reader(now=autumn))[0]
    assert span.starts_at == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@settings(max_examples=100)
@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata"]),
    st.integers(0, 364),
    st.integers(0, 95),
)
def test_a_daily_event_shows_the_same_time_every_day_that_has_it(zone: str, day: int, quarter: int) -> None:
    """In every zone, through every change of the clock: one appointment a day, each as long as the first."""
    clock = ZoneInfo(zone)
    begin = datetime(2026, 1, 1) + timedelta(days=day, minutes=15 * quarter)  # noqa: DTZ001 - the clock of the zone
    daily = event(f"DTSTART;TZID={zone}:{begin:%Y%m%dT%H%M%S}\nDURATION:PT20M\nRRULE:FREQ=DAILY;COUNT=20")
    now = begin.replace(tzinfo=UTC) - timedelta(days=2)
    spans, _ = read_calendar(calendar(daily), reader(now=now))
    assert len(spans) == 20
    for number, span in enumerate(spans):
        wanted = (begin + timedelta(days=number)).replace(tzinfo=clock)
        exists = wanted.astimezone(UTC).astimezone(clock).replace(tzinfo=None) == wanted.replace(tzinfo=None)
        assert span.ends_at - span.starts_at == timedelta(minutes=20)
        assert span.starts_at == wanted.astimezone(UTC)
        assert not exists or span.starts_at.astimezone(clock).replace(tzinfo=None) == wanted.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        (b"", "free.ics:1", "no BEGIN:VCALENDAR"),
        (b"name,email\nann,ann@example.com\n", "free.ics:1", "no BEGIN:VCALENDAR"),
        (calendar("BEGIN:VEVENT\nwhat is this\nEND:VEVENT"), "free.ics", ""),
        (calendar(event("SUMMARY:Lunch with Ann")), "free.ics:4", "has no DTSTART"),
        (calendar(event(BEGIN_END), event("DTSTART:soon", "two")), "free.ics:10", "DTSTART is malformed"),
        (calendar(event("DTSTART;TZID=Moon/Base:20260303T100000\nDURATION:PT30M")), "free.ics:4", "time zone"),
        (calendar(event(f"{BEGIN_END}\nRRULE:FREQ=MINUTELY")), "free.ics:4", "by the hour or faster"),
        (calendar(event(f"{BEGIN_END}\nRRULE:FREQ=NEVER")), "free.ics:4", "RRULE is malformed"),
        (calendar(event(BEGIN_END), event(f"{BEGIN_END}\nSEQUENCE:x", "two")), "free.ics:10", "cannot be read"),
        (calendar(event("DTSTART;VALUE=DATE:20260303\nDTEND:20260303T100000Z")), "free.ics:4", "not of one kind"),
        (calendar(event(BEGIN_END), before="METHOD:CANCEL"), "free.ics", "cancellation"),
        (calendar(event(BEGIN_END)).replace(b"END:VEVENT", b"END:\xff"), "free.ics:9", "not UTF-8"),
    ],
)
def test_what_cannot_be_read_names_file_and_line_and_repeats_nothing(content: bytes, where: str, what: str) -> None:
    """The person at the command line finds the place; no text of an event is printed."""
    with pytest.raises(Problem) as problem:
        read_calendar(content, reader())
    assert str(problem.value).startswith(where)
    assert what in str(problem.value)
    assert "Ann" not in str(problem.value)


@example(["BEGIN:VEVENT", "SEQUENCE:x", "END:VEVENT"])  # was once a ValueError
@settings(max_examples=150)
@given(st.lists(st.sampled_from([
    "BEGIN:VEVENT", "END:VEVENT", "UID:x", "DTSTART:20260303T090000Z", "DTEND:20260303T093000Z", "DURATION:PT30M",
    "RRULE:FREQ=DAILY;COUNT=3", "RRULE:FREQ=WEEKLY;BYDAY=XX", "EXDATE:20260304T090000Z", "DTSTART;VALUE=DATE:20260303",
    "RECURRENCE-ID:20260304T090000Z", "SEQUENCE:x", "BEGIN:VFREEBUSY", "END:VFREEBUSY", "FREEBUSY:20260303T090000Z/PT1H",
    "FREEBUSY:never", "TRANSP:OPAQUE", "DURATION:-PT1H", "DTSTART:99991231T235959Z", "RDATE:20260306T090000Z", " folded", "",
]), max_size=14))  # fmt: skip
def test_whatever_stands_in_a_file_it_is_read_or_refused(lines: list[str]) -> None:
    """Lines in any order: appointments within the window, or a Problem, and nothing else."""
    try:
        spans, left_out = read_calendar(calendar(*lines), reader())
    except Problem:
        return
    assert isinstance(left_out, Counter)
    assert all(NOW <= span.starts_at < span.ends_at for span in spans)
