"""Which slot a lead accepted: only one that was named by day and time, in a known zone, and that can mean no other."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agents.booking import Plan, decided, names_slot, planned, slots_named, wished_slot
from agents.context import fallback_pack
from agents.state import RunState
from schemas.answers import MeetingExtract, MeetingGate
from schemas.codes import MeetingOutcome, Mode
from schemas.context import DraftRunContextPack, DraftRunSnapshot, Profile, Slot, Turn
from schemas.settings import PolicyRules, WorkspaceSettings
from tests.unit.runs import snapshot

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # a Monday; 10:00 in Berlin
TEN = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)  # Tuesday, 10:00 in Berlin
LEAD_IN_BERLIN = Profile(name="Ann", timezone="Europe/Berlin")


def slot(starts_at: datetime, number: int = 1) -> Slot:
    return Slot(id=number, starts_at=starts_at, ends_at=starts_at + timedelta(minutes=30))


def turn(body: str, author: str = "lead", at: datetime = NOW, number: int = 1) -> Turn:
    return Turn(message_id=f"m{number}", author=author, body=body, received_at=at)


def state(
    body: str,
    accepted: str | None = TEN.isoformat(),
    zone: str | None = "Europe/Berlin",
    *,
    before: list[Turn] | None = None,
    proposed: list[str] | None = None,
    **changes: Any,
) -> RunState:
    """A run whose overseer read `accepted` from the message `body`."""
    fields: dict[str, Any] = {
        "now": NOW,
        "trigger": turn(body, number=9),
        "conversation": before or [],
        "profile": Profile(name="Ann"),
        "free_slots": [slot(TEN), slot(TEN + timedelta(hours=1), 2)],
    }
    extract = MeetingExtract(proposed_times=proposed or [], timezone=zone, accepted_time=accepted)
    return RunState(snapshot=snapshot(**(fields | changes)), extract=extract)


def reason(run: RunState) -> str:
    wish = wished_slot(run)
    return "booked" if wish.slot is not None else wish.reason


# ---- the lead's words


@pytest.mark.parametrize(
    ("body", "zone"),
    [
        ("Tuesday at 10:00 Berlin time is fine.", "Europe/Berlin"),
        ("I am in Europe/Berlin. Let us say tomorrow at 10:00.", "Europe/Berlin"),
        ("Passt, Dienstag um 10 Uhr. Ich bin in Berlin.", "Europe/Berlin"),
        ("3 March 2026, 10:00 CET works", "Europe/Berlin"),
        ("2026-03-03T09:00:00Z please", "UTC"),
        ("2026-03-03T10:00:00+01:00 please", None),
        ("Tuesday, 3 March at 9:00 UTC", None),
        ("I could do 2026-03-03T09:00:00Z.", "UTC"),
        ("So 3 March at 9:00 UTC it is", None),
        ("Di., 3.3.2026 um 10 Uhr, Europe/Berlin", "Europe/Berlin"),
        ("mardi 3 mars à 10h00, heure de Paris (Europe/Paris)", "Europe/Paris"),
    ],
)
def test_a_time_that_the_lead_names_with_day_and_zone_is_booked(body: str, zone: str | None) -> None:
    """In the languages people write, with the zone written beside it or elsewhere in the message."""
    assert reason(state(body, zone=zone)) == "booked"


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (state("Tuesday 10:00 Berlin time", None), "no_time"),
        (state("Could you do Tuesday 10:00?", None, proposed=[TEN.isoformat()]), "not_accepted"),
        (state("Tuesday 12:00 Berlin time", (TEN + timedelta(hours=2)).isoformat()), "not_free"),
        (state("Tuesday 10:00 is fine"), "zone_unknown"),
        (state("Tuesday 10:00 is fine", zone="Moon/Base"), "zone_unknown"),
        (state("Tuesday 10:00 is fine", zone=None), "zone_unknown"),
        (state("Tuesday 10:00 New York time"), "not_named"),
        (state("I am in Berlin, whatever suits you"), "not_named"),
        (state("I am in Berlin, 10:00 is fine"), "not_named"),
        (state("I am in Berlin. Tuesday at 11:00."), "not_named"),
        (state("I am in Berlin. Wednesday at 10:00."), "not_named"),
        (state("I am in Berlin. Unfortunately Tuesday at 10:00 does not work."), "not_named"),
        (state("Wednesday, 3 March 2026 at 10:00 Berlin time"), "not_named"),
        (state("Tuesday 10:00 Berlin time", "9999-12-31T23:59:59-23:59"), "not_free"),
        (state("Tuesday 10:00 Berlin time", "0001-01-01T00:00:00+14:00"), "not_free"),
    ],
)
def test_where_a_rule_says_no_nothing_is_booked_and_the_code_says_why(run: RunState, why: str) -> None:
    """Whatever the model extracted: without the lead's or our own words for it there is no booking."""
    assert reason(run) == why


