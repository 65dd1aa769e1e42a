"""Dates and times of day, as people write them. What they mean for a meeting is decided in `meetings.py`."""

import re
from collections.abc import Iterable
from typing import Final

from agents.hard_blocks.block import Rule
from agents.hard_blocks.source import Claim, Source
from agents.hard_blocks.vocabulary import (
    CLOCK_WORDS,
    LEAD_TIME,
    MONTHS,
    OFFSETS,
    RELATIVE_DAYS,
    SHORT_WEEKDAYS,
    WEEKDAYS,
    WORKSPACE_TIME,
)

Days = tuple[tuple[int, int, int], ...]

BEFORE_CHARS: Final = 32
MONTHS_A_YEAR: Final = 12
DAYS_A_MONTH: Final = 31
HOURS_A_DAY: Final = 24
NOON_H: Final = 12
MINUTES_AN_HOUR: Final = 60
CENTURY: Final = 2_000

_YEAR_FIRST: Final = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?!\d)")
_EASTERN: Final = re.compile(r"(?:(\d{4})年)?(\d{1,2})月(\d{1,2})日")
_NUMERIC: Final = re.compile(r"(\d{1,2})([./-])(\d{1,2})(?:\2(\d{4}|\d{2}))?(?![\d%])")
_DAY_FIRST: Final = re.compile(
    r"(\d{1,2})(?:st|nd|rd|th|er|º|ª|\.)?[\s-](?:of |de |d')?([^\W\d_]{3,12})\b\.?"
    r"(?:,?[\s-](?:de |del )?(\d{4})(?!\d))?"
)
_MONTH_BEFORE: Final = re.compile(r"(?<![^\W\d_])([^\W\d_]{3,12})\.?\s(?:the )?$")
_DAY_AFTER_MONTH: Final = re.compile(
    r"(\d{1,2})(?:st|nd|rd|th)?(?![\d%]|[:.,]\d|\s?(?:am|pm|uhr)\b)(?:,?\s(\d{4})(?!\d))?"
)
_MODAL: Final = frozenset({"may", "march", "mar"})  # in small letters mostly other words
_GOES_ON: Final = re.compile(r"\s(?!(?:at|in|on|or|and|for|to|till|until|from|between|is|works)\b)[a-z]")
_WEEKDAY_BEFORE: Final = re.compile(
    r"(?<![^\W\d_-])([^\W\d_]{2,13}(?:-feira)?)\.?,?\s(?:(?:the|den|dem|der|le|el|il|dia|op|de) )?$"
)
# German short weekdays that stand before a date in English, too ("I could do 3 March"): only with a mark ("Do., 3.3.").
_ENGLISH_WORDS: Final = frozenset({"do", "so"})
_MARKED: Final = re.compile(r"[^\W\d_]+[.,]")
_WEEKDAY_AFTER: Final = re.compile(r",?\s?\(?([^\W\d_]{3,13}(?:-feira)?)\b")
_BEFORE_DATE: Final = re.compile(
    r"(?<![^\W\d_])(?:am|vom|zum|dem|den|der|ab|seit|le|du|au|el|del|il|dal|dia|op|dnia),?\s$"
)
_BEFORE_DATE_ENGLISH: Final = re.compile(r"(?<![^\W\d_])(?:on|by|until|till|since|due|dated),?\s$")

