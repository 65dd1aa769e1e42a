"""The gates of an explanation: for each the rule, value, comparison and policy revision, and what would have turned it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.policy import Reason
from app.cli.gates import Gate, flip_of, gates

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DRAFT: dict[str, Any] = {
    "mode": "AI_AUTO_SEND",
    "policy_revision": 7,
    "run_created_at": NOW,
    "received_at": NOW - timedelta(seconds=10),
    "hard_blocks": [],
    "auto_send_threshold": 0.8,
    "auto_send_confidence": 0.79,
    "auto_send_reason": "below_threshold",
    "chosen_iteration": 0,
    "revision_outcome": "disabled_for_workspace",
    "auto_send_revision_iterations": 0,
    "booking_threshold": 0.8,
}
PINNED: dict[str, Any] = {
    "settings": {"message_age_s_max": 60, "auto_send_revision_enabled": False, "followup_booking_gate_enabled": True},
    "recipient": "a@example.com",
    "forged_sender": False,
}


def evaluation(confidence: float, iteration: int = 0) -> dict[str, Any]:
    return {"stage": "auto_send_evaluation", "iteration": iteration, "payload": {"confidence": confidence}}


def final(*reasons: str) -> dict[str, Any]:
    return {"stage": "final_draft", "iteration": 0, "payload": {"reasons": list(reasons)}}


def found(*artifacts: dict[str, Any], **changes: Any) -> list[Gate]:
    return gates(DRAFT | changes, PINNED, artifacts, None)


def test_every_gate_tells_all_of_it() -> None:
    """Rule, value, comparison and the revision that decided; and the nearest flip wherever something was compared."""
    told = found(evaluation(0.79), final("below_threshold"))
    assert all(gate.rule and gate.value and gate.comparison for gate in told)
    assert {gate.policy_revision for gate in told} == {7}
    assert all(gate.nearest_flip for gate in told if gate.passed is not None)


def test_the_only_gate_that_stopped_it_tells_how_near_it_was() -> None:
    """The one number that would have sent it, at the top of the explanation."""
    told = found(evaluation(0.79), final("below_threshold"))
    assert flip_of(told) == "confidence: 0.79 < 0.80: +0.01, or a threshold of 0.79, would have sent"
    revised = found(evaluation(0.5), evaluation(0.78, 1), evaluation(0.6, 2), final("below_threshold"))
    assert flip_of(revised).startswith("confidence, iteration 1: 0.78 < 0.80: +0.02")
    sent = found(evaluation(0.5), evaluation(0.9, 1), final("confident"), auto_send_reason="confident")
    assert flip_of(sent) == "nothing stood against sending"


@pytest.mark.parametrize("reason", ["attachments", "rate_limited", "no_business_hours", "auto_send_disabled"])
def test_each_circumstance_that_stood_is_a_gate(reason: str) -> None:
    """It is marked, with what would have turned it; with the confidence it is one of two."""
    told = found(evaluation(0.9), final(reason), auto_send_reason=reason)
    (stopped,) = [gate for gate in told if gate.passed is False]
    assert stopped.value == reason
    assert flip_of(told) == f"{stopped.gate}: {stopped.nearest_flip}"
    both = found(evaluation(0.79), final("below_threshold", reason))
    assert flip_of(both).startswith("2 gates stopped it, each would have to turn: confidence, ")


def test_every_reason_of_a_review_is_told_by_some_gate() -> None:
    """No code of the decision is missing in its explanation."""
    elsewhere = {"superseded", "already_answered", "lead_suppressed", "mode_off", "legacy_auto_reply", "draft_only",
                 "no_confidence", "below_threshold", "hard_blocked", "too_old", "forged_sender", "no_recipient",
                 "over_budget", "confident"}  # fmt: skip
    for reason in Reason:
        told = found(evaluation(0.9), final(reason.value), auto_send_reason=reason.value)
        if reason.value not in elsewhere and not reason.value.startswith("revision_"):
            assert [gate.value for gate in told if gate.passed is False] == [reason.value], reason


def test_what_happened_after_the_decision_is_told() -> None:
    """A send that was stopped at the last moment says by what."""
    told = found(evaluation(0.9), final("confident"), auto_send_reason="newer_inbound")
    assert flip_of(told) == "since then: without newer_inbound"
    assert gates(DRAFT, None, [], None)[-1].gate == "revision"
