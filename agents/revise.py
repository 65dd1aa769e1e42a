"""draft-evaluated -> revision-result: at most one revision per draft, bounded, fail closed."""

import time
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import asyncpg

from agents.budgeting import OverBudget, fits, settle_reservations, worst_case_usd
from agents.calling import (
    ActiveRun,
    CallNotAllowed,
    DeadlineExceeded,
    StageFailed,
    Totals,
    ask_once,
    choice_for,
    wait_for_model,
)
from agents.claiming import HeldElsewhere, NotAllowed, Ours, Settled, WriteFailed, claim
from agents.draft import blocks_as_rows, judge_text, leased_elsewhere
from agents.fates import DONE, Fate, Retry
from agents.outcomes import envelope, row_of, sha256_of
from agents.persist import persist
from agents.policy import RevisionFacts, best_iteration, reaches, revision_gate
from agents.resuming import active_run
from agents.rim import Interrupted, Lease, Rim
from agents.stages import STAGES
from agents.starting import trace_of
from db import sql
from db.artifact import storable_payload
from db.pool import Connection
from schemas.codes import LOOP_ERROR, KillSwitch, Phase, RevisionOutcome, Stage
from schemas.events import DraftEvaluated, RevisionResult
from schemas.ids import derive, event_id
from schemas.limits import LEASE_S, REVISION_S_MAX
from schemas.settings import ModelChoice, iterations_max

_SHARED_IDS: Final = (
    "workspace_id",
    "lead_id",
    "channel",
    "campaign_id",
    "mode",
    "run_id",
    "draft_id",
    "trigger_message_id",
)
_SWITCHED_OFF: Final = (RevisionOutcome.DISABLED_GLOBALLY, RevisionOutcome.DISABLED_FOR_WORKSPACE)
_ONE_ITERATION: Final = (Stage.SELECTOR, Stage.REVISER, Stage.EVALUATION)


@dataclass(frozen=True)
class Loop:
    """How the loop ended. `failed_iteration` is the one that had no usable answer."""

    outcome: RevisionOutcome
    attempted: bool = False
    failed_iteration: int | None = None


@dataclass(frozen=True)
class CallCounts:
    """Calls that belong to the revision, definite refusals not counted."""

    selector: int = 0
    reviser: int = 0
    evaluation: int = 0


@dataclass(frozen=True)
class Revised:
    """The text that goes on, and what it took. `iteration` 0 is the original."""

    text: str
    iteration: int
    confidence: float | None
    hard_blocks: list[dict[str, Any]]
    revision_confidence: float | None = None
    iterations: int = 0
    calls: CallCounts = CallCounts()
    totals: Totals = field(default_factory=Totals)
    choice: ModelChoice | None = None


async def handle(event: DraftEvaluated, rim: Rim) -> Fate:
    """Settle the one revision of a draft, made or not. Exactly one result per evaluated draft."""
    draft = await sql.run.take_lease_with_draft.row(
        rim.pool, run_id=event.run_id, owner=rim.process_id, lease_s=LEASE_S, phase=Phase.REVISE
    )
    if draft is None:
        return await leased_elsewhere(rim, event.run_id, Phase.REVISE)
    async with rim.leases.holding(event.run_id, draft["lease_epoch"]) as lease:
        try:
            return await _settle_one(rim, lease, draft, event)
        except Interrupted as interrupted:
            return Retry(0.1, interrupted.reason)


async def _settle_one(rim: Rim, lease: Lease, draft: asyncpg.Record, event: DraftEvaluated) -> Fate:
    outcome = _gate(rim, draft, event)
    attempted = draft["auto_send_revision_attempted_at"] is not None
    if outcome is not None and not attempted:
        await _settle(rim, lease, draft, event, Loop(outcome), _untouched(draft))
        return DONE
    run = await active_run(rim, lease)
    loop = Loop(outcome, attempted=True) if outcome is not None else await _revise(run, draft, event)
    if isinstance(loop, Retry):
        return loop
    if loop.outcome in _SWITCHED_OFF and _reached(run):
        loop = Loop(RevisionOutcome.APPLIED, attempted=True)
    await settle_reservations(run)
    if loop.failed_iteration is not None:
        await persist(rim, lambda: _note_error(run, loop))
    # Decided is decided: what follows waits for the database in place, so that no second look finds the claim free.
    await _settle(rim, lease, draft, event, loop, await persist(rim, lambda: _revised(run, event)))
    return DONE


