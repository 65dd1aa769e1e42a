"""Why a draft went the way it went, from what is recorded: every gate with its rule, value and comparison."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from app.cli.gates import confidences, decided_reasons, flip_of, gates
from app.cli.shell import Problem
from db import sql

if TYPE_CHECKING:
    import asyncpg

    from db.pool import Executor

WHO_CAN_PASS: Final = {
    "state": "nobody",
    "safety": "nobody",
    "claims": "a reviewer who is shown the place",
    "policy": "a reviewer",
}


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
    found = gates(dict(draft), pinned, [dict(each) for each in artifacts], dict(meeting) if meeting else None)
    explained = {
        "verdict": {
            **_verdict(draft, artifacts),
            "nearest_flip": flip_of(found) if draft["auto_send_action"] else None,
        },
        "draft": _draft(draft),
        "gates": [asdict(gate) for gate in found],
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
    return {
        "action": draft["auto_send_action"],
        "status": draft["status"],
        "reason": draft["auto_send_reason"],
        "all_reasons": decided_reasons([dict(each) for each in artifacts]),
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
        "confidence_by_iteration": confidences([dict(each) for each in artifacts]),
    }


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