_NO_LETTER: Final = r"(?![^\W\d_])"
_MERIDIEM: Final = rf"(?:\s?(am|pm|a\.m\.?|p\.m\.?){_NO_LETTER})"
# Hour, minute, half of the day, and a word that says it is a time.
_CLOCKS: Final = (
    re.compile(rf"(\d{{1,2}}):(\d{{2}})(?::\d{{2}}(?:\.\d+)?)?(?![:\d]){_MERIDIEM}?(\s?(?:uhr|hrs?|h){_NO_LETTER}|)"),
    re.compile(rf"(\d{{1,2}})[.h](\d{{2}})(?!\d){_MERIDIEM}?(\s?(?:uhr|hrs|h){_NO_LETTER})?"),
    re.compile(rf"(\d{{1,2}})(){_MERIDIEM}?(\s?(?:uhr|o'clock){_NO_LETTER})?"),
)
_LATER_HALF: Final = re.compile(rf"(?:[:.]\d\d)?\s?(?:-|to|bis|and|or|und|oder)\s?\d{{1,2}}(?:[:.]\d\d)?{_MERIDIEM}")
_LATER_WORD: Final = re.compile(r"\s?(?:-|to|bis|and|or|und|oder)\s?\d{1,2}(?:[:.]\d\d)?\s?uhr\b")
_AT: Final = re.compile(r"(?<![^\W\d_])(?:at|um|gegen|à|vers|a las|a la|alle|às|ore|om|kl\.?)\s$")
_HOUR_ENDS: Final = re.compile(
    r"\s?(?:h|heures?|ore|uur|horas?)\b|\s?(?:$|[.,;!?)\n(]|-\s?\d"
    r"|(?:on|or|and|to|tomorrow|today|next|this|your|my|our|am|oder|morgen|bis|le|el|il|[cemp]e?s?t|utc|gmt)\b)"
)
_ZONE: Final = re.compile(
    rf"\s?[(,]?\s?(?:({'|'.join(sorted(OFFSETS, key=len, reverse=True))}|ET|PT|CT"
    rf"|MT)([+-]\d{{1,2}}(?::?\d\d)?)?(?![^\W_])"
    r"|([A-Z][A-Za-z]+/[A-Z][A-Za-z_/]+)|((?:[A-Z][a-z]+ ){1,3})[Tt]ime\b"
    r"|(your (?:local )?time|local time|deiner zeit|ihrer zeit|votre heure|su hora)|(our time|my time|unserer zeit))"
)
_ISO_OFFSET: Final = re.compile(r"([+-]\d{2}:?\d{2})(?!\d)")
_RANGE_TO: Final = re.compile(r"\s?(?:-|to|bis|until|till)\s?")
_WORD: Final = re.compile(r"[^\W\d_]{4,}(?:[-'][^\W\d_]{4,})?")
_WISH: Final = re.compile(
    r"(?:happy|nice|great|good|lovely|wonderful|pleasant|schönen|guten|bon|bonne|buen|buon|buona|bom|boa|fijne"
    r"|miłego)\s$"
)
_DAY_WORDS: Final = {**WEEKDAYS, **RELATIVE_DAYS, **CLOCK_WORDS}


def _valid(candidates: Iterable[tuple[int, int, int]]) -> Days:
    return tuple(
        dict.fromkeys(
            (year + CENTURY if 0 < year < CENTURY else year, month, day)
            for year, month, day in candidates
            if 1 <= month <= MONTHS_A_YEAR and 1 <= day <= DAYS_A_MONTH
        )
    )


def _year_first_days(source: Source, start: int) -> tuple[int, int, Days] | None:
    found = _YEAR_FIRST.match(source.lower, start)
    if found is not None:
        return start, found.end(), _valid([(int(found[1]), int(found[3]), int(found[4]))])
    eastern = _EASTERN.match(source.lower, start)
    if eastern is None:
        return None
    return start, eastern.end(), _valid([(int(eastern[1] or 0), int(eastern[2]), int(eastern[3]))])


def _numeric_days(source: Source, start: int) -> tuple[int, int, Days] | None:
    found = _NUMERIC.match(source.lower, start)
    if found is None or source.before(start, 1).isalnum():
        return None
    first, second, year = int(found[1]), int(found[3]), int(found[4] or 0)
    if not year:
        before = source.before(start, BEFORE_CHARS)
        marked = _BEFORE_DATE.search(before) or (found[2] == "/" and _BEFORE_DATE_ENGLISH.search(before))
        if found[2] == "-" or not (marked or _weekday_before(source, start)):
            return None
    ways = [(year, second, first)] if found[2] == "." else [(year, second, first), (year, first, second)]
    return start, found.end(), _valid(ways)


def _named_days(source: Source, start: int) -> tuple[int, int, Days] | None:
    found = _DAY_FIRST.match(source.lower, start)
    if found is not None and found[2] in MONTHS:
        modal = found[2] in _MODAL and not found[3] and source.text[found.start(2)].islower()
        if not (modal and _GOES_ON.match(source.lower, found.end())):
            return start, found.end(), _valid([(int(found[3] or 0), MONTHS[found[2]], int(found[1]))])
    named = _MONTH_BEFORE.search(source.before(start, BEFORE_CHARS)) if start else None
    if named is None or named[1] not in MONTHS:
        return None
    begin, after = start - len(named.group()), _DAY_AFTER_MONTH.match(source.lower, start)
    if after is None or (named[1] in _MODAL and source.text[begin].islower() and not after[2]):
        return None
    return begin, after.end(), _valid([(int(after[2] or 0), MONTHS[named[1]], int(after[1]))])


