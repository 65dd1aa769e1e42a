"""A run that ends without a decision: superseded, or failed so that a person must write."""

from agents.calling import ActiveRun
from agents.holding import failed_meeting, with_followup
from agents.outcomes import draft_outcome, envelope, row_of, sha256_of
from agents.persist import persist
from agents.starting import trace_of
from db import sql
from db.pool import Executor
from schemas.codes import Action, DraftStatus, OutcomeStatus, RunStatus
from schemas.ids import derive


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