async def settle_with_error(event: DraftEvaluated, rim: Rim) -> None:
    """The revision cannot be worked on here: its result is `error`, the original text goes on to a person."""
    draft = await sql.run.take_lease_with_draft.row(
        rim.pool, run_id=event.run_id, owner=rim.process_id, lease_s=LEASE_S, phase=Phase.REVISE
    )
    if draft is None:
        return
    attempted = draft["auto_send_revision_attempted_at"] is not None
    async with rim.leases.holding(event.run_id, draft["lease_epoch"]) as lease:
        await _settle(rim, lease, draft, event, Loop(RevisionOutcome.ERROR, attempted), _untouched(draft))


def _reached(run: ActiveRun) -> bool:
    """Whether a revised text reached the threshold: whatever was switched off after it was judged, it is applied."""
    best = best_iteration(run.state.judged) if run.state.judged else None
    confidence = best.evaluation.confidence if best is not None and best.iteration > 0 and best.evaluation else None
    return reaches(confidence, run.state.snapshot.policy.auto_send_threshold)


def _gate(
    rim: Rim, draft: asyncpg.Record, event: DraftEvaluated, *, over_budget: bool = False
) -> RevisionOutcome | None:
    """The first outcome that fits. The claim looks at the budget; `over_budget` is for telling why it was refused."""
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
            over_budget=over_budget,
        )
    )


async def _revise(run: ActiveRun, draft: asyncpg.Record, event: DraftEvaluated) -> Loop | Retry:
    """The claim, then the loop. The breaker is asked before the claim: no revision starts while the model is down. One
    that has started waits within its deadline only."""
    attempted_before = draft["auto_send_revision_attempted_at"] is not None
    if not attempted_before:
        await wait_for_model(run, choice_for(run, Stage.REVISER).model)
    worst = worst_case_usd(run, [(STAGES[stage].ask(run.state), choice_for(run, stage)) for stage in _ONE_ITERATION])
    taken = await claim(
        run.rim, run.draft_id, "revision", lambda connection, token: _claim_row(run, connection, token, worst)
    )
    match taken:
        case Ours(token, age_s):
            run.lease.renew_claim(token)
            return await _loop(run, time.monotonic() + REVISION_S_MAX - age_s)
        case HeldElsewhere(lease_s):
            return Retry(min(lease_s, 1.0) + 0.05, "claimed_elsewhere")
        case Settled():
            return Loop(RevisionOutcome.INTERRUPTED, attempted=True)
        case WriteFailed():
            return Loop(RevisionOutcome.CLAIM_FAILED, attempted=attempted_before)
        case NotAllowed():
            return Loop(await _why_not(run, event, worst), attempted=attempted_before)


async def _claim_row(run: ActiveRun, connection: Connection, token: uuid.UUID, worst: Decimal | None) -> float | None:
    claimed = {"draft_id": run.draft_id, "epoch": run.lease.epoch, "token": token, "owner": run.rim.process_id}
    age_s: float | None
    if worst is None:
        age_s = await sql.draft.claim_revision_if_allowed.value(connection, **claimed)
    else:
        query = sql.draft.claim_revision_within_budget
        age_s = await query.value(connection, worst_usd=worst, **claimed)
    return age_s


async def _why_not(run: ActiveRun, event: DraftEvaluated, worst: Decimal | None) -> RevisionOutcome:
    """The gate that closed since it was asked. Raises Interrupted when it is the lease that is lost."""
    run.lease.check()
    draft = await sql.draft.draft_by_id.row(run.rim.pool, draft_id=run.draft_id)
    if draft is None:
        return RevisionOutcome.SUPERSEDED
    over_budget = worst is not None and not await fits(run, worst)
    outcome = _gate(run.rim, draft, event, over_budget=over_budget)
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
    except DeadlineExceeded:
        return Loop(RevisionOutcome.DEADLINE_EXCEEDED, attempted=True, failed_iteration=run.state.iteration)
    except OverBudget:
        return Loop(RevisionOutcome.OVER_BUDGET, attempted=True)
    return Loop(_ended(run), attempted=True)


