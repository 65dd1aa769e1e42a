"""From an iCalendar file (RFC 5545) to free appointments. What is wrong is told with file and line.

An event is a free appointment unless it says that it is busy (TRANSP:OPAQUE, or Outlook's busy status) or cancelled;
what is busy is taken out of what is free. VFREEBUSY says it itself. Days without times are free only when they are cut
into appointments of a length, within business hours.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final, NamedTuple, TypeVar

from dateutil.rrule import rrulestr
from icalendar import Calendar

from app.cli.shell import Problem
from schemas.settings import BusinessHours

RECURRENCES_MAX: Final = 100_000
SLOTS_MAX: Final = 20_000
FILE_BYTES_MAX: Final = 32 * 1024 * 1024
_TOO_OFTEN: Final = frozenset({"SECONDLY", "MINUTELY", "HOURLY"})
_OUTLOOK: Final = "X-MICROSOFT-CDO-BUSYSTATUS"
_BUSY: Final = frozenset({"BUSY", "OOF", "TENTATIVE"})
_READ: Final = ("VEVENT", "VFREEBUSY")
_BEGIN: Final = re.compile(rb"BEGIN:(VEVENT|VFREEBUSY)\s*", re.IGNORECASE)

T = TypeVar("T")
Part = Any  # a component of icalendar's, whose types say less than its properties hold


class Span(NamedTuple):
    """From and until, in UTC."""

    starts_at: datetime
    ends_at: datetime

    def overlaps(self, other: Span) -> bool:
        return self.starts_at < other.ends_at and other.starts_at < self.ends_at


@dataclass(frozen=True)
class Reader:
    """How a file is read. `length` cuts free time into appointments; `zone` is that of times that name none."""

    name: str
    window: Span
    zone: tzinfo
    length: timedelta | None = None
    hours: BusinessHours = field(default_factory=BusinessHours)


@dataclass
class Found:
    """What a file holds within the window. `remarks` count what was left out, by the reason."""

    free: list[Span] = field(default_factory=list)
    free_days: list[date] = field(default_factory=list)
    busy: list[Span] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)


class _Bad(Exception):
    """The argument says what is wrong with a component and what to do."""


def read_calendar(content: bytes, reader: Reader) -> tuple[list[Span], Counter[str]]:
    """The free appointments of a file, in order, and what was left out. Raises Problem that names file and line."""
    found = Found()
    components, lines = _components(content, reader), _lines(content)
    if len(components) != len(lines):
        raise Problem(f"{reader.name}: BEGIN and END do not match; nothing was imported")
    series: dict[str, list[tuple[int, Part]]] = {}
    for line, component in zip(lines, components, strict=True):
        if component.name == "VFREEBUSY":
            _at(reader, line, _add_freebusy, component, reader, found)
        else:
            series.setdefault(str(component.get("UID", f"line {line}")), []).append((line, component))
    for events in series.values():
        _add_series(events, reader, found)
    return _appointments(found, reader), found.remarks


def _at(reader: Reader, line: int, work: Callable[..., T], *arguments: Any) -> T:
    """`work(*arguments)`; what goes wrong is told by file and line. The library's own words may repeat a text."""
    try:
        return work(*arguments)
    except _Bad as error:
        raise Problem(f"{reader.name}:{line}: {error}; nothing was imported") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        what = type(error).__name__
        raise Problem(f"{reader.name}:{line}: cannot be read ({what}); nothing was imported") from None


def _components(content: bytes, reader: Reader) -> list[Part]:
    if b"BEGIN:VCALENDAR" not in content.upper():
        raise Problem(f"{reader.name}:1: no BEGIN:VCALENDAR: this is no iCalendar file; nothing was imported")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calendars = Calendar.from_ical(content.decode("utf-8-sig"), multiple=True)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Problem(f"{reader.name}:{line}: is not UTF-8; nothing was imported") from None
    except (ValueError, KeyError, IndexError) as error:
        line = _first_bad_line(content)
        what = type(error).__name__
        raise Problem(f"{reader.name}:{line}: is no iCalendar line ({what}); nothing was imported") from None
    cancelled = [str(calendar.get("METHOD", "")).upper() == "CANCEL" for calendar in calendars]
    if any(cancelled):
        raise Problem(f"{reader.name}: is a cancellation (METHOD:CANCEL), no calendar; nothing was imported")
    return [each for calendar in calendars for each in calendar.walk() if each.name in _READ]


def _lines(content: bytes) -> list[int]:
    return [number for number, line in enumerate(content.split(b"\n"), 1) if _BEGIN.fullmatch(line)]


