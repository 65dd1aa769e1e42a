"""Which free slot a lead has accepted, by deterministic rules, and what becomes of the meeting. Pure.

A model reads the message, but code decides: a slot is booked only when somebody in the conversation named its day and
time, in a time zone that the conversation or the lead's profile names, and the words can mean no other moment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from enum import Enum
from typing import Final

from agents.gates.reply_text import is_html, readable
from agents.hard_blocks.meetings import Refusals, begins, dates_of, days_of_times
from agents.hard_blocks.reading import read_claims
from agents.hard_blocks.source import Claim
from agents.hard_blocks.zones import lead_zone, region, zone_of, zones_written
from agents.policy import reaches
from agents.state import RunState
from schemas.codes import MeetingOutcome, Mode
from schemas.context import DraftRunContextPack, DraftRunSnapshot, Slot, Turn

# Reading stops here: what is not read is no evidence, so a huge conversation books less, never more.
CONVERSATION_CHARS_MAX: Final = 60_000
# A weekday alone means one of the next days.
WEEKDAY_DAYS_MAX: Final = 7


@dataclass(frozen=True)
class Wish:
    """The free slot that the lead has accepted; or None, and the code of the rule that said no."""

    slot: Slot | None
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """What is to become of the meeting. `BOOKED` is a plan until the reply is sent."""

    outcome: MeetingOutcome
    reason: str = ""


class _Named(Enum):
    """How the conversation names a moment; the best of its texts counts."""

    YES = 0
    AMBIGUOUS = 1
    ZONE_UNKNOWN = 2
    NO = 3


_NOT_NAMED: Final = {
    _Named.AMBIGUOUS: "ambiguous_time",
    _Named.ZONE_UNKNOWN: "zone_unknown",
    _Named.NO: "not_named",
}


# ---- the lead's words


def wished_slot(state: RunState) -> Wish:
    """The slot that the lead accepted, if every rule agrees: extracted, free, named by day and time in a known zone."""
    snapshot, extract = state.snapshot, state.extract
    if extract is None:
        return Wish(None, "overseer_failed")
    if extract.accepted_time is None:
        return Wish(None, "not_accepted" if extract.proposed_times else "no_time")
    accepted = datetime.fromisoformat(extract.accepted_time)
    slot = next((slot for slot in snapshot.free_slots if slot.starts_at == accepted), None)
    if slot is None or slot.starts_at <= snapshot.now:
        return Wish(None, "not_free")
    texts = list(_texts(snapshot))
    zone = _known_zone(snapshot, extract.timezone, slot.starts_at, [text for _, text in texts])
    best = _Named.NO
    for turn, text in texts:
        best = min(best, _names(text, turn, slot.starts_at, zone, snapshot), key=_rank)
        if best is _Named.YES:
            return Wish(slot)
    return Wish(None, _NOT_NAMED[best])


def _rank(named: _Named) -> int:
    return int(named.value)


def _texts(snapshot: DraftRunSnapshot) -> Iterator[tuple[Turn, str]]:
    """What was written in this conversation, the trigger and then the newest first, up to a limit."""
    left = CONVERSATION_CHARS_MAX
    before = [turn for turn in reversed(snapshot.conversation) if turn.message_id != snapshot.trigger.message_id]
    for turn in (snapshot.trigger, *before):
        text = (readable(turn.body) if is_html(turn.body) else turn.body)[:left]
        left -= len(text)
        yield turn, text


def _known_zone(
    snapshot: DraftRunSnapshot, extracted: str | None, moment: datetime, texts: Sequence[str]
) -> tzinfo | None:
    """The zone of times that name none: the extracted one, if the profile or a text names a zone that reads the same.

    None when nobody but the model named it.
    """
    stored = region(snapshot.profile.timezone)
    if extracted is None:
        return stored
    zone = zone_of(extracted, snapshot)
    if zone is None:
        return None
    named = [stored] if stored is not None else []
    named += [known for text in texts for known in zones_written(text, snapshot)]
    offset = moment.astimezone(zone).utcoffset()
    return zone if any(moment.astimezone(known).utcoffset() == offset for known in named) else None


def _names(text: str, turn: Turn, moment: datetime, default: tzinfo | None, snapshot: DraftRunSnapshot) -> _Named:
    """Whether `text` names `moment` by day and time. Days count from when it was written; a declined time is none."""
    source, claims = read_claims(text)
    only = {claim.zone for claim in claims if claim.zone}
    if len(only) == 1:
        default = zone_of(only.pop(), snapshot) or default
    best, refusals = _Named.NO, Refusals(source)
    for time, day in days_of_times(source, claims):
        if day is None or refusals.declines(time):
            continue
        zone = zone_of(time.zone, snapshot) if time.zone else default
        if zone is None:
            best = min(best, _Named.ZONE_UNKNOWN, key=_rank)
        elif _is_moment(day, time.minute, zone, moment, turn.received_at):
            sure = not _is_ambiguous(moment, zone) and not _has_two_readings(day, turn.received_at.astimezone(zone))
            best = min(best, _Named.YES if sure else _Named.AMBIGUOUS, key=_rank)
    return best


def _is_moment(day: Claim, minute: int, zone: tzinfo, moment: datetime, written_at: datetime) -> bool:
    local, written = moment.astimezone(zone), written_at.astimezone(zone).date()
    if (local.hour * 60 + local.minute, local.second) != (minute, 0):
        return False
    if day.days or day.relative is not None:
        return local.date() in _days(day, written)
    return local.weekday() == day.weekday and 0 <= (local.date() - written).days <= WEEKDAY_DAYS_MAX


def _days(day: Claim, written: date) -> set[date]:
    """The calendar days that a date may mean; a weekday beside it must agree."""
    return {meant for meant in dates_of(day, written) if day.weekday in (None, meant.weekday())}


def _is_ambiguous(moment: datetime, zone: tzinfo) -> bool:
    """Whether the clock of the zone shows this time twice that day, because it was put back (PEP 495)."""
    local = moment.astimezone(zone)
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def _has_two_readings(day: Claim, written_at: datetime) -> bool:
    """Whether a date such as 3/4 may mean two days to come."""
    return sum(meant >= written_at.date() for meant in _days(day, written_at.date())) > 1


# ---- texts of ours


def slots_named(text: str, snapshot: DraftRunSnapshot) -> list[list[Slot]]:
    """For each time of the text that is the begin of free slots of the run, those that it may mean.

    Read as the hard block on meeting times reads it: a time without a day may be that of any day.
    """
    source, claims = read_claims(text)
    default = _zone_of_text(claims, snapshot)
    found, refusals = [], Refusals(source)
    for time, day in days_of_times(source, claims):
        zone = zone_of(time.zone, snapshot) if time.zone else default
        if zone is not None and not refusals.declines(time):
            meant = [slot for slot in snapshot.free_slots if begins(slot, day, time.minute, zone, snapshot.now)]
            found += [meant] if meant else []
    return found


def _zone_of_text(claims: Sequence[Claim], snapshot: DraftRunSnapshot) -> tzinfo:
    named = {claim.zone for claim in claims if claim.zone}
    return (zone_of(named.pop(), snapshot) if len(named) == 1 else None) or lead_zone(snapshot)


def names_slot(text: str, starts_at: datetime, snapshot: DraftRunSnapshot) -> bool:
    """Whether `text` names the free slot that begins at `starts_at`."""
    return any(slot.starts_at == starts_at for meant in slots_named(text, snapshot) for slot in meant)


# ---- what becomes of it


def gate_decides(snapshot: DraftRunSnapshot, pack: DraftRunContextPack) -> bool:
    """Whether the gate must agree to a booking: switched on, and its context did not fail."""
    return snapshot.settings.followup_booking_gate_enabled and pack.fallback is None


def planned(state: RunState, wish: Wish, *, held: bool) -> Plan:
    """What the rules and, where it decides, the gate make of the lead's wish. `held`: the slot is this draft's."""
    snapshot, gate = state.snapshot, state.gate
    if state.extract is None:
        return Plan(MeetingOutcome.ERROR, wish.reason)
    if wish.slot is None:
        return Plan(MeetingOutcome.CLARIFICATION, wish.reason)
    if not held and snapshot.mode is not Mode.LEGACY_AUTO_REPLY:
        return Plan(MeetingOutcome.TASK_CREATED, "slot_taken")
    decides = gate_decides(snapshot, state.pack)
    if gate is None:
        return Plan(MeetingOutcome.ERROR, "gate_failed") if decides else Plan(MeetingOutcome.BOOKED)
    if gate.decision == "approve":
        return Plan(MeetingOutcome.BOOKED)
    if state.text == gate.text and (decides or not names_slot(state.text, wish.slot.starts_at, snapshot)):
        return Plan(MeetingOutcome.CLARIFICATION, "gate_revised")
    return Plan(MeetingOutcome.TASK_CREATED, "gate_objected") if decides else Plan(MeetingOutcome.BOOKED)


def keeps_booking(plan: Plan, wish: Wish) -> bool:
    """Whether the draft's text still agrees to the slot, so that a person may send it and book by that."""
    return wish.slot is not None and plan.outcome is not MeetingOutcome.CLARIFICATION


def decided(plan: Plan, snapshot: DraftRunSnapshot, pack: DraftRunContextPack, confidence: float | None) -> Plan:
    """The plan once the confidence in the chosen text is known: with the gate on it must reach `booking_threshold`."""
    if plan.outcome is not MeetingOutcome.BOOKED or not gate_decides(snapshot, pack):
        return plan
    if reaches(confidence, snapshot.policy.booking_threshold):
        return plan
    return Plan(MeetingOutcome.TASK_CREATED, "below_booking_threshold")
