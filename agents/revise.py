"""draft-evaluated -> revision-result: at most one revision per draft, bounded, fail closed."""

import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg

from agents.calling import ActiveRun, CallNotAllowed, OverBudget, StageFailed, ask_once, choice_for
from agents.claiming import HeldElsewhere, NotAllowed, Ours, Settled, WriteFailed, claim
from agents.draft import blocks_as_rows, judge_text, leased_elsewhere
from agents.fates import DONE, Dropped, Fate, Retry
from agents.outcomes import envelope, row_of, sha256_of
from agents.persist import persist
from agents.policy import RevisionFacts, best_iteration, revision_gate
from agents.resuming import active_run
from agents.rim import Interrupted, Rim
from agents.starting import trace_of
from db import sql
from db.artifact import storable_payload
from db.pool import Connection
from schemas.codes import LOOP_ERROR, KillSwitch, Phase, RevisionOutcome, Stage
from schemas.events import DraftEvaluated, RevisionResult
from schemas.ids import derive, event_id
from schemas.limits import LEASE_S, REVISION_S_MAX
from schemas.settings import iterations_max


@dataclass(frozen=True)
class Loop:
    """How the loop ended. `iterations` counts those that were judged."""

    outcome: RevisionOutcome
    attempted: bool = False
    failed_iteration: int | None = None


async def handle(event: DraftEvaluated, rim: Rim) -> Fate:
    """Settle the one revision of a draft, made or not. Exactly one result per evaluated draft."""
    taken = await sql.run.take_lease_if_free.row(
        rim.pool, run_id=event.run_id, owner=rim.process_id, lease_s=LEASE_S, phase=Phase.REVISE
    )
    if taken is None:
        return await leased_elsewhere(rim, event.run_id, Phase.REVISE)
    async with rim.leases.holding(event.run_id, taken["lease_epoch"]) as lease:
        draft = await sql.draft.draft_by_id.row(rim.pool, draft_id=event.draft_id)
        if draft is None:
            return Dropped("draft_erased")
        try:
            run = await active_run(rim, lease)
            loop = await _decide(run, draft, event)
            if isinstance(loop, Retry):
                return loop
            await _settle(run, draft, event, loop)
        except Interrupted as interrupted:
            return Retry(0.1, interrupted.reason)
    return DONE


def _gate(run: ActiveRun, draft: asyncpg.Record, event: DraftEvaluated) -> RevisionOutcome | None:
    rim = run.rim
    off = draft["send_off"] or draft["revision_off"]
    off_here = rim.is_off(KillSwitch.AUTO_SEND_DISABLED) or rim.is_off(KillSwitch.AUTO_SEND_REVISION_DISABLED)
    return revision_gate(
        RevisionFacts(
            superseded=draft["superseded"],
            mode=event.mode,
            globally_disabled=off or off_here,
            workspace_enabled=draft["auto_send_revision_enabled"],
            hard_blocked=bool(event.hard_blocks),
            confidence=event.confidence,
            threshold=event.threshold,
            over_budget=False,
        )
    )


async def _decide(run: ActiveRun, draft: asyncpg.Record, event: DraftEvaluated) -> Loop | Retry:
    """Whether to revise, the claim, and the loop. Recorded work of a dead worker always goes on under its claim."""
    outcome = _gate(run, draft, event)
    attempted_before = draft["auto_send_revision_attempted_at"] is not None
    if outcome is not None:
        return Loop(outcome, attempted=attempted_before)
    await run.lease.guard(run.rim.model.available(choice_for(run, Stage.REVISER).model))
    taken = await claim(run.rim, run.draft_id, "revision", lambda connection, token: _claim_row(run, connection, token))
    match taken:
        case Ours(token, age_s):
            run.lease.renew_claim(token)
            return await _loop(run, time.monotonic() + REVISION_S_MAX - age_s)
        case HeldElsewhere(lease_s):
            return Retry(min(lease_s, 1.0) + 0.05, "claimed_elsewhere")
        case Settled():
            return Loop(RevisionOutcome.INTERRUPTED, attempted=True)
        case WriteFailed():
            return Loop(RevisionOutcome.CLAIM_FAILED, attempted=False)
        case NotAllowed():
            return Loop(await _why_not(run, event), attempted=attempted_before)