def _weekday_before(source: Source, start: int) -> re.Match[str] | None:
    found = _WEEKDAY_BEFORE.search(source.before(start, BEFORE_CHARS))
    if found is None or found[1] not in SHORT_WEEKDAYS:
        return None
    written = source.text[start - len(found.group()) : start]
    if found[1] in _ENGLISH_WORDS and not (written[0].isupper() and _MARKED.match(written)):
        return None
    return found


def read_date(source: Source, start: int) -> Claim | None:
    """The date whose first digit is at `start`, with a weekday beside it."""
    found = _year_first_days(source, start) or _numeric_days(source, start) or _named_days(source, start)
    if found is None or not found[2]:
        return None
    begin, end, days = found
    before, after = _weekday_before(source, begin), _WEEKDAY_AFTER.match(source.lower, end)
    if before is not None:
        return Claim(Rule.DATE, begin - len(before.group()), end, days=days, weekday=SHORT_WEEKDAYS[before[1]])
    if after is not None and after[1] in WEEKDAYS:
        return Claim(Rule.DATE, begin, after.end(), days=days, weekday=WEEKDAYS[after[1]])
    return Claim(Rule.DATE, begin, end, days=days)


def _clock(source: Source, start: int) -> tuple[int, int] | None:
    """Minute of the day and end of the time of day at `start`."""
    for form in _CLOCKS:
        found = form.match(source.lower, start)
        if found is None:
            continue
        hour, minute, half, word = int(found[1]), int(found[2] or 0), found[3], found[4]
        if half is None and word is None and "h" not in source.lower[start : found.end()]:
            later = _LATER_HALF.match(source.lower, found.end(1))
            half = later[1] if later else None
            at = _AT.search(source.before(start, BEFORE_CHARS)) and (
                found[2] or _HOUR_ENDS.match(source.lower, found.end())
            )
            if not (half or at or _LATER_WORD.match(source.lower, found.end())):
                continue
        if half is not None and 1 <= hour <= NOON_H:
            hour = hour % NOON_H + (NOON_H if half.startswith("p") else 0)
        if hour <= HOURS_A_DAY and minute < MINUTES_AN_HOUR:
            return hour % HOURS_A_DAY * MINUTES_AN_HOUR + minute, found.end()
    return None


def _zone(source: Source, end: int) -> tuple[str, int]:
    """What is said about the time zone at `end`, and where that ends."""
    found = _ZONE.match(source.text, end)
    if found is None:
        return "", end
    name, offset, region, city, lead, workspace = found.groups()
    if lead or workspace:
        return (LEAD_TIME if lead else WORKSPACE_TIME), found.end()
    return (region or f"{name or city or ''}{offset or ''}".strip()), found.end()


def read_time(source: Source, start: int) -> Claim | None:
    """The time of day whose first digit is at `start`. The first time of a range has the zone of the second."""
    clock = _clock(source, start)
    if clock is None:
        return None
    minute, end = clock
    offset = _ISO_OFFSET.match(source.lower, end) if source.before(start, 1) == "t" else None
    zone, zone_end = (f"UTC{offset[1]}", offset.end()) if offset else _zone(source, end)
    until = _RANGE_TO.match(source.lower, end) if not zone else None
    second = _clock(source, until.end()) if until is not None else None
    if second is not None:
        zone, _ = _zone(source, second[1])
    return Claim(Rule.TIME, start, zone_end, minute=minute, zone=zone)


def day_words(source: Source) -> list[Claim]:
    """Weekdays, "tomorrow" and "noon" in words. Not the Sunday that somebody is wished."""
    if _DAY_WORDS.keys().isdisjoint(_WORD.findall(source.lower)):
        return []
    claims = []
    for word in _WORD.finditer(source.lower):
        start, end, name = word.start(), word.end(), word.group()
        if name not in _DAY_WORDS or _WISH.search(source.before(start, BEFORE_CHARS)):
            continue
        if name in WEEKDAYS:
            claims.append(Claim(Rule.DATE, start, end, weekday=WEEKDAYS[name]))
        elif name in RELATIVE_DAYS:
            claims.append(Claim(Rule.DATE, start, end, relative=RELATIVE_DAYS[name]))
        else:
            zone, zone_end = _zone(source, end)
            claims.append(Claim(Rule.TIME, start, zone_end, minute=CLOCK_WORDS[name], zone=zone))
    return claims