def test_a_time_that_we_offered_may_be_accepted_in_other_words() -> None:
    """The offer named day, time and zone; a time we turned down was no offer."""
    offer = turn("We could do Tuesday, 3 March at 10:00 (Europe/Berlin) or 11:00.", "ai", number=2)
    no_offer = turn("Tuesday at 10:00 (Europe/Berlin) is not free, I am afraid.", "ai", number=2)
    assert reason(state("The first one suits me.", before=[offer])) == "booked"
    assert reason(state("The first one suits me.", before=[no_offer])) == "not_named"


def test_days_count_from_when_they_were_written() -> None:
    """ "Tomorrow" of last week is not tomorrow; a weekday alone means one of the next days."""
    last_week = turn("Tomorrow at 10:00, Berlin time", at=NOW - timedelta(days=7), number=2)
    assert reason(state("Yes please", before=[last_week])) == "not_named"
    in_three_weeks = TEN + timedelta(days=21)
    run = state("Tuesday at 10:00, I am in Berlin", in_three_weeks.isoformat(), free_slots=[slot(in_three_weeks)])
    assert reason(run) == "not_named"


def test_a_date_with_two_readings_is_asked_about() -> None:
    """4/3 is the 4th of March or the 3rd of April."""
    fourth = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
    run = state("on 4/3/2026 at 10:00 Berlin time", fourth.isoformat(), free_slots=[slot(fourth)])
    assert reason(run) == "ambiguous_time"
    clear = state("on Wed 4/3/2026 at 10:00 Berlin time", fourth.isoformat(), free_slots=[slot(fourth)])
    assert reason(clear) == "booked"


def test_the_stored_zone_of_the_lead_is_known() -> None:
    """A zone that reads the same at that moment is the same; another one that only the model named is not known."""
    assert reason(state("Tuesday 10:00 is fine", profile=LEAD_IN_BERLIN)) == "booked"
    assert reason(state("Tuesday 10:00 is fine", zone=None, profile=LEAD_IN_BERLIN)) == "booked"
    assert reason(state("Tuesday 10:00 is fine", zone="Europe/Vienna", profile=LEAD_IN_BERLIN)) == "booked"
    assert reason(state("Tuesday 10:00 is fine", zone="Asia/Tokyo", profile=LEAD_IN_BERLIN)) == "zone_unknown"


# ---- daylight saving


def test_a_time_that_the_clock_shows_twice_is_asked_about() -> None:
    """25 October 2026, 2:30 in Berlin is two moments; with an offset it is one."""
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    both = [slot(first), slot(first + timedelta(hours=1), 2)]
    for moment in (slots.starts_at for slots in both):
        common: dict[str, Any] = {
            "free_slots": both,
            "profile": LEAD_IN_BERLIN,
            "now": datetime(2026, 10, 24, tzinfo=UTC),
        }
        at = turn("25 October 2026 at 2:30", at=common["now"], number=9)
        assert reason(state("", moment.isoformat(), **common, trigger=at)) == "ambiguous_time"
    named = turn("25 October 2026 at 2:30 CEST", at=datetime(2026, 10, 24, tzinfo=UTC), number=9)
    assert reason(state("", first.isoformat(), **common, trigger=named)) == "booked"


def test_a_time_that_the_clock_skips_is_not_booked() -> None:
    """29 March 2026, 2:30 in Berlin does not exist, whatever offset the model puts beside it."""
    gap = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    around = [slot(gap - timedelta(hours=1)), slot(gap, 2)]
    for accepted in ("2026-03-29T02:30:00+01:00", "2026-03-29T02:30:00+02:00"):
        at = turn("29 March 2026 at 2:30", number=9)
        run = state("", accepted, free_slots=around, profile=LEAD_IN_BERLIN, trigger=at)
        assert reason(run) == "not_named"


