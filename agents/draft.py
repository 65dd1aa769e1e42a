"""draft-requested -> draft-evaluated: strategy, generation, verification, meeting, evaluation, then the hard blocks."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from agents.budgeting import OverBudget, settle_reservations
from agents.calling import ActiveRun, StageFailed, ask_stage, choice_for, give_up_next_call
from agents.ending import count_superseded, end_run
from agents.fates import DONE, Dropped, Fate, Retry
from agents.hard_blocks import ContextClaims, HardBlock, already_booked, check_text, codes, pack_texts
from agents.hard_blocks.language import language_tag
from agents.holding import hold_slot, record_meeting, slot_is_taken
from agents.outcomes import envelope, row_of, sha256_of
from agents.persist import persist
from agents.resuming import active_run
from agents.rim import Interrupted, Lease, Rim
from agents.stages import MEETING_STAGES, next_draft_stage, skip
from agents.starting import age_s, create_run, trace_of
from agents.strangers import other_leads_in
from db import sql
from schemas.codes import DraftStatus, Gate, Phase, RunStatus, Stage
from schemas.events import DraftEvaluated, DraftRequested
from schemas.ids import event_id, source_of
from schemas.limits import LEASE_S

_AFTER_EXTRACT: Final = frozenset({Stage.MEETING_GATE, Stage.EVALUATION})


async def handle(event: DraftRequested, rim: Rim) -> Fate:
    """Draft and judge one reply. Idempotent: a redelivery finds the run and goes on where it stood."""
    facts = await sql.run.request_facts.row(
        rim.pool, workspace_id=event.workspace_id, message_id=event.trigger_message_id, attempt=event.attempt
    )
    if facts is None:
        return Dropped("message_unknown")
    if facts["run_id"] is None:
        return await _start(event, facts, rim)
    if facts["status"] != RunStatus.RUNNING or facts["phase"] != Phase.DRAFT:
        return DONE
    taken = await sql.run.take_lease_if_free.row(
        rim.pool, run_id=facts["run_id"], owner=rim.process_id, lease_s=LEASE_S, phase=Phase.DRAFT
    )
    if taken is None:
        return await leased_elsewhere(rim, facts["run_id"], Phase.DRAFT)
    async with rim.leases.holding(facts["run_id"], taken["lease_epoch"]) as lease:
        return await _go_on(event, lease, rim)


async def leased_elsewhere(rim: Rim, run_id: Any, phase: Phase) -> Fate:
    """A live lease is waited for, not acknowledged; a run that moved on needs nothing more from this event."""
    standing = await sql.run.run_standing.row(rim.pool, run_id=run_id)
    if standing is None or standing["status"] != RunStatus.RUNNING or standing["phase"] != phase:
        return DONE
    return Retry(min(standing["lease_s"], 1.0) + 0.05, "leased_elsewhere")


async def _start(event: DraftRequested, facts: asyncpg.Record, rim: Rim) -> Fate:
    """The run of a request that has none, unless a newer message of the conversation makes it pointless."""
    if await _had_a_run(event, facts, rim):
        return Dropped("run_pruned")
    if facts["disposition"] not in (Gate.WAITING, Gate.RUN) or facts["newer_inbound"]:
        await sql.run.settle_request.run(
            rim.pool,
            request_event_id=event.event_id,
            workspace_id=event.workspace_id,
            message_id=event.trigger_message_id,
            disposition=Gate.JOINED,
        )
        return Dropped("superseded")
    created = await create_run(rim, facts, event)
    rim.crash_point("run.created")
    if created.epoch is None:
        return Retry(0.05, "created_elsewhere")
    snapshot = created.state.snapshot
    async with rim.leases.holding(snapshot.run_id, created.epoch) as lease:
        if event.retry_of is not None:
            return await _go_on(event, lease, rim)
        source = source_of(snapshot.workspace_id)
        run = ActiveRun(rim, lease, created.state, snapshot.draft_id, snapshot.traceparent, source=source)
        run.next_call = created.first_call
        return await _to_the_end(run)


async def _had_a_run(event: DraftRequested, facts: asyncpg.Record, rim: Rim) -> bool:
    """A replayed request whose run retention has deleted: it was drafted and decided, nothing is asked again."""
    if event.retry_of is None:
        return bool(facts["disposition"] == Gate.RUN)
    return await sql.run.run_standing.row(rim.pool, run_id=event.retry_of) is None


async def _go_on(event: DraftRequested, lease: Lease, rim: Rim) -> Fate:
    """A run that another worker left, or one that is tried again, from what was recorded. A person may have settled its
    draft meanwhile: then nothing more is asked."""
    if event.retry_of is not None:
        await sql.run.copy_artifacts.run(rim.pool, run_id=lease.run_id, retry_of=event.retry_of)
    run = await active_run(rim, lease)
    row = await sql.draft.draft_by_id.row(rim.pool, draft_id=run.draft_id)
    if row is None or row["status"] == DraftStatus.PENDING:
        return await _to_the_end(run)
    await _end(run, RunStatus.ABORTED, "draft_settled")
    return DONE


async def _to_the_end(run: ActiveRun) -> Fate:
    try:
        await _judged_or_ended(run)
    except Interrupted as interrupted:
        return Retry(0.1, interrupted.reason)
    finally:
        await give_up_next_call(run)
    return DONE


async def _judged_or_ended(run: ActiveRun) -> None:
    """The draft is evaluated, or the run ends without. Raises Interrupted when it is not ours to end."""
    try:
        await _ask_all(run)
        await _record_evaluation(run)
    except Interrupted as interrupted:
        if interrupted.reason != "superseded":
            raise
        await _end(run, RunStatus.ABORTED, "superseded")
        await count_superseded(run)
    except StageFailed as failed:
        await _end(run, RunStatus.FAILED, f"{failed.stage}_failed")
    except OverBudget as over:
        await _end(run, RunStatus.FAILED, over.reason)


async def _end(run: ActiveRun, status: RunStatus, reason: str) -> None:
    await end_run(run, status, reason)
    await give_up_next_call(run)
    await settle_reservations(run)


async def _ask_all(run: ActiveRun) -> None:
    """Ask every stage that has no recorded answer; those that may fail are skipped then. What the lead accepted is held
    as soon as the overseer has read it."""
    done = frozenset(Stage(stage) for stage, iteration in run.recorded if iteration == 0 and stage in set(Stage))
    skipped: frozenset[Stage] = frozenset()
    while (stage := next_draft_stage(run.state, done | skipped)) is not None:
        run.lease.check()
        if stage in _AFTER_EXTRACT:
            await hold_slot(run)
        try:
            await ask_stage(run, stage)
            done |= {stage}
        except StageFailed:
            if stage not in MEETING_STAGES and stage is not Stage.EVALUATION:
                raise
            run.state = skip(run.state, stage)
            skipped |= {stage}
    await hold_slot(run)


@dataclass(frozen=True)
class Judgement:
    """A text with the hard blocks found in it."""

    text: str
    blocks: tuple[HardBlock, ...]

    @property
    def codes(self) -> list[str]:
        return codes(self.blocks)


async def judge_text(run: ActiveRun, text: str) -> Judgement:
    """The deterministic rules on the exact text, against what the run stored as its context and other leads' data."""
    state, strategy = run.state, run.state.strategy
    if run.claims is None:
        run.claims = ContextClaims.from_snapshot(state.snapshot, pack_texts(state.pack))
    blocks = check_text(
        text,
        state.snapshot,
        context=run.claims,
        language=strategy.language if strategy is not None else None,
        scheduling=strategy is not None and strategy.scheduling,
    )
    others = await other_leads_in(run.rim.pool, text, state, blocks)
    return Judgement(text, (*already_booked(slot_is_taken(run)), *others, *blocks))