async def _claim_row(run: ActiveRun, connection: Connection, token: uuid.UUID) -> float | None:
    age_s: float | None = await sql.draft.claim_revision_if_allowed.value(
        connection,
        draft_id=run.draft_id,
        epoch=run.lease.epoch,
        token=token,
        owner=run.rim.process_id,
        lease_s=LEASE_S,
    )
    return age_s


async def _why_not(run: ActiveRun, event: DraftEvaluated) -> RevisionOutcome:
    """The gate that closed since it was asked. Raises Interrupted when it is the lease that is lost."""
    run.lease.check()
    draft = await sql.draft.draft_by_id.row(run.rim.pool, draft_id=run.draft_id)
    outcome = _gate(run, draft, event) if draft is not None else RevisionOutcome.SUPERSEDED
    if outcome is None:
        raise Interrupted("lease_lost")
    return outcome


async def _loop(run: ActiveRun, deadline: float) -> Loop:
    """Selector, then reviser and re-evaluation up to N times. Every way out has its outcome."""
    try:
        if (Stage.SELECTOR.value, 1) not in run.recorded:
            await ask_once(run, Stage.SELECTOR, deadline)
        for iteration in range(1, iterations_max(run.state.snapshot.settings) + 1):
            if await _iterate(run, iteration, deadline):
                break
    except Interrupted as interrupted:
        if interrupted.reason != "superseded":
            raise
        return Loop(RevisionOutcome.SUPERSEDED, attempted=True)
    except CallNotAllowed:
        return Loop(await _interrupted_or_off(run), attempted=True, failed_iteration=run.state.iteration)
    except StageFailed:
        return Loop(RevisionOutcome.ERROR, attempted=True, failed_iteration=run.state.iteration)
    except TimeoutError:
        return Loop(RevisionOutcome.DEADLINE_EXCEEDED, attempted=True, failed_iteration=run.state.iteration)
    except OverBudget:
        return Loop(RevisionOutcome.OVER_BUDGET, attempted=True)
    return Loop(_ended(run), attempted=True)


async def _iterate(run: ActiveRun, iteration: int, deadline: float) -> bool:
    """One iteration; what is recorded of it is not asked again. True when the loop must stop."""
    if time.monotonic() >= deadline:
        raise TimeoutError
    if (Stage.REVISER.value, iteration) not in run.recorded:
        run.state = replace(run.state, iteration=iteration)
        await ask_once(run, Stage.REVISER, deadline)
    if (Stage.EVALUATION.value, iteration) not in run.recorded:
        if judge_text(run.state, run.state.text).blocks:
            return True
        await ask_once(run, Stage.EVALUATION, deadline)
    judged = run.state.judged[-1]
    confidence = judged.evaluation.confidence if judged.evaluation else None
    return confidence is not None and confidence >= run.state.snapshot.policy.auto_send_threshold


def _ended(run: ActiveRun) -> RevisionOutcome:
    """The loop ran to its end: blocked by a rule, better than the original, or not."""
    if run.state.judged[-1].iteration != run.state.iteration:
        return RevisionOutcome.HARD_BLOCKED
    best = best_iteration(run.state.judged)
    return RevisionOutcome.APPLIED if best.iteration > 0 else RevisionOutcome.NOT_IMPROVED


async def _interrupted_or_off(run: ActiveRun) -> RevisionOutcome:
    """A call was refused by the database: a switch flipped, or the call was made by a worker that died."""
    draft = await sql.draft.draft_by_id.row(run.rim.pool, draft_id=run.draft_id)
    if draft is None or draft["superseded"]:
        return RevisionOutcome.SUPERSEDED
    if draft["send_off"] or draft["revision_off"]:
        return RevisionOutcome.DISABLED_GLOBALLY
    if not draft["auto_send_revision_enabled"]:
        return RevisionOutcome.DISABLED_FOR_WORKSPACE
    return RevisionOutcome.INTERRUPTED


@dataclass(frozen=True)
class CallCounts:
    selector: int
    reviser: int
    evaluation: int