def test_an_hour_lost_in_conversion_is_not_booked() -> None:
    """A model that takes summer time for winter time names a slot one hour off; the lead's own words forbid it."""
    right = datetime(2026, 6, 2, 8, 0, tzinfo=UTC)
    now = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
    common: dict[str, Any] = {
        "free_slots": [slot(right), slot(right + timedelta(hours=1), 2)],
        "profile": LEAD_IN_BERLIN,
        "now": now,
        "trigger": turn("Tuesday, 2 June at 10:00", at=now, number=9),
    }
    assert reason(state("", "2026-06-02T10:00:00+01:00", **common)) == "not_named"
    assert reason(state("", "2026-06-02T10:00:00+02:00", **common)) == "booked"


ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/St_Johns",
    "Africa/Casablanca",
]
QUARTERS = st.integers(0, 4 * 24 * 500).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * n))


@settings(max_examples=300)
@given(QUARTERS, st.sampled_from(ZONES), st.integers(-24, 24), st.sampled_from(ZONES))
def test_what_is_booked_reads_in_the_leads_zone_as_the_lead_wrote_it(
    written: datetime, zone: str, quarters_off: int, said_by_model: str
) -> None:
    """Whatever moment and zone the model names: the booked slot is the one moment that the lead's words mean."""
    lead, now = ZoneInfo(zone), written - timedelta(days=2)
    local = written.astimezone(lead)
    offered = [slot(written + timedelta(minutes=15 * n), n + 30) for n in range(-24, 25)]
    accepted = (written + timedelta(minutes=15 * quarters_off)).isoformat()
    body = f"{local:%d.%m.%Y}, {local:%H:%M} Uhr"
    run = state("", accepted, said_by_model, free_slots=offered, now=now,
                profile=Profile(timezone=zone), trigger=turn(body, at=now, number=9))  # fmt: skip
    booked = wished_slot(run).slot
    if booked is not None:
        assert booked.starts_at == written
        assert booked.starts_at.astimezone(lead).replace(tzinfo=None) == local.replace(tzinfo=None)
        assert local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset()


@given(QUARTERS, st.sampled_from(ZONES))
def test_what_the_lead_means_and_the_model_read_is_booked(written: datetime, zone: str) -> None:
    """With the right moment and zone, every time that exists once is booked, on days with a change of the clock too."""
    lead, now = ZoneInfo(zone), written - timedelta(days=2)
    local = written.astimezone(lead)
    assume(local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset())
    run = state("", written.isoformat(), zone, free_slots=[slot(written)], now=now, profile=Profile(timezone=zone),
                trigger=turn(f"{local:%d.%m.%Y}, {local:%H:%M} Uhr", at=now, number=9))  # fmt: skip
    assert wished_slot(run).slot == slot(written)


# ---- what becomes of it


def gated(run: RunState, gate: MeetingGate | None, *, enabled: bool = True, failed: bool = False) -> RunState:
    found = run.snapshot.model_copy(
        update={"settings": WorkspaceSettings(followup_booking_gate_enabled=enabled), "policy": PolicyRules(revision=1)}
    )
    text = gate.text if gate is not None and gate.text else "That suits us."
    pack = fallback_pack("query_failed") if failed else DraftRunContextPack()
    return replace(run, snapshot=found, gate=gate, text=text, pack=pack)


AGREED = state("Tuesday at 10:00 Berlin time is fine.")
APPROVE = MeetingGate(decision="approve", text=None, reason="")
OBJECT = MeetingGate(decision="revise", text=None, reason="")
ASK = MeetingGate(decision="revise", text="Which time zone is that?", reason="")
REWORD = MeetingGate(decision="revise", text="Tuesday, 3 March at 10:00 Berlin time it is.", reason="")


