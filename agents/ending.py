"""A run that ends without a decision: superseded, or failed so that a person must write."""

import asyncpg
import structlog

from agents.calling import ActiveRun
from agents.context import token_estimate
from agents.holding import failed_meeting, with_followup
from agents.outcomes import draft_outcome, envelope, row_of, sha256_of
from agents.persist import TRANSIENT, persist
from agents.stages import STAGES, next_draft_stage
from agents.starting import trace_of
from db import sql
from db.pool import Executor
from schemas.codes import Action, DraftStatus, OutcomeStatus, RunStatus, Stage
from schemas.ids import derive

log = structlog.get_logger()


async def end_run(run: ActiveRun, status: RunStatus, reason: str) -> None:
    """End `run` as ABORTED (its draft is superseded) or FAILED (a person is asked), with one outcome event."""
    draft = await sql.draft.draft_by_id.row(run.rim.pool, draft_id=run.draft_id)
    if draft is None:
        return
    failed = status is RunStatus.FAILED
    action = Action.NEEDS_REVIEW if failed else Action.NONE
    event = draft_outcome(
        draft,
        run_id=run.run_id,
        action=action,
        status=OutcomeStatus.AWAITING_REVIEW if failed else OutcomeStatus.SUPERSEDED,
        reason=reason,
    )
    written = envelope(event, event.event_id, trace_of(run.run_id, run.traceparent))
    text = run.state.text or None
    plan = failed_meeting(run, reason) if failed else None

    async def end(executor: Executor) -> int | None:
        outbox_id: int | None = await sql.draft.end_run_if_leased.value(
            executor,
            run_id=run.run_id,
            epoch=run.lease.epoch,
            run_status=status,
            reason=reason,
            action=action,
            draft_status=DraftStatus.PENDING if failed else DraftStatus.SUPERSEDED,
            content=text,
            content_sha256=sha256_of(text) if text else None,
            review_id=derive("review", run.draft_id) if failed else None,
            review_s=run.state.snapshot.settings.review_s_max,
            **written,
        )
        return outbox_id

    outbox_id = await persist(run.rim, lambda: with_followup(run.rim.pool, run.draft_id, plan, end))
    run.lease.given_back()
    run.rim.run_ended()
    if outbox_id is not None:
        run.rim.publisher.publish([row_of(outbox_id, event.topic, written)])


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