def _first_bad_line(content: bytes) -> int:
    """The first line that is neither `NAME:value` nor the continuation of one; 1 when the fault is elsewhere."""
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip() and line[:1] not in (b" ", b"\t") and b":" not in line:
            return number
    return 1


# ---- VFREEBUSY


def _add_freebusy(component: Part, reader: Reader, found: Found) -> None:
    given = component.get("FREEBUSY", [])
    for period in given if isinstance(given, list) else [given]:
        kind = str(period.params.get("FBTYPE", "BUSY")).upper()
        span = Span(_instant(period.start, reader.zone), _instant(period.end, reader.zone))
        (found.free if kind == "FREE" else found.busy).append(span)


# ---- VEVENT


def _add_series(events: list[tuple[int, Part]], reader: Reader, found: Found) -> None:
    """One event with its recurrences; those that were moved or cancelled by an event of their own give way to it."""
    masters = [(line, each) for line, each in events if "RECURRENCE-ID" not in each]
    overrides = [(line, each) for line, each in events if "RECURRENCE-ID" in each]
    moved: set[datetime] = set()
    for line, each in overrides:
        moved.add(_at(reader, line, _overridden, each, reader))
    newest = max(masters, key=lambda each: _at(reader, each[0], _sequence, each[1]), default=None)
    for line, each in [*([newest] if newest else []), *overrides]:
        skipped = moved if "RECURRENCE-ID" not in each else set()
        _at(reader, line, _add_event, each, reader, found, skipped)


def _sequence(event: Part) -> int:
    """How often it was changed; the last change counts."""
    return int(event.get("SEQUENCE", 0))


def _overridden(event: Part, reader: Reader) -> datetime:
    recurrence = event["RECURRENCE-ID"]
    if "RANGE" in recurrence.params:
        raise _Bad("RECURRENCE-ID with RANGE is not understood; export single changes")
    return _instant(recurrence.dt, reader.zone)


def _add_event(event: Part, reader: Reader, found: Found, skipped: set[datetime]) -> None:
    """Every occurrence of an event within the window."""
    if event.errors:
        raise _Bad(f"{event.errors[0][0] or 'a line'} is malformed")
    if "EXRULE" in event:
        raise _Bad("EXRULE is not understood; use EXDATE")
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        found.remarks["cancelled"] += 1
        return
    begin, whole_day = _start(event), not isinstance(_start(event), datetime)
    length = _length(event, begin)
    if length <= timedelta(0):
        found.remarks["without a length"] += 1
        return
    busy = str(event.get("TRANSP", "")).upper() == "OPAQUE" or str(event.get(_OUTLOOK, "")).upper() in _BUSY
    for local, own_length in _occurrences(event, begin, length, reader):
        span = _span(local, own_length, reader.zone, begin)
        if span.starts_at in skipped or not span.overlaps(reader.window):
            continue
        if busy:
            found.busy.append(span)
        elif whole_day:
            days = max(own_length.days, 1)
            found.free_days += [local.date() + timedelta(days=number) for number in range(days)]
        else:
            found.free.append(span)


def _start(event: Part) -> date | datetime:
    if "DTSTART" not in event:
        raise _Bad("has no DTSTART")
    begin = event["DTSTART"]
    if isinstance(begin, list):
        raise _Bad("has more than one DTSTART")
    if isinstance(begin.dt, datetime) and begin.dt.tzinfo is None and "TZID" in begin.params:
        raise _Bad("DTSTART is in a time zone that nobody knows; add its VTIMEZONE or use a name such as Europe/Berlin")
    moment: date | datetime = begin.dt
    return moment


def _length(event: Part, begin: date | datetime) -> timedelta:
    if "DURATION" in event:
        length: timedelta = event["DURATION"].dt
        return length
    if "DTEND" not in event:
        return timedelta(0) if isinstance(begin, datetime) else timedelta(days=1)
    end = event["DTEND"].dt
    if isinstance(begin, datetime) != isinstance(end, datetime):
        raise _Bad("DTSTART and DTEND are not of one kind")
    if isinstance(begin, datetime) and (begin.tzinfo is None) != (end.tzinfo is None):
        raise _Bad("of DTSTART and DTEND only one names a time zone")
    if isinstance(begin, datetime) and begin.tzinfo is not None:
        return timedelta(seconds=(end.astimezone(UTC) - begin.astimezone(UTC)).total_seconds())
    return timedelta(seconds=(end - begin).total_seconds())


