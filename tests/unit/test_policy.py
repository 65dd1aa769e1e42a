"""Policy: a draft is sent by itself only when nothing speaks against it, at the right hour, and everybody can see
why."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.policy import (
    Decision,
    Reason,
    RevisionFacts,
    SendFacts,
    best_iteration,
    business_hours,
    decide_action,
    due_at,
    nearest_flip,
    reaches,
    revision_gate,
)
from agents.state import Judged
from schemas.answers import Evaluation
from schemas.codes import Action, Mode, OutcomeStatus, RevisionOutcome
from schemas.settings import POLICY_SETTINGS, BusinessHours, WorkspaceSettings, under_policy, wrong_rules

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # a Monday
CONFIDENT = SendFacts(
    mode=Mode.AI_AUTO_SEND, confidence=0.95, threshold=0.9, outcome=RevisionOutcome.NOT_NEEDED, now=NOW, due=NOW
)
DOUBTFUL = RevisionFacts(
    superseded=False,
    mode=Mode.AI_AUTO_SEND,
    globally_disabled=False,
    workspace_enabled=True,
    hard_blocked=False,
    confidence=0.5,
    threshold=0.9,
    over_budget=False,
)
DOUBTS: dict[str, Any] = {
    "hard_blocks": ("amount_not_in_context",),
    "auto_send_disabled": True,
    "newer_elsewhere": True,
    "too_old": True,
    "attachments": True,
    "forged_sender": True,
    "has_adapter": False,
    "has_recipient": False,
    "rate_limited": True,
    "due": None,
    "confidence": 0.89,
}
SENDABLE = ("not_needed", "applied", "disabled_globally", "disabled_for_workspace")
MINUTES = 4 * 366 * 24 * 60  # four years
HOURS = {"days": [0, 1, 2, 3, 4], "start": "09:00", "end": "17:00"}


def hours(**changes: Any) -> WorkspaceSettings:
    return WorkspaceSettings(business_hours=HOURS | changes, timezone="Europe/Berlin")


def judged(iteration: int, confidence: float | None) -> Judged:
    evaluation = None if confidence is None else Evaluation(confidence=confidence, reasons=[], categories=[])
    return Judged(iteration, f"text {iteration}", evaluation)


# ---- revision


def test_a_doubtful_draft_may_be_revised() -> None:
    """Automatic mode, below the threshold, nothing disabled, nothing blocked, money left: eligible."""
    assert revision_gate(DOUBTFUL) is None
    assert revision_gate(replace(DOUBTFUL, confidence=0.9)) is RevisionOutcome.NOT_NEEDED


ORDER: list[tuple[dict[str, Any], RevisionOutcome]] = [
    ({"superseded": True}, RevisionOutcome.SUPERSEDED),
    ({"mode": Mode.DRAFT_ONLY}, RevisionOutcome.MODE_NOT_ELIGIBLE),
    ({"confidence": None}, RevisionOutcome.ERROR),
    ({"globally_disabled": True}, RevisionOutcome.DISABLED_GLOBALLY),
    ({"workspace_enabled": False}, RevisionOutcome.DISABLED_FOR_WORKSPACE),
    ({"hard_blocked": True}, RevisionOutcome.HARD_BLOCKED),
    ({"threshold": 0.4}, RevisionOutcome.NOT_NEEDED),
    ({"over_budget": True}, RevisionOutcome.OVER_BUDGET),
]


def test_the_first_outcome_that_fits_is_recorded() -> None:
    """Whatever holds at the same time, the published order of outcomes decides. All 256 combinations."""
    for chosen in product((False, True), repeat=len(ORDER)):
        holding = [entry for entry, holds in zip(ORDER, chosen, strict=True) if holds]
        facts = replace(DOUBTFUL, **{name: value for changes, _ in holding for name, value in changes.items()})
        assert revision_gate(facts) == (holding[0][1] if holding else None)


def test_the_best_text_wins_and_the_original_stays_unless_beaten() -> None:
    """Highest confidence; the earliest of equals; a text without a judgement loses to any with one."""
    assert best_iteration([judged(0, 0.7), judged(1, 0.7), judged(2, 0.6)]).iteration == 0
    assert best_iteration([judged(0, 0.7), judged(1, 0.8), judged(2, 0.8)]).iteration == 1
    assert best_iteration([judged(0, None), judged(1, 0.0)]).iteration == 1
    assert best_iteration([judged(0, None), judged(1, None)]).iteration == 0


@settings(deadline=None)
@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=4))
def test_no_iteration_is_better_than_the_best(confidences: list[float | None]) -> None:
    """No other text has a higher confidence, and none that is as good came earlier."""
    texts = [judged(iteration, confidence) for iteration, confidence in enumerate(confidences)]
    values = [-1.0 if confidence is None else confidence for confidence in confidences]
    assert best_iteration(texts).iteration == values.index(max(values))


# ---- action


def test_a_confident_draft_is_sent() -> None:
    """Nothing speaks against it: sent at once, or later when its hour has not come."""
    later = NOW + timedelta(hours=1)
    assert decide_action(CONFIDENT) == Decision(
        Action.SEND_IMMEDIATE, OutcomeStatus.SCHEDULED, (Reason.CONFIDENT,), scheduled_for=NOW
    )
    assert decide_action(replace(CONFIDENT, due=later)) == Decision(
        Action.SEND_DELAYED, OutcomeStatus.SCHEDULED, (Reason.CONFIDENT,), scheduled_for=later
    )


@pytest.mark.parametrize("outcome", list(RevisionOutcome))
def test_only_some_outcomes_let_a_draft_go_by_itself(outcome: RevisionOutcome) -> None:
    """A confident draft goes after these four outcomes; after any other a person decides, or nobody needs to."""
    decision = decide_action(replace(CONFIDENT, outcome=outcome))
    sent = decision.action is Action.SEND_IMMEDIATE
    assert sent == (outcome in SENDABLE)
    if outcome is RevisionOutcome.SUPERSEDED:
        assert decision == Decision(Action.NONE, OutcomeStatus.SUPERSEDED, (Reason.SUPERSEDED,))
    elif not sent:
        assert (decision.action, decision.status) == (Action.NEEDS_REVIEW, OutcomeStatus.AWAITING_REVIEW)


@pytest.mark.parametrize("name", DOUBTS)
def test_any_doubt_asks_a_person(name: str) -> None:
    """Each single circumstance that speaks against a send is enough, and is named."""
    decision = decide_action(replace(CONFIDENT, **{name: DOUBTS[name]}))
    assert (decision.action, decision.status) == (Action.NEEDS_REVIEW, OutcomeStatus.AWAITING_REVIEW)
    assert decision.reasons
    assert decision.scheduled_for is None


def test_all_doubts_are_named() -> None:
    """The reasons hold everything that speaks against a send, the confidence first, each hard block by its rule."""
    decision = decide_action(replace(CONFIDENT, **DOUBTS))
    assert decision.reasons[:3] == (Reason.BELOW_THRESHOLD, Reason.HARD_BLOCKED, "amount_not_in_context")
    assert len(decision.reasons) == len(DOUBTS) + 1


@pytest.mark.parametrize(
    ("mode", "action", "status", "reason"),
    [
        (Mode.LEGACY_AUTO_REPLY, Action.NONE, OutcomeStatus.NOT_SENT, Reason.LEGACY_MODE),
        (Mode.DRAFT_ONLY, Action.NEEDS_REVIEW, OutcomeStatus.AWAITING_REVIEW, Reason.DRAFT_ONLY),
        (Mode.OFF, Action.NONE, OutcomeStatus.NOT_SENT, Reason.MODE_OFF),
    ],
)
def test_other_modes_never_send(mode: Mode, action: Action, status: OutcomeStatus, reason: Reason) -> None:
    """Legacy leaves the reply to the legacy system, draft-only always asks a person, off does nothing."""
    facts = replace(CONFIDENT, mode=mode, outcome=RevisionOutcome.MODE_NOT_ELIGIBLE)
    assert decide_action(facts) == Decision(action, status, (reason,))


def test_a_reply_that_nobody_needs_any_more_bothers_nobody() -> None:
    """Superseded, already answered or suppressed: no send and no review, in every mode."""
    for mode in Mode:
        facts = replace(CONFIDENT, mode=mode)
        assert decide_action(replace(facts, suppressed=True)).status is OutcomeStatus.SUPPRESSED
        assert decide_action(replace(facts, superseded=True)).status is OutcomeStatus.SUPERSEDED
        assert decide_action(replace(facts, answered=True)).reasons == (Reason.ALREADY_ANSWERED,)


@settings(deadline=None)
@given(
    st.fixed_dictionaries({name: st.sampled_from([getattr(CONFIDENT, name), value]) for name, value in DOUBTS.items()}),
    st.sampled_from(Mode),
    st.sampled_from(RevisionOutcome),
)
def test_a_send_needs_everything_in_order(doubts: dict[str, Any], mode: Mode, outcome: RevisionOutcome) -> None:
    """No combination sends unless mode, confidence, outcome and every circumstance allow it."""
    facts = replace(CONFIDENT, mode=mode, outcome=outcome, **doubts)
    sends = decide_action(facts).action in (Action.SEND_IMMEDIATE, Action.SEND_DELAYED)
    allowed = mode is Mode.AI_AUTO_SEND and outcome in SENDABLE
    assert sends == (allowed and all(doubts[name] == getattr(CONFIDENT, name) for name in DOUBTS))


def test_a_confidence_equal_to_the_threshold_passes() -> None:
    """Equal is enough; none at all never is."""
    assert reaches(0.9, 0.9)
    assert not reaches(0.8999, 0.9)
    assert not reaches(None, 0.0)


# ---- when


def test_without_hours_a_draft_is_due_after_the_delay() -> None:
    """No delay: now. A delay that makes no sense is none."""
    assert due_at(NOW, WorkspaceSettings(), None) == NOW
    assert due_at(NOW, WorkspaceSettings(send_delay_s=90), None) == NOW + timedelta(seconds=90)
    assert due_at(NOW, WorkspaceSettings(send_delay_s=-5), None) == NOW
    assert due_at(NOW, WorkspaceSettings(send_delay_s=float("nan")), None) == NOW
    assert due_at(NOW, WorkspaceSettings(send_delay_s=1e300), None) == NOW + timedelta(days=30)


@pytest.mark.parametrize(
    ("now", "zone", "due"),
    [
        ("2026-03-02T09:00", "Europe/Berlin", "2026-03-02T09:00"),  # Monday 10:00: open
        ("2026-03-02T15:59", "Europe/Berlin", "2026-03-02T15:59"),
        ("2026-03-02T16:00", "Europe/Berlin", "2026-03-03T08:00"),  # 17:00: closed
        ("2026-03-06T17:00", "Europe/Berlin", "2026-03-09T08:00"),  # Friday evening to Monday
        ("2026-03-27T18:00", "Europe/Berlin", "2026-03-30T07:00"),  # summer time began on Sunday
        ("2026-10-23T18:00", "Europe/Berlin", "2026-10-26T08:00"),  # and ended on Sunday
        ("2026-03-02T09:00", "America/New_York", "2026-03-02T14:00"),  # the lead's zone counts
        ("2026-03-02T03:00", "Asia/Tokyo", "2026-03-02T03:00"),
        ("2026-03-02T09:00", "Nowhere/At_all", "2026-03-02T09:00"),  # unknown: the workspace's
    ],
)
def test_business_hours_are_the_leads(now: str, zone: str, due: str) -> None:
    """Hours are clock hours where the lead is, also over a weekend on which the clocks change."""
    assert due_at(_utc(now), hours(), zone) == _utc(due)


def _utc(written: str) -> datetime:
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


def test_holidays_nights_and_delays_count() -> None:
    """Holidays are skipped, hours may pass midnight, and the delay comes before the hours."""
    assert due_at(NOW, hours(holidays=["2026-03-02", "2026-03-03"]), None) == _utc("2026-03-04T08:00")
    assert due_at(NOW, hours(holidays=["03-02"]), None) == _utc("2026-03-03T08:00")
    assert due_at(_utc("2027-03-02T07:00"), hours(holidays=["03-02"]), None) == _utc("2027-03-03T08:00")
    night = hours(start="22:00", end="06:00", days=[6])
    assert due_at(_utc("2026-03-02T02:00"), night, None) == _utc("2026-03-02T02:00")
    assert due_at(_utc("2026-03-02T09:00"), night, None) == _utc("2026-03-08T21:00")
    delayed = hours().model_copy(update={"send_delay_s": 8 * 3600.0})
    assert due_at(NOW, delayed, None) == _utc("2026-03-03T08:00")


def test_a_workspace_that_never_opens_asks_a_person() -> None:
    """No business hour within the horizon gives no moment, and the decision says so."""
    assert due_at(NOW, hours(days=[]), None) is None
    assert decide_action(replace(CONFIDENT, due=None)).reasons == (Reason.NO_BUSINESS_HOURS,)


def test_hours_that_make_no_sense_are_the_default_ones() -> None:
    """A stored value that cannot be read is never an error, and never means any time."""
    assert business_hours(WorkspaceSettings(business_hours={"start": "soon"})) == BusinessHours()
    assert business_hours(WorkspaceSettings()) is None
    for holiday in ("2026-02-30", "soon", "13-01", "2026-1-1", ""):
        with pytest.raises(ValidationError):
            BusinessHours(holidays=[holiday])
    assert BusinessHours(holidays=["02-29", "2026-12-25"]).holidays == ["02-29", "2026-12-25"]


@settings(deadline=None)
@given(
    st.integers(0, MINUTES).map(lambda minutes: NOW + timedelta(minutes=minutes)),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
    st.times(),
    st.times(),
    st.sets(st.integers(0, 6), min_size=1),
)
def test_a_draft_is_never_due_outside_the_hours(
    now: datetime, zone: str, start: time, end: time, days: set[int]
) -> None:
    """Whatever zone and hours, the due moment is not in the past and lies in an open hour of an open day."""
    stored = {"days": sorted(days), "start": start.isoformat(), "end": end.isoformat()}
    due = due_at(now, WorkspaceSettings(business_hours=stored), zone)
    assert due is not None
    assert due >= now
    local = due.astimezone(ZoneInfo(zone))
    opened = local if start < end or local.time() >= start else local - timedelta(days=1)
    skipped = local.utcoffset() != (local - timedelta(hours=2)).utcoffset()  # clock times that do not exist, or twice
    assert skipped or opened.weekday() in days
    assert skipped or (start <= local.time() < end if start < end else True)


# ---- why


@pytest.mark.parametrize(
    ("confidence", "threshold", "words"),
    [
        (0.79, 0.8, "0.79 < 0.80: +0.01, or a threshold of 0.79, would have sent"),
        (0.7999, 0.8, "0.7999 < 0.80: +0.0001, or a threshold of 0.7999, would have sent"),
        (0.9, 0.9, "0.90 >= 0.90: a threshold above 0.90, or a confidence below 0.90, would have asked a person"),
        (None, 0.9, "no confidence: a judgement of at least 0.90 would have sent"),
    ],
)
def test_the_nearest_flip_is_told(confidence: float | None, threshold: float, words: str) -> None:
    """People are told the smallest change that would have turned the decision, in exact figures."""
    assert nearest_flip(confidence, threshold) == words


# ---- rules


def test_a_policy_decides_in_place_of_the_workspace() -> None:
    """What its rules name replaces the column of that name for runs under it; the rest stays the workspace's."""
    stored = WorkspaceSettings(forbidden_phrases=["cheap"], allowed_promises=["a call"], instructions="Be brief.")
    rules = {"forbidden_phrases": ["free"], "auto_send_revision_max_iterations": 1}
    run = under_policy(stored, rules)
    assert (run.forbidden_phrases, run.auto_send_revision_max_iterations) == (["free"], 1)
    assert (run.allowed_promises, run.instructions) == (["a call"], "Be brief.")
    assert under_policy(stored, {}) is stored


@pytest.mark.parametrize(
    "wrong",
    [{"forbidden_phrases": "free"}, {"always_ask_topics": [1]}, {"auto_send_revision_max_iterations": "2"}, {"x": 1},
     {"monthly_budget_usd": 5}, {"auto_send_revision_enabled": True}],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_decides_nothing(wrong: dict[str, Any]) -> None:
    """An unknown name or a value of another type is told before it is applied, and never breaks a run."""
    assert wrong_rules(wrong) == list(wrong)
    assert under_policy(WorkspaceSettings(), wrong) == WorkspaceSettings()
    assert wrong_rules({name: getattr(WorkspaceSettings(), name) for name in POLICY_SETTINGS}) == []