async def _iterate(run: ActiveRun, iteration: int, deadline: float) -> bool:
    """One iteration; what is recorded of it is not asked again. True when the loop must stop."""
    if (Stage.REVISER.value, iteration) not in run.recorded:
        run.state = replace(run.state, iteration=iteration)
        await ask_once(run, Stage.REVISER, deadline)
    if (Stage.EVALUATION.value, iteration) not in run.recorded:
        if (await judge_text(run, run.state.text)).blocks:
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


async def _calls(run: ActiveRun) -> CallCounts:
    rows = await sql.model_call.revision_calls_of_draft.rows(run.rim.pool, draft_id=run.draft_id)
    made = [row["stage"] for row in rows if row["status"] != "refused"]
    return CallCounts(made.count(Stage.SELECTOR), made.count(Stage.REVISER), made.count(Stage.EVALUATION))


def _untouched(draft: asyncpg.Record) -> Revised:
    return Revised(draft["content"], 0, draft["auto_send_original_confidence"], draft["hard_blocks"])


async def _revised(run: ActiveRun, event: DraftEvaluated) -> Revised:
    """The best text so far, with the blocks that stand in it."""
    judged = run.state.judged
    best = best_iteration(judged)
    revised = [entry.evaluation.confidence for entry in judged if entry.iteration > 0 and entry.evaluation]
    return Revised(
        text=best.text,
        iteration=best.iteration,
        confidence=best.evaluation.confidence if best.evaluation else None,
        hard_blocks=blocks_as_rows((await judge_text(run, best.text)).blocks),
        revision_confidence=max(revised, default=None),
        iterations=len([entry for entry in judged if entry.iteration > 0]),
        calls=await _calls(run),
        totals=Totals(
            max(run.totals.input_tokens - event.input_tokens, 0),
            max(run.totals.output_tokens - event.output_tokens, 0),
            _difference(run.totals.cost_usd, event.cost_usd),
        ),
        choice=choice_for(run, Stage.REVISER),
    )


async def _settle(
    rim: Rim, lease: Lease, draft: asyncpg.Record, event: DraftEvaluated, loop: Loop, revised: Revised
) -> None:
    """Write what became of the revision: draft, claim, event, hand-over. The best text so far is kept."""
    result = _result_event(event, loop, revised)
    written = envelope(result, result.event_id, trace_of(event.run_id, draft["traceparent"]))
    outbox_id = await persist(
        rim,
        lambda: sql.draft.settle_revision_if_leased.value(
            rim.pool,
            run_id=event.run_id,
            epoch=lease.epoch,
            content=revised.text,
            content_sha256=result.draft_sha256,
            hard_blocks=revised.hard_blocks,
            confidence=result.confidence,
            revision_confidence=result.revision_confidence,
            applied=result.applied,
            iterations=result.iterations,
            outcome=loop.outcome,
            chosen_iteration=revised.iteration,
            **written,
        ),
    )
    rim.crash_point("revision.settled")
    if outbox_id is None:
        raise Interrupted("lease_lost")
    lease.given_back()
    rim.publisher.publish([row_of(outbox_id, result.topic, written)])


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


def _result_event(event: DraftEvaluated, loop: Loop, revised: Revised) -> RevisionResult:
    now = datetime.now(UTC)
    choice = revised.choice if loop.attempted else None
    return RevisionResult(
        **{name: getattr(event, name) for name in _SHARED_IDS},
        event_id=event_id("revision-result", event.draft_id),
        occurred_at=now,
        policy_revision=event.policy_revision,
        outcome=loop.outcome,
        attempted=loop.attempted,
        applied=revised.iteration > 0,
        iterations=revised.iterations,
        original_confidence=event.confidence,
        revision_confidence=revised.revision_confidence,
        confidence=revised.confidence,
        threshold=event.threshold,
        selector_calls=revised.calls.selector,
        reviser_calls=revised.calls.reviser,
        evaluation_calls=revised.calls.evaluation,
        hard_blocks=list(dict.fromkeys(block["rule"] for block in revised.hard_blocks)),
        draft_sha256=sha256_of(revised.text),
        model=choice.model if choice else None,
        reasoning_effort=choice.effort if choice else None,
        input_tokens=revised.totals.input_tokens,
        output_tokens=revised.totals.output_tokens,
        cost_usd=revised.totals.cost_usd,
        latency_ms=max(round((now - event.occurred_at).total_seconds() * 1000), 0) if loop.attempted else 0,
    )


def _difference(total: float | None, before: float | None) -> float | None:
    return None if total is None or before is None else max(round(total - before, 8), 0.0)