@pytest.mark.parametrize(
    ("gate", "enabled", "failed", "plan"),
    [
        (APPROVE, False, False, Plan(MeetingOutcome.BOOKED)),
        (None, False, False, Plan(MeetingOutcome.BOOKED)),
        (OBJECT, False, False, Plan(MeetingOutcome.BOOKED)),
        (ASK, False, False, Plan(MeetingOutcome.CLARIFICATION, "gate_revised")),
        (REWORD, False, False, Plan(MeetingOutcome.BOOKED)),
        (APPROVE, True, False, Plan(MeetingOutcome.BOOKED)),
        (None, True, False, Plan(MeetingOutcome.ERROR, "gate_failed")),
        (OBJECT, True, False, Plan(MeetingOutcome.TASK_CREATED, "gate_objected")),
        (ASK, True, False, Plan(MeetingOutcome.CLARIFICATION, "gate_revised")),
        (REWORD, True, False, Plan(MeetingOutcome.CLARIFICATION, "gate_revised")),
        (None, True, True, Plan(MeetingOutcome.BOOKED)),
        (OBJECT, True, True, Plan(MeetingOutcome.BOOKED)),
    ],
)
def test_the_gate_decides_only_where_it_is_on_and_its_context_did_not_fail(
    gate: MeetingGate | None, enabled: bool, failed: bool, plan: Plan
) -> None:
    """Off, or with a failed bundle: the rules alone, unless the new text no longer names the time."""
    run = gated(AGREED, gate, enabled=enabled, failed=failed)
    assert planned(run, wished_slot(run), held=True) == plan


def test_without_a_slot_the_lead_is_asked_or_a_person_is() -> None:
    """No accepted time: the reply asks. A slot that another run has: a person. No answer of the overseer: an error."""
    vague = state("Any time is fine", None)
    assert planned(vague, wished_slot(vague), held=False) == Plan(MeetingOutcome.CLARIFICATION, "no_time")
    assert planned(AGREED, wished_slot(AGREED), held=False) == Plan(MeetingOutcome.TASK_CREATED, "slot_taken")
    silent = replace(AGREED, extract=None)
    assert planned(silent, wished_slot(silent), held=False) == Plan(MeetingOutcome.ERROR, "overseer_failed")
    legacy = replace(AGREED, snapshot=AGREED.snapshot.model_copy(update={"mode": Mode.LEGACY_AUTO_REPLY}))
    assert planned(legacy, wished_slot(legacy), held=False).outcome is MeetingOutcome.BOOKED


@pytest.mark.parametrize(
    ("confidence", "enabled", "outcome"),
    [
        (0.80, True, MeetingOutcome.BOOKED),
        (0.79, True, MeetingOutcome.TASK_CREATED),
        (None, True, MeetingOutcome.TASK_CREATED),
        (0.10, False, MeetingOutcome.BOOKED),
    ],
)
def test_with_the_gate_on_the_confidence_must_reach_the_pinned_threshold(
    confidence: float | None, enabled: bool, outcome: MeetingOutcome
) -> None:
    """Equal passes; none never does; off, it is not asked."""
    run = gated(AGREED, APPROVE, enabled=enabled)
    assert decided(Plan(MeetingOutcome.BOOKED), run.snapshot, run.pack, confidence).outcome is outcome


@pytest.mark.parametrize(
    "body",
    [
        "Monday 11:00 " * 5_000,
        "Monday at 10 a.m. " * 4_000,
        "at 10:00" + " " * 59_000 + "x tomorrow",
        ".\n11:00 " * 9_000,
    ],
    ids=["no end of a sentence", "points within times", "a day far behind a time", "a sentence each"],
)
def test_a_message_full_of_times_is_read_in_linear_time(body: str) -> None:
    """What a lead may send in 64 KB never holds up a worker's event loop."""
    began = time.process_time()
    wished_slot(state(body[:65_536]))
    assert time.process_time() - began < 2.0


# ---- texts of ours


def named(text: str, found: DraftRunSnapshot) -> list[list[int]]:
    return [[slot.id for slot in meant] for meant in slots_named(text, found)]


def test_the_slots_a_text_names_are_those_the_hard_block_lets_it_name() -> None:
    """By begin, in the zone that the text or the lead's profile gives; a time without a day may be any day's."""
    found = AGREED.snapshot.model_copy(update={"free_slots": [slot(TEN), slot(TEN + timedelta(days=1), 2)]})
    assert named("Tuesday, 3 March at 10:00 Berlin time?", found) == [[1]]
    assert named("At 10:00 Berlin time?", found) == [[1, 2]]
    assert named("Until 10:30 Berlin time?", found) == []
    assert named("Tuesday at 10:00 Berlin time is no longer free.", found) == []
    assert names_slot("Tuesday at 10:00 Berlin time.", TEN, found)
    assert not names_slot("Wednesday at 10:00 Berlin time.", TEN, found)
