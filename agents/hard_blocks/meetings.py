"""Which day a time of day belongs to, and whether a free slot is there."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta, tzinfo
from typing import Final

from agents.hard_blocks.block import Rule
from agents.hard_blocks.source import Claim, Source
from schemas.context import Slot

MINUTES_AN_HOUR: Final = 60
# A day further before a time than this is another sentence's.
DAY_CHARS_MAX: Final = 160
# What may stand between a day and the time that belongs to it, and between a time and its day.
_DAY_THEN_TIME: Final = re.compile(
    r"[\s,:;()-]*(?:at|around|from|between|um|gegen|von|ab|à|de|a las|a la|alle|dalle|às|das|om|van|o|od|t)?\s*"
)
_TIME_THEN_DAY: Final = re.compile(r"[\s,()]*(?:on|this|next|am|diesen|nächsten|le|el|il|em|na|no|op|w|we|den|de)?\s*")
_BREAK: Final = re.compile(r"(?<!:)\n|[.!?]\s+[A-ZÀ-Þ]|\n\s*\n")
_EVERY_BREAK: Final = re.compile(rf"(?=({_BREAK.pattern}))")  # also one that begins within another
# Sentences that turn a time down: the lead's own proposal may be named in them.
_DECLINED: Final = re.compile(
    r"(?<![^\W\d_])(?:unfortunately|not|no longer|isn't|aren't|can't|cannot|won't|doesn't|don't|unavailable|taken"
    r"|booked|instead of"
    r"|leider|nicht|kein\w*|belegt|malheureusement|pas|désolé|indisponible|lamentablemente|no|non|purtroppo"
    r"|infelizmente|não"
    r"|helaas|niet|geen|niestety|nie)(?![^\W\d_])"
)

_MEETING: Final = re.compile(
    r"\b(?:meet(?:ing|s)?|appointments?|see you|talk to you|speak with you|call you (?:at|on)|let's (?:talk|speak)"
    r"|scheduled?|booked you|calendar invit\w+|termin\w*|treffen|wir sehen uns|ich rufe sie|rendez-vous|réunion"
    r"|on se voit|je vous appelle|cita|reunión|nos vemos|appuntamento|ci vediamo|afspraak|spotkanie|reunião)\b",
)
_MEETING_STEMS: Final = (
    "meet", "appointment", "see you", "talk", "speak", "call you", "schedule", "booked", "calendar", "termin",
    "treffen", "sehen", "rufe", "rendez", "réunion", "on se", "appelle", "cita", "reunión", "nos v", "appuntamento",
    "ci v", "afspraak", "spotkanie", "reunião",
)  # fmt: skip


def speaks_of_meeting(text: str) -> bool:
    """Whether a reply arranges a meeting, whatever anybody says it does."""
    lower = text.lower()
    return any(stem in lower for stem in _MEETING_STEMS) and _MEETING.search(lower) is not None


def days_of_times(source: Source, claims: Sequence[Claim]) -> list[tuple[Claim, Claim | None]]:
    """Each time of day with the date, weekday or "tomorrow" it belongs to: beside it, or else before it in the
    sentence."""
    pairs: list[tuple[Claim, Claim | None]] = []
    earlier: Claim | None = None
    for position, claim in enumerate(claims):
        if claim.rule is Rule.DATE:
            earlier = claim
        elif claim.rule is Rule.TIME:
            later = next((other for other in claims[position + 1 : position + 2] if other.rule is Rule.DATE), None)
            pairs.append((claim, _day_of(source, claim, earlier, later)))
    return pairs


def _day_of(source: Source, time: Claim, earlier: Claim | None, later: Claim | None) -> Claim | None:
    if earlier is not None and time.start - earlier.end > DAY_CHARS_MAX:
        earlier = None
    if later is not None and later.start - time.end > DAY_CHARS_MAX:
        later = None
    if earlier is not None and _DAY_THEN_TIME.fullmatch(source.lower, earlier.end, time.start):
        return earlier
    if later is not None and _TIME_THEN_DAY.fullmatch(source.lower, time.end, later.start):
        return later
    if earlier is not None and not _BREAK.search(source.text, earlier.end, time.start):
        return earlier
    return None


class Refusals:
    """Where a text says no to something. Looked for once per text, so that each of its times costs no scan."""

    def __init__(self, source: Source) -> None:
        breaks = list(_EVERY_BREAK.finditer(source.text))
        self._ends = [found.start(1) for found in breaks]
        self._begins = sorted(found.end(1) for found in breaks)
        self._refusals = [found.start() for found in _DECLINED.finditer(source.lower)]

    def declines(self, claim: Claim) -> bool:
        """Whether the sentence around the claim says no."""
        begun, ended = bisect_right(self._begins, claim.start), bisect_left(self._ends, claim.end)
        begin = self._begins[begun - 1] - 1 if begun else 0
        refusal = bisect_left(self._refusals, begin)
        if refusal == len(self._refusals):
            return False
        return ended == len(self._ends) or self._refusals[refusal] < self._ends[ended]


def nearest(month: int, day: int, today: date) -> date | None:
    """The day of that name that is nearest to `today`, None for the 30th of February."""
    found = []
    for year in (today.year - 1, today.year, today.year + 1):
        try:
            found.append(date(year, month, day))
        except ValueError:
            continue
    return min(found, key=lambda candidate: abs(candidate - today), default=None)


def dates_of(claim: Claim, today: date) -> list[date]:
    """The calendar days a dated or relative claim may mean; none for a weekday alone or a day that does not exist."""
    if claim.relative is not None:
        return [today + timedelta(days=claim.relative)]
    found = []
    for year, month, day in claim.days:
        try:
            meant = date(year, month, day) if year else nearest(month, day, today)
        except ValueError:
            continue
        if meant is not None:
            found.append(meant)
    return found


def is_past(day: Claim, minute: int, now: datetime) -> bool:
    """Whether every moment that the day and minute may mean is over. `now` is in the zone of the minute."""
    said = (now.hour * MINUTES_AN_HOUR + now.minute, now.date())
    meant = dates_of(day, now.date())
    return bool(meant) and all((candidate, minute) < (said[1], said[0]) for candidate in meant)


def _on_day(day: Claim | None, local: datetime, today: date) -> bool:
    if day is None:
        return True
    if day.days:
        return any(
            (month, number) == (local.month, local.day) and year in (0, local.year) for year, month, number in day.days
        )
    return local.date() in dates_of(day, today) if day.relative is not None else local.weekday() == day.weekday


def begins(slot: Slot, day: Claim | None, minute: int, zone: tzinfo, now: datetime) -> bool:
    """Whether the slot begins at that minute of that day (of any day without one), read in `zone`."""
    local = slot.starts_at.astimezone(zone)
    return local.hour * MINUTES_AN_HOUR + local.minute == minute and _on_day(day, local, now.astimezone(zone).date())


def is_free(slots: Iterable[Slot], day: Claim | None, minute: int, zone: tzinfo, now: datetime) -> bool:
    """Whether a free slot begins or ends at that minute of that day (of any day without one), read in `zone`."""
    today = now.astimezone(zone).date()
    moments = (moment.astimezone(zone) for slot in slots for moment in (slot.starts_at, slot.ends_at))
    return any(
        local.hour * MINUTES_AN_HOUR + local.minute == minute and _on_day(day, local, today) for local in moments
    )
