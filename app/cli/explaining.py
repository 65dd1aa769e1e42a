"""Why a draft went the way it went, from what is recorded: every gate with its rule, value and comparison."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from agents.policy import nearest_flip
from app.cli.shell import Problem
from db import sql
from schemas.codes import Mode, Stage
from schemas.limits import REVISION_ITERATIONS_MAX

if TYPE_CHECKING:
    import asyncpg

    from db.pool import Executor

WHO_CAN_PASS: Final = {
    "state": "nobody",
    "safety": "nobody",
    "claims": "a reviewer who is shown the place",
    "policy": "a reviewer",
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


async def explain_draft(
    connection: Executor, draft_id: uuid.UUID, *, text: bool, run_id: uuid.UUID | None = None
) -> dict[str, Any]:
    """Everything that was decided about a draft. With `text`, also what was written and the model's own words.

    :param run_id: the attempt whose stages are told; without it the one that decided.
    """
    draft = await sql.ops.draft_explained.row(connection, draft_id=draft_id)
    if draft is None:
        raise Problem(f"draft {draft_id} is unknown; `draft-pipeline runs list --json` names drafts by run")
    run_id = run_id or draft["run_id"]
    pinned = await sql.ops.snapshot_of_run.value(connection, run_id=run_id)
    artifacts = await sql.ops.artifacts_explained.rows(connection, run_id=run_id)
    calls = await sql.ops.calls_of_draft.rows(connection, draft_id=draft_id)
    meeting = await sql.ops.meeting_of_draft.row(connection, draft_id=draft_id)
    explained = {
        "verdict": _verdict(draft, artifacts),
        "draft": _draft(draft),
        "gates": [asdict(gate) for gate in (*gates(draft, pinned, artifacts), *meeting_gates(draft, pinned, meeting))],
        "hard_blocks": [{**block, "who_can_pass": WHO_CAN_PASS.get(block["group"])} for block in draft["hard_blocks"]],
        "revision": _revision(draft, artifacts),
        "meeting": dict(meeting) if meeting else None,
        "stages": stages(artifacts, calls, text=text),
        "claims": [dict(row) for row in await sql.ops.claims_of_draft.rows(connection, draft_id=draft_id)],
        "deliveries": [dict(row) for row in await sql.ops.deliveries_of_draft.rows(connection, draft_id=draft_id)],
        "reviews": [dict(row) for row in await sql.ops.reviews_of_draft.rows(connection, draft_id=draft_id)],
        "context_kept": pinned is not None,
    }
    if text:
        explained["text"] = {"content": draft["content"], "original": draft["original_content"]}
    return explained


def _verdict(draft: asyncpg.Record, artifacts: Sequence[asyncpg.Record]) -> dict[str, Any]:
    final = next((each for each in artifacts if each["stage"] == "final_draft"), None)
    payload = final["payload"] if final is not None else {}
    return {
        "action": draft["auto_send_action"],
        "status": draft["status"],
        "reason": draft["auto_send_reason"],
        "all_reasons": payload.get("reasons", []) if isinstance(payload, dict) else [],
        "chosen_iteration": draft["chosen_iteration"],
        "policy_revision": draft["policy_revision"],
        "confidence": draft["auto_send_confidence"],
        "threshold": draft["auto_send_threshold"],
    }


def _draft(draft: asyncpg.Record) -> dict[str, Any]:
    names = ("id", "workspace_id", "campaign_id", "lead_id", "channel", "mode", "language", "trigger_message_id")
    more = ("received_at", "ingested_at", "run_id", "run_status", "run_reason", "attempt", "retry_of", "content_sha256")
    return {name: draft[name] for name in (*names, *more)}


def _revision(draft: asyncpg.Record, artifacts: Sequence[asyncpg.Record]) -> dict[str, Any]:
    return {
        "outcome": draft["revision_outcome"],
        "attempted_at": draft["auto_send_revision_attempted_at"],
        "iterations": draft["auto_send_revision_iterations"],
        "applied": draft["auto_send_revision_applied"],
        "original_confidence": draft["auto_send_original_confidence"],
        "best_confidence": draft["auto_send_revision_confidence"],
        "confidence_by_iteration": confidences(artifacts),
    }


def confidences(artifacts: Sequence[asyncpg.Record]) -> dict[int, float]:
    """What the evaluator gave each text."""
    return {
        each["iteration"]: each["payload"]["confidence"]
        for each in artifacts
        if each["stage"] == Stage.EVALUATION and "confidence" in each["payload"]
    }


# ---- gates


def gates(draft: asyncpg.Record, pinned: dict[str, Any] | None, artifacts: Sequence[asyncpg.Record]) -> list[Gate]:
    """In the order in which they are asked."""
    return [
        _mode_gate(draft),
        *_message_gates(draft, pinned),
        _block_gate(draft),
        *_confidence_gates(draft, artifacts),
        *_revision_gates(draft, pinned),
        *_recorded(draft, artifacts),
    ]


def _mode_gate(draft: asyncpg.Record) -> Gate:
    passed = draft["mode"] == Mode.AI_AUTO_SEND
    flip = "mode DRAFT_ONLY would have asked a person" if passed else f"mode {Mode.AI_AUTO_SEND} would have gone on"
    return Gate("mode", "sends by itself only in AI_AUTO_SEND", draft["mode"], "= AI_AUTO_SEND", passed, None, flip)


def _message_gates(draft: asyncpg.Record, pinned: dict[str, Any] | None) -> Iterable[Gate]:
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
    known = pinned["recipient"] is not None
    yield Gate("recipient", "the reply has one recipient", "known" if known else "unknown", "known", known)
    forged = bool(pinned["forged_sender"])
    yield Gate(
        "sender", "not called forged by the receiving server", "forged" if forged else "not forged", "", not forged
    )


def _block_gate(draft: asyncpg.Record) -> Gate:
    rules = list(dict.fromkeys(block["rule"] for block in draft["hard_blocks"]))
    flip = f"without {', '.join(rules)} the text would have passed" if rules else ""
    value = ", ".join(rules) or "none"
    return Gate("hard blocks", "none in the exact text", value, "= none", not rules, None, flip)


def _confidence_gates(draft: asyncpg.Record, artifacts: Sequence[asyncpg.Record]) -> Iterable[Gate]:
    threshold, revision = draft["auto_send_threshold"], draft["policy_revision"]
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
        yield Gate(name, "reaches auto_send_threshold", value, f">= {threshold:.3f}", passed, revision, flip)


def _revision_gates(draft: asyncpg.Record, pinned: dict[str, Any] | None) -> Iterable[Gate]:
    outcome = draft["revision_outcome"]
    if pinned is not None:
        on = bool(pinned["settings"]["auto_send_revision_enabled"])
        flip = "" if on else "auto_send_revision_enabled would have allowed one"
        word = "on" if on else "off"
        yield Gate("revision allowed", "auto_send_revision_enabled at the run's start", word, "= on", on, None, flip)
    if outcome is not None:
        ran = f"{draft['auto_send_revision_iterations']} of at most {REVISION_ITERATIONS_MAX} iterations"
        yield Gate("revision", "at most once per draft", outcome, ran, None)


def _recorded(draft: asyncpg.Record, artifacts: Sequence[asyncpg.Record]) -> Iterable[Gate]:
    """Everything that stood against sending when it was decided, the deciding one first."""
    for number, reason in enumerate(_verdict(draft, artifacts)["all_reasons"]):
        rank = "decided" if number == 0 else "also stood"
        yield Gate("decision", rank, reason, "", None, draft["policy_revision"])


# ---- stages


def stages(artifacts: Sequence[asyncpg.Record], calls: Sequence[asyncpg.Record], *, text: bool) -> list[dict[str, Any]]:
    """Every stage in the order of its artifacts, with its calls; stages that have calls only come last."""
    keys = [(each["stage"], each["iteration"]) for each in artifacts]
    keys += [(call["stage"], call["iteration"]) for call in calls]
    by_key = {(each["stage"], each["iteration"]): each for each in artifacts}
    return [_stage(key, by_key.get(key), calls, text=text) for key in dict.fromkeys(keys)]


def _stage(
    key: tuple[str, int], artifact: asyncpg.Record | None, calls: Sequence[asyncpg.Record], *, text: bool
) -> dict[str, Any]:
    own = [call for call in calls if (call["stage"], call["iteration"]) == key]
    found: dict[str, Any] = {
        "stage": key[0],
        "iteration": key[1],
        "answered": artifact is not None,
        "prompt_key": artifact["prompt_key"] if artifact else None,
        "input_sha256": artifact["input_sha256"] if artifact else None,
        "recorded_at": artifact["created_at"] if artifact else None,
        "model": artifact["model"] if artifact else own[-1]["model"],
        "calls": [{name: value for name, value in call.items() if name not in ("stage", "iteration")} for call in own],
        "figures": _figures(artifact["payload"]) if artifact else {},
    }
    if text and artifact:
        found |= {"answer": artifact["payload"], "text": artifact["text"]}
    return found


def _figures(payload: Any) -> dict[str, Any]:
    """The numbers and yes-or-nos of an answer: they hold no text."""
    if not isinstance(payload, dict):
        return {}
    return {name: value for name, value in payload.items() if isinstance(value, bool | int | float)}


# ---- meetings


def meeting_gates(
    draft: asyncpg.Record, pinned: dict[str, Any] | None, meeting: asyncpg.Record | None
) -> Iterable[Gate]:
    """What stood between the lead's wish and a booking; nothing when no meeting was arranged."""
    if meeting is None:
        return
    accepted = meeting["accepted_at"]
    value = accepted.strftime("%Y-%m-%d %H:%MZ") if accepted else meeting["outcome_reason"]
    rule = "a free time that the conversation names, in a known zone"
    yield Gate("meeting time", rule, value, "accepted", accepted is not None)
    if accepted is not None and pinned is not None and pinned["settings"]["followup_booking_gate_enabled"]:
        approved = meeting["decision"] == "approve"
        yield Gate("booking gate", "the overseer approves", meeting["decision"], "= approve", approved)
        confidence, needed = draft["auto_send_confidence"], draft["booking_threshold"]
        given = "none" if confidence is None else f"{confidence:.3f}"
        passed = confidence is not None and confidence >= needed
        yield Gate("booking", "reaches booking_threshold", given, f">= {needed:.3f}", passed, draft["policy_revision"])
    yield Gate("meeting", "what became of it", meeting["followup"] or meeting["booking"] or "open", "", None)