def _occurrences(
    event: Part, begin: date | datetime, length: timedelta, reader: Reader
) -> Iterator[tuple[datetime, timedelta]]:
    """Begins by the clock of the event's own zone, without zone, and lengths. The clock decides, as RFC 5545 has it."""
    zone = _zone_of(begin, reader.zone)
    first = _on_clock(begin, zone)
    found = {first: length}
    for rule in event.rrules:
        found |= dict.fromkeys(_recurrences(rule, first, zone, reader), length)
    for extra, until in event.rdates:
        own = length if until is None else _instant(until, reader.zone) - _instant(extra, reader.zone)
        found[_on_clock(extra, zone)] = own
    gone = [_on_clock(each, zone) for each in event.exdates if isinstance(each, datetime)]
    days = {each for each in event.exdates if not isinstance(each, datetime)}
    yield from sorted(each for each in found.items() if each[0] not in gone and each[0].date() not in days)


def _recurrences(rule: Any, first: datetime, zone: tzinfo, reader: Reader) -> Iterator[datetime]:
    if _TOO_OFTEN & {str(each).upper() for each in rule.get("FREQ", [])}:
        raise _Bad("recurs by the hour or faster; use FREQ=DAILY with BYHOUR")
    until = [_on_clock(each, zone, end_of_day=True) for each in rule.get("UNTIL", [])]
    last = min([*until, _on_clock(reader.window.ends_at, zone)])
    text = ";".join(part for part in rule.to_ical().decode().split(";") if not part.upper().startswith("UNTIL="))
    for number, moment in enumerate(rrulestr(text, dtstart=first)):
        if moment > last:
            return
        if number >= RECURRENCES_MAX:
            raise _Bad(f"recurs more than {RECURRENCES_MAX} times before the window ends; begin it later")
        yield moment


# ---- clocks


def _zone_of(moment: date | datetime, default: tzinfo) -> tzinfo:
    return moment.tzinfo if isinstance(moment, datetime) and moment.tzinfo is not None else default


def _on_clock(moment: date | datetime, zone: tzinfo, *, end_of_day: bool = False) -> datetime:
    """What the clock of `zone` shows; midnight, or the last second, of a day without a time."""
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time(23, 59, 59) if end_of_day else time())
    return (moment.astimezone(zone) if moment.tzinfo is not None else moment).replace(tzinfo=None)


def _instant(moment: date | datetime, zone: tzinfo) -> datetime:
    """The moment in UTC. A time that the clock skips is read with the offset before it; of two, the first counts."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).astimezone(UTC)


def _span(local: datetime, length: timedelta, default: tzinfo, begin: date | datetime) -> Span:
    zone = _zone_of(begin, default)
    starts_at = _instant(local, zone)
    if isinstance(begin, datetime):
        return Span(starts_at, starts_at + length)
    return Span(starts_at, _instant(local + length, zone))  # days are days of the clock, of 23 to 25 hours


# ---- appointments


def _appointments(found: Found, reader: Reader) -> list[Span]:
    free = list(found.free)
    if reader.length is None and found.free_days:
        found.remarks["whole days, free only with --length"] += len(found.free_days)
    elif reader.length is not None:
        free += [span for day in sorted(set(found.free_days)) for span in _business_hours(day, reader)]
        busy = sorted(found.busy)
        free = [piece for span in sorted(free) for piece in _cut(span, busy, reader.length)]
    whole = [
        span for span in free if reader.window.starts_at <= span.starts_at and span.ends_at <= reader.window.ends_at
    ]
    kept = sorted({span for span in whole if not any(span.overlaps(each) for each in found.busy)})
    found.remarks["busy"] += len(set(whole)) - len(kept)
    if len(kept) > SLOTS_MAX:
        raise Problem(f"{reader.name}: more than {SLOTS_MAX} appointments; give fewer --days")
    return kept


def _business_hours(day: date, reader: Reader) -> Iterator[Span]:
    hours = reader.hours
    if hours.are_on(day) and hours.start < hours.end:
        opens, closes = datetime.combine(day, hours.start), datetime.combine(day, hours.end)
        yield Span(
            _instant(opens.replace(tzinfo=None), reader.zone), _instant(closes.replace(tzinfo=None), reader.zone)
        )


def _cut(span: Span, busy: Iterable[Span], length: timedelta) -> Iterator[Span]:
    """Appointments of `length`, one after the other, around what is busy."""
    begin = span.starts_at
    for each in [*(each for each in busy if each.overlaps(span)), Span(span.ends_at, span.ends_at)]:
        while begin + length <= each.starts_at:
            yield Span(begin, begin + length)
            begin += length
        begin = max(begin, each.ends_at)
