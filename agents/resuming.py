"""A run in another worker's hands: its state is folded anew from what was recorded. Nothing recorded is asked again."""

import json
from dataclasses import replace
from typing import Any

import asyncpg

from agents.calling import ActiveRun
from agents.errors import UnusableAnswer
from agents.ports import Usage
from agents.rim import Interrupted, Lease, Rim
from agents.stages import STAGES
from agents.starting import state_of
from db import sql
from schemas.answers import ANSWER_OF
from schemas.codes import Stage

# A failed or unanswered request used up an attempt; a definite refusal and an outage did not.
_SPENT = ("started", "unusable", "failed")


async def active_run(rim: Rim, lease: Lease) -> ActiveRun:
    """The run behind `lease` with everything that was recorded for it. Raises Interrupted when it is gone."""
    row = await sql.run.run_with_context.row(rim.pool, run_id=lease.run_id)
    if row is None:
        raise Interrupted("lease_lost")
    run = ActiveRun(rim, lease, state_of(row), row["draft_id"], row["traceparent"], source=row["source"])
    for artifact in await sql.run.artifacts_of.rows(rim.pool, run_id=lease.run_id):
        _fold(run, artifact)
    for call in await sql.model_call.calls_of_run.rows(rim.pool, run_id=lease.run_id):
        _count(run, call)
    return run


def _fold(run: ActiveRun, artifact: asyncpg.Record) -> None:
    """An answer that cannot be read back (stored as a marker) leaves the state as it is, and counts as recorded."""
    key = (artifact["stage"], artifact["iteration"])
    run.recorded[key] = artifact
    run.models[key] = artifact["model"]
    if artifact["stage"] not in set(Stage):
        return
    stage = Stage(artifact["stage"])
    if stage is Stage.REVISER:
        run.state = replace(run.state, iteration=artifact["iteration"])
    try:
        answer = ANSWER_OF[stage].model_validate_json(json.dumps(_answer_of(artifact)))
        run.state = STAGES[stage].decide(run.state, answer)
    except (ValueError, UnusableAnswer):
        return


def _answer_of(artifact: asyncpg.Record) -> Any:
    """The recorded answer. One whose payload was too large is rebuilt from its text, which is what later steps need."""
    payload = artifact["payload"]
    if not (isinstance(payload, dict) and "omitted" in payload and artifact["text"] is not None):
        return payload
    beside: dict[str, dict[str, Any]] = {
        Stage.GENERATION: {},
        Stage.VERIFIER: {"changes": []},
        Stage.REVISER: {"changes": []},
        Stage.MEETING_GATE: {"decision": "revise", "reason": ""},
    }
    return {"text": artifact["text"], **beside.get(artifact["stage"], {})}


def _count(run: ActiveRun, call: asyncpg.Record) -> None:
    key = (call["stage"], call["iteration"])
    run.attempts[key] = max(run.attempts.get(key, 0), call["attempt"])
    run.last_call = call["id"]
    if call["status"] in _SPENT and not call["during_outage"]:
        run.spent_attempts[key] = run.spent_attempts.get(key, 0) + 1
    cost = float(call["cost_usd"]) if call["cost_usd"] is not None else None
    run.totals.add(
        Usage(input_tokens=call["input_tokens"] or 0, output_tokens=call["output_tokens"] or 0, cost_usd=cost)
    )