async def _calls(run: ActiveRun) -> CallCounts:
    """Calls that belong to the revision, definite refusals not counted."""
    rows = await sql.model_call.revision_calls_of_draft.rows(run.rim.pool, draft_id=run.draft_id)
    made = [row["stage"] for row in rows if row["status"] != "refused"]
    return CallCounts(made.count(Stage.SELECTOR), made.count(Stage.REVISER), made.count(Stage.EVALUATION))


async def _settle(run: ActiveRun, draft: asyncpg.Record, event: DraftEvaluated, loop: Loop) -> None:
    """Write what became of the revision: draft, claim, event, hand-over. The best text so far is kept."""
    best = best_iteration(run.state.judged)
    applied = best.iteration > 0
    judgement = judge_text(run.state, best.text)
    result = _result_event(run, draft, event, loop, await _calls(run))
    written = envelope(result, result.event_id, trace_of(run.run_id, run.traceparent))
    if loop.failed_iteration is not None:
        await _note_error(run, loop)
    blocks = blocks_as_rows(judgement.blocks) if applied else draft["hard_blocks"]
    outbox_id = await persist(
        run.rim,
        lambda: sql.draft.settle_revision_if_leased.value(
            run.rim.pool,
            run_id=run.run_id,
            epoch=run.lease.epoch,
            content=best.text,
            content_sha256=sha256_of(best.text),
            hard_blocks=blocks,
            confidence=result.confidence,
            revision_confidence=result.revision_confidence,
            applied=applied,
            iterations=result.iterations,
            outcome=loop.outcome,
            chosen_iteration=best.iteration,
            **written,
        ),
    )
    run.rim.crash_point("revision.settled")
    if outbox_id is None:
        raise Interrupted("lease_lost")
    run.rim.publisher.publish([row_of(outbox_id, result.topic, written)])


async def _note_error(run: ActiveRun, loop: Loop) -> None:
    await sql.run.insert_artifact_if_leased.run(
        run.rim.pool,
        run_id=run.run_id,
        epoch=run.lease.epoch,
        artifact_id=derive("artifact", run.run_id, LOOP_ERROR, loop.failed_iteration or 0),
        stage=LOOP_ERROR,
        iteration=loop.failed_iteration or 0,
        prompt_key="",
        input_sha256=sha256_of(""),
        model="",
        payload=storable_payload({"outcome": loop.outcome}),
        text=None,
    )


def _result_event(
    run: ActiveRun, draft: asyncpg.Record, event: DraftEvaluated, loop: Loop, calls: CallCounts
) -> RevisionResult:
    judged = run.state.judged
    best = best_iteration(judged)
    revised = [entry.evaluation.confidence for entry in judged if entry.iteration > 0 and entry.evaluation]
    choice = choice_for(run, Stage.REVISER) if loop.attempted else None
    now = datetime.now(UTC)
    return RevisionResult(
        **_ids(event),
        event_id=event_id("revision-result", run.draft_id),
        occurred_at=now,
        policy_revision=event.policy_revision,
        outcome=loop.outcome,
        attempted=loop.attempted,
        applied=best.iteration > 0,
        iterations=len([entry for entry in judged if entry.iteration > 0]),
        original_confidence=event.confidence,
        revision_confidence=max(revised, default=None),
        confidence=best.evaluation.confidence if best.evaluation else None,
        threshold=event.threshold,
        selector_calls=calls.selector,
        reviser_calls=calls.reviser,
        evaluation_calls=calls.evaluation,
        hard_blocks=event.hard_blocks,
        draft_sha256=sha256_of(best.text),
        model=choice.model if choice else None,
        reasoning_effort=choice.effort if choice else None,
        input_tokens=max(run.totals.input_tokens - event.input_tokens, 0),
        output_tokens=max(run.totals.output_tokens - event.output_tokens, 0),
        cost_usd=_difference(run.totals.cost_usd, event.cost_usd),
        latency_ms=max(round((now - event.occurred_at).total_seconds() * 1000), 0) if loop.attempted else 0,
    )


def _difference(total: float | None, before: float | None) -> float | None:
    return None if total is None or before is None else max(round(total - before, 8), 0.0)


def _ids(event: DraftEvaluated) -> dict[str, Any]:
    names = ("workspace_id", "lead_id", "channel", "campaign_id", "mode", "run_id", "draft_id", "trigger_message_id")
    return {name: getattr(event, name) for name in names}