def blocks_as_rows(blocks: tuple[HardBlock, ...]) -> list[dict[str, Any]]:
    """As `ai_draft.hard_blocks` keeps them: rule and span, in Postgres only."""
    return [{"group": block.group, "rule": block.rule, "start": block.start, "end": block.end} for block in blocks]


async def _record_evaluation(run: ActiveRun) -> None:
    """Write the judged draft, its event and the hand-over; publish.

    Raises Interrupted when the run is not ours any more, or its draft was settled: whoever takes it next ends it.
    """
    started = time.perf_counter()
    state = run.state
    judgement = await judge_text(run, state.text)
    event = _evaluated_event(run, judgement, started)
    written = envelope(event, event.event_id, trace_of(run.run_id, run.traceparent))
    evaluation = state.judged[-1].evaluation
    await persist(run.rim, lambda: record_meeting(run))
    outbox_id = await persist(
        run.rim,
        lambda: sql.draft.record_evaluation_if_leased.value(
            run.rim.pool,
            run_id=run.run_id,
            epoch=run.lease.epoch,
            content=state.text,
            content_sha256=event.draft_sha256,
            language=event.language,
            hard_blocks=blocks_as_rows(judgement.blocks),
            confidence=evaluation.confidence if evaluation else None,
            reason=None if evaluation else "evaluation_without_answer",
            **written,
        ),
    )
    run.rim.crash_point("evaluation.recorded")
    if outbox_id is None:
        raise Interrupted("lease_lost")
    run.lease.given_back()
    run.rim.publisher.publish([row_of(outbox_id, event.topic, written)])


def _evaluated_event(run: ActiveRun, judgement: Judgement, started: float) -> DraftEvaluated:
    snapshot, evaluation = run.state.snapshot, run.state.judged[-1].evaluation
    confidence = evaluation.confidence if evaluation else None
    threshold = snapshot.policy.auto_send_threshold
    now = datetime.now(UTC)
    return DraftEvaluated(
        event_id=event_id("draft-evaluated", run.draft_id),
        occurred_at=now,
        workspace_id=snapshot.workspace_id,
        lead_id=snapshot.lead_id,
        channel=snapshot.channel,
        campaign_id=snapshot.campaign_id,
        mode=snapshot.mode,
        run_id=run.run_id,
        draft_id=run.draft_id,
        trigger_message_id=snapshot.trigger.message_id,
        confidence=confidence,
        threshold=threshold,
        policy_revision=snapshot.policy.revision,
        hard_blocks=judgement.codes,
        reasons=_reason_codes(confidence, threshold, judgement),
        needs_revision=confidence is not None and confidence < threshold and not judgement.blocks,
        language=language_tag(run.state.strategy.language) if run.state.strategy else None,
        draft_sha256=sha256_of(run.state.text),
        draft_chars=len(run.state.text),
        model=run.models.get((Stage.GENERATION, 0)) or choice_for(run, Stage.GENERATION).model,
        input_tokens=run.totals.input_tokens,
        output_tokens=run.totals.output_tokens,
        cost_usd=run.totals.cost_usd,
        latency_ms=max(round(age_s(now, snapshot.now) * 1000), 0),
    )


def _reason_codes(confidence: float | None, threshold: float, judgement: Judgement) -> list[str]:
    """Codes only: the model's own words stay in Postgres."""
    if confidence is None:
        return ["evaluation_without_answer"]
    verdict = "confidence_reaches_threshold" if confidence >= threshold else "confidence_below_threshold"
    return [verdict, *(f"block:{code}" for code in judgement.codes)]
