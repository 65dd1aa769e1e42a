"""A run that ends without a decision: superseded, or failed so that a person must write."""

import uuid
from dataclasses import dataclass

import asyncpg
import structlog

from agents.booking import Plan
from agents.calling import ActiveRun
from agents.context import token_estimate
from agents.holding import failed_meeting, with_followup
from agents.outcomes import draft_outcome, envelope, row_of, sha256_of
from agents.persist import TRANSIENT, persist
from agents.rim import Interrupted, Lease, Rim
from agents.stages import STAGES, next_draft_stage
from agents.starting import trace_of
from db import sql
from db.pool import Executor
from schemas.codes import Action, DraftStatus, OutcomeStatus, RunStatus, Stage
from schemas.ids import derive

log = structlog.get_logger()


@dataclass(frozen=True)
class _Left:
    """What a run that ends leaves to a person: a text, if there is one, for how long, and what of a meeting."""

    draft_id: uuid.UUID
    traceparent: str | None
    text: str | None
    review_s: float
    plan: Plan | None


async def end_run(run: ActiveRun, status: RunStatus, reason: str) -> None:
    """End `run` as ABORTED (its draft is superseded) or FAILED (a person is asked), with one outcome event. Raises
    Interrupted when the lease is lost: whoever has it ends the run, or goes on."""
    settings = run.state.snapshot.settings
    plan = failed_meeting(run, reason) if status is RunStatus.FAILED else None
    left = _Left(run.draft_id, run.traceparent, run.state.text or None, settings.review_s_max, plan)
    await _end(run.rim, run.lease, left, status, reason)


async def fail_unread(rim: Rim, lease: Lease, draft_id: uuid.UUID, reason: str) -> None:
    """End a run whose stored state cannot be read: a person is asked, without a text of it. Raises Interrupted."""
    standing = await sql.delivery.send_standing.row(rim.pool, draft_id=draft_id)
    if standing is not None:
        left = _Left(draft_id, standing["traceparent"], None, standing["review_s_max"], None)
        await _end(rim, lease, left, RunStatus.FAILED, reason)


async def _end(rim: Rim, lease: Lease, left: _Left, status: RunStatus, reason: str) -> None:
    draft = await sql.draft.draft_by_id.row(rim.pool, draft_id=left.draft_id)
    if draft is None:
        return
    failed = status is RunStatus.FAILED
    action = Action.NEEDS_REVIEW if failed else Action.NONE
    event = draft_outcome(
        draft,
        run_id=lease.run_id,
        action=action,
        status=OutcomeStatus.AWAITING_REVIEW if failed else OutcomeStatus.SUPERSEDED,
        reason=reason,
    )
    written = envelope(event, event.event_id, trace_of(lease.run_id, left.traceparent))

    async def end(executor: Executor) -> int | None:
        outbox_id: int | None = await sql.draft.end_run_if_leased.value(
            executor,
            run_id=lease.run_id,
            epoch=lease.epoch,
            run_status=status,
            reason=reason,
            action=action,
            draft_status=DraftStatus.PENDING if failed else DraftStatus.SUPERSEDED,
            content=left.text,
            content_sha256=sha256_of(left.text) if left.text else None,
            review_id=derive("review", left.draft_id) if failed else None,
            review_s=left.review_s,
            **written,
        )
        return outbox_id

    outbox_id = await persist(rim, lambda: with_followup(rim.pool, left.draft_id, left.plan, end))
    if outbox_id is None and await _still_runs(rim, lease.run_id):
        raise Interrupted("lease_lost")
    lease.given_back()
    rim.run_ended()
    if outbox_id is not None:
        rim.publisher.publish([row_of(outbox_id, event.topic, written)])


async def _still_runs(rim: Rim, run_id: uuid.UUID) -> bool:
    standing = await persist(rim, lambda: sql.run.run_standing.row(rim.pool, run_id=run_id))
    return standing is not None and standing["status"] == RunStatus.RUNNING


async def count_superseded(run: ActiveRun) -> None:
    """Tokens that a newer message threw away, and an estimate of what the stages not asked would have read. Telemetry:
    it stands with the run's last call, and may fail."""
    if run.last_call is None:
        return
    done, saved = frozenset(Stage(stage) for stage, _ in run.models if stage in set(Stage)), 0
    while (stage := next_draft_stage(run.state, done)) is not None:
        ask, done = STAGES[stage].ask(run.state), done | {stage}
        saved += token_estimate(ask.system) + token_estimate(ask.user)
    thrown_away = run.totals.input_tokens + run.totals.output_tokens
    try:
        await sql.model_call.count_superseded.run(
            run.rim.pool, call_id=run.last_call, tokens_saved=saved, tokens_thrown_away=thrown_away
        )
    except (*TRANSIENT, asyncpg.PostgresError) as error:
        log.warning("telemetry_failed", error_class=type(error).__name__, run_id=str(run.run_id))
        return
    log.info("run_superseded", run_id=str(run.run_id), tokens_saved=saved, tokens_thrown_away=thrown_away)
