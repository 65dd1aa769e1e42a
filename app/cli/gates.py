"""The gates of one draft, from what is recorded: rule, value, comparison, policy revision, nearest flip. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from agents.policy import Reason, nearest_flip
from schemas.codes import Mode, RevisionOutcome, Stage
from schemas.limits import REVISION_ITERATIONS_MAX

Row = Mapping[str, Any]

# Whatever else stood against a send when it was decided: gate, rule, and what would have turned it.
_CIRCUMSTANCES: Final[dict[Reason, tuple[str, str, str]]] = {
    Reason.AUTO_SEND_DISABLED: ("switch", "AUTO_SEND is on, for all and in the worker", "the switch on"),
    Reason.QUARANTINED: ("quarantine", "decided after the last restore", "a draft from after the restore"),
    Reason.NEWER_ELSEWHERE: ("elsewhere", "the lead wrote nothing newer elsewhere", "no newer message elsewhere"),
    Reason.ATTACHMENTS: ("attachments", "the message has none", "a message without attachments"),
    Reason.NO_ADAPTER: ("adapter", "the channel has a way to send", "an adapter in the workspace's channels"),
    Reason.RATE_LIMITED: ("replies", "fewer than auto_replies_per_hour_max and _per_day_max", "one reply fewer"),
    Reason.NO_BUSINESS_HOURS: ("hours", "a business hour comes", "business_hours with an open day"),
    Reason.MEETING_ALREADY_BOOKED: ("other booking", "no other run booked the meeting", "no such booking"),
    Reason.MEETING_TIME_GONE: ("slot", "the time it agrees to is still free", "a slot that is free"),
    Reason.MEETING_NOT_HELD: ("hold", "the time it agrees to is held for it", "a hold of this run"),
    Reason.BOOKING_REFUSED: ("agreed time", "it agrees to no time that was not cleared", "a time that was cleared"),
}
_REVISION_FLIPS: Final[dict[str, str]] = {
    RevisionOutcome.SUPERSEDED: "no newer message",
    RevisionOutcome.MODE_NOT_ELIGIBLE: f"mode {Mode.AI_AUTO_SEND}",
    RevisionOutcome.DISABLED_GLOBALLY: "AUTO_SEND_REVISION and AUTO_SEND on",
    RevisionOutcome.DISABLED_FOR_WORKSPACE: "auto_send_revision_enabled",
    RevisionOutcome.HARD_BLOCKED: "a text without hard block",
    RevisionOutcome.NOT_NEEDED: "a confidence below the threshold",
    RevisionOutcome.OVER_BUDGET: "a higher monthly_budget_usd, or the next month",
    RevisionOutcome.DEADLINE_EXCEEDED: "a faster model",
    RevisionOutcome.NOT_IMPROVED: "an iteration with a higher confidence than the draft",
}


@dataclass(frozen=True)
class Gate:
    """One thing that could have decided otherwise. `passed` is None where nothing was compared."""

    gate: str
    rule: str
    value: str
    comparison: str
    passed: bool | None
    policy_revision: int | None = None
    nearest_flip: str = ""


def gates(draft: Row, pinned: dict[str, Any] | None, artifacts: Sequence[Row], meeting: Row | None) -> list[Gate]:
    """In the order in which they are asked; each with the policy revision in force for the run."""
    reasons = decided_reasons(artifacts)
    found = [
        _mode_gate(draft),
        *_message_gates(draft, pinned),
        _block_gate(draft),
        *_confidence_gates(draft, artifacts),
        *_revision_gates(draft, pinned),
        *_circumstances(reasons),
        *meeting_gates(draft, pinned, meeting),
        *_since(draft, reasons),
    ]
    return [replace(gate, policy_revision=draft["policy_revision"]) for gate in found]


_NOT_DECIDING: Final = frozenset({"meeting time", "booking", "booking gate"})


def flip_of(found: Sequence[Gate]) -> str:
    """What would have sent a decided draft: the flip of the only gate that stopped it, or how many there are. Of
    several texts the best counts."""
    judged = [gate for gate in found if gate.gate.startswith("confidence")]
    best = max(judged, key=lambda gate: -1.0 if gate.value == "none" else float(gate.value), default=None)
    stopped = [gate for gate in found if gate.passed is False and gate.gate not in _NOT_DECIDING
               and (gate is best or gate not in judged)]  # fmt: skip
    if not stopped:
        return "nothing stood against sending"
    if len(stopped) > 1:
        return f"{len(stopped)} gates stopped it, each would have to turn: {', '.join(gate.gate for gate in stopped)}"
    return f"{stopped[0].gate}: {stopped[0].nearest_flip}"


def decided_reasons(artifacts: Sequence[Row]) -> list[str]:
    """Every reason of the decision, the deciding one first; empty before there is one."""
    final = next((each for each in artifacts if each["stage"] == "final_draft"), None)
    payload = final["payload"] if final is not None else {}
    return list(payload.get("reasons", [])) if isinstance(payload, dict) else []


def confidences(artifacts: Sequence[Row]) -> dict[int, float]:
    """What the evaluator gave each text."""
    return {
        each["iteration"]: each["payload"]["confidence"]
        for each in artifacts
        if each["stage"] == Stage.EVALUATION and "confidence" in each["payload"]
    }


def _mode_gate(draft: Row) -> Gate:
    passed = draft["mode"] == Mode.AI_AUTO_SEND
    flip = "mode DRAFT_ONLY would have asked a person" if passed else f"mode {Mode.AI_AUTO_SEND} would have gone on"
    return Gate("mode", "sends by itself only in AI_AUTO_SEND", draft["mode"], "= AI_AUTO_SEND", passed, None, flip)


def _message_gates(draft: Row, pinned: dict[str, Any] | None) -> Iterator[Gate]:
    if pinned is None:
        return
    limit = pinned["settings"]["message_age_s_max"]
    started = draft["run_created_at"]
    if started is not None and draft["received_at"] is not None:
        age = (started - draft["received_at"]).total_seconds()
        flip = f"{abs(age - limit):.0f} s {'later' if age <= limit else 'earlier'} would have turned it"
        yield Gate(
            "age", "not older than message_age_s_max", f"{age:.0f} s", f"<= {limit:.0f} s", age <= limit, None, flip
        )
    known, forged = pinned["recipient"] is not None, bool(pinned["forged_sender"])
    yield Gate(
        "recipient", "the reply has one recipient", "known" if known else "unknown", "= known", known, None,
        "two senders, or none, would have asked a person" if known else "one sender's address would have gone on",
    )  # fmt: skip
    yield Gate(
        "sender", "not called forged by the receiving server", "forged" if forged else "not forged", "= not forged",
        not forged, None, "dmarc, dkim and spf that pass would have gone on" if forged else "a dmarc, dkim or spf that"
        " fails would have asked a person",
    )  # fmt: skip


def _block_gate(draft: Row) -> Gate:
    rules = list(dict.fromkeys(block["rule"] for block in draft["hard_blocks"]))
    flip = f"without {', '.join(rules)} the text would have passed" if rules else "any hard block would have stopped it"
    value = ", ".join(rules) or "none"
    return Gate("hard blocks", "none in the exact text", value, "= none", not rules, None, flip)


def _confidence_gates(draft: Row, artifacts: Sequence[Row]) -> Iterator[Gate]:
    threshold = draft["auto_send_threshold"]
    if threshold is None:
        return
    by_iteration: dict[int, float | None] = dict(confidences(artifacts)) or {
        draft["chosen_iteration"]: draft["auto_send_confidence"]
    }
    for iteration, confidence in sorted(by_iteration.items()):
        name = "confidence" if iteration == 0 else f"confidence, iteration {iteration}"
        passed = confidence is not None and confidence >= threshold
        value = "none" if confidence is None else f"{confidence:.3f}"
        flip = nearest_flip(confidence, threshold)
        yield Gate(name, "reaches auto_send_threshold", value, f">= {threshold:.3f}", passed, None, flip)


def _revision_gates(draft: Row, pinned: dict[str, Any] | None) -> Iterator[Gate]:
    outcome = draft["revision_outcome"]
    if pinned is not None:
        on = bool(pinned["settings"]["auto_send_revision_enabled"])
        flip = f"auto_send_revision_enabled {'off would have forbidden' if on else 'on would have allowed'} one"
        word = "on" if on else "off"
        yield Gate("revision allowed", "auto_send_revision_enabled at the run's start", word, "= on", None, None, flip)
    if outcome is not None:
        ran = f"{draft['auto_send_revision_iterations']} of at most {REVISION_ITERATIONS_MAX} iterations"
        turned = _REVISION_FLIPS.get(outcome)
        flip = f"{turned} would have turned it" if turned else ""
        yield Gate("revision", "at most once per draft", outcome, ran, None, None, flip)


def _circumstances(reasons: Sequence[str]) -> Iterator[Gate]:
    """What stood, and what did not, when it was decided; nothing before it was."""
    if not reasons:
        return
    for reason, (gate, rule, turned) in _CIRCUMSTANCES.items():
        stands = reason in reasons
        flip = f"{turned} would have gone on" if stands else f"{reason.value} would have asked a person"
        yield Gate(gate, rule, reason.value if stands else "clear", "= clear", not stands, None, flip)
    yield Gate("decision", "the first reason that stood", reasons[0], f"{len(reasons)} in all", None)


def _since(draft: Row, reasons: Sequence[str]) -> Iterator[Gate]:
    """What turned the decision afterwards: at the send, at its end, by a person."""
    reason = draft["auto_send_reason"]
    if reasons and reason and reason != reasons[0]:
        yield Gate("since then", "nothing turned the decision", reason, "= nothing", False, None, f"without {reason}")


def meeting_gates(draft: Row, pinned: dict[str, Any] | None, meeting: Row | None) -> Iterator[Gate]:
    """What stood between the lead's wish and a booking; nothing when no meeting was arranged."""
    if meeting is None:
        return
    accepted = meeting["accepted_at"]
    value = accepted.strftime("%Y-%m-%d %H:%MZ") if accepted else meeting["outcome_reason"]
    rule = "a free time that the conversation names, in a known zone"
    flip = "" if accepted else "such a time would have been booked"
    yield Gate("meeting time", rule, value, "accepted", accepted is not None, None, flip)
    if accepted is not None and pinned is not None and pinned["settings"]["followup_booking_gate_enabled"]:
        approved = meeting["decision"] == "approve"
        yield Gate("booking gate", "the overseer approves", meeting["decision"], "= approve", approved)
        confidence, needed = draft["auto_send_confidence"], draft["booking_threshold"]
        given = "none" if confidence is None else f"{confidence:.3f}"
        passed = confidence is not None and confidence >= needed
        flip = nearest_flip(confidence, needed).replace("would have sent", "would have booked")
        yield Gate("booking", "reaches booking_threshold", given, f">= {needed:.3f}", passed, None, flip)
    yield Gate("meeting", "what became of it", meeting["followup"] or meeting["booking"] or "open", "", None)
