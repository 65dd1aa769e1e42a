"""revision-result -> draft-outcome: decide once. It writes a delivery or a review request; sends nothing."""

import uuid
from typing import Any, Final

import asyncpg

from agents.booking import Plan, decided
from agents.draft import leased_elsewhere
from agents.ending import count_superseded, end_run
from agents.fates import DONE, Dropped, Fate, Retry
from agents.holding import with_followup
from agents.outcomes import draft_outcome, envelope, row_of, sha256_of
from agents.persist import persist
from agents.policy import Decision, Reason, SendFacts, decide_action, due_at
from agents.resuming import active_run
from agents.rim import Interrupted, Lease, Rim
from agents.starting import age_s, state_of, trace_of
from agents.state import RunState
from db import sql
from db.artifact import storable_payload
from db.pool import Executor
from schemas.codes import (
    FINAL_DRAFT,
    Action,
    BookingStatus,
    DraftStatus,
    KillSwitch,
    MeetingOutcome,
    OutcomeStatus,
    Phase,
    RevisionOutcome,
    RunStatus,
)
from schemas.events import RevisionResult
from schemas.ids import delivery_id, derive
from schemas.limits import LEASE_S, OUTBOX_TAKEN_S

_NO_EVENT: Final[dict[str, Any]] = {
    "event_id": None,
    "key": b"",
    "value": b"",
    "headers": {},
    "taken_s": OUTBOX_TAKEN_S,
}


async def handle(event: RevisionResult, rim: Rim) -> Fate:
    """Record what happens to a draft. Idempotent: a decided run is terminal."""
    taken = await sql.run.take_lease_if_free.row(
        rim.pool, run_id=event.run_id, owner=rim.process_id, lease_s=LEASE_S, phase=Phase.DISPATCH
    )
    if taken is None:
        return await leased_elsewhere(rim, event.run_id, Phase.DISPATCH)
    async with rim.leases.holding(event.run_id, taken["lease_epoch"]) as lease:
        try:
            return await _dispatch(event, rim, lease, superseded=taken["superseded"])
        except Interrupted as interrupted:
            return Retry(0.1, interrupted.reason)


async def _dispatch(event: RevisionResult, rim: Rim, lease: Lease, *, superseded: bool) -> Fate:
    """Decide, or end a run whose draft is not to be decided any more. Raises Interrupted when the lease is lost."""
    row = await sql.run.run_with_context.row(rim.pool, run_id=event.run_id)
    standing = await sql.delivery.send_standing.row(rim.pool, draft_id=event.draft_id)
    if row is None or standing is None:
        return Dropped("draft_erased")
    if superseded or event.outcome is RevisionOutcome.SUPERSEDED:
        run = await active_run(rim, lease)
        await end_run(run, RunStatus.ABORTED, "superseded")
        await count_superseded(run)
    elif standing["status"] != DraftStatus.PENDING:  # a person settled it while it was tried again
        await end_run(await active_run(rim, lease), RunStatus.ABORTED, "draft_settled")
    else:
        state = state_of(row).with_text(standing["content"])
        await _decide(rim, lease, state, standing, event, row["traceparent"])
    return DONE


async def _decide(
    rim: Rim, lease: Lease, state: RunState, standing: asyncpg.Record, event: RevisionResult, traceparent: str | None
) -> None:
    plan = _meeting(state, standing, event)
    decision = decide_action(_facts(rim, state, standing, event, plan))
    delivery = await _record(rim, lease, state, standing, event, decision, plan, traceparent)
    rim.crash_point("decision.recorded")
    rim.run_ended()
    if delivery is not None and decision.action is Action.SEND_IMMEDIATE:
        rim.deliver_soon()


def _meeting(state: RunState, standing: asyncpg.Record, event: RevisionResult) -> Plan | None:
    """What is to become of the meeting, None when none is arranged."""
    if standing["meeting_outcome"] is None:
        return None
    planned = Plan(MeetingOutcome(standing["meeting_outcome"]), standing["meeting_reason"])
    return decided(planned, state.snapshot, state.pack, event.confidence)


def _facts(rim: Rim, state: RunState, standing: asyncpg.Record, event: RevisionResult, plan: Plan | None) -> SendFacts:
    snapshot, settings = state.snapshot, state.snapshot.settings
    channel = dict(standing["channels"].get(snapshot.channel) or {})
    return SendFacts(
        mode=snapshot.mode,
        confidence=event.confidence,
        threshold=event.threshold,
        outcome=event.outcome,
        now=standing["now"],
        due=due_at(standing["now"], settings, snapshot.profile.timezone),
        hard_blocks=tuple(dict.fromkeys(block["rule"] for block in standing["hard_blocks"])),
        answered=standing["answered"],
        suppressed=standing["suppressed"],
        auto_send_disabled=standing["send_off"] or rim.is_off(KillSwitch.AUTO_SEND_DISABLED),
        quarantined=standing["quarantined"],
        newer_elsewhere=standing["newer_elsewhere"],
        too_old=age_s(snapshot.now, snapshot.trigger.received_at) > settings.message_age_s_max,
        attachments=bool(snapshot.attachments),
        forged_sender=snapshot.forged_sender,
        has_adapter=rim.adapter(snapshot.channel, channel) is not None,
        has_recipient=snapshot.recipient is not None,
        rate_limited=standing["replies_last_hour"] >= settings.auto_replies_per_hour_max
        or standing["replies_last_day"] >= settings.auto_replies_per_day_max,
        meeting_obstacle=standing["meeting_obstacle"]
        or (Reason.MEETING_NOT_HELD if standing["booking_status"] == BookingStatus.RELEASED else None),
        booking_refused=plan is not None
        and plan.outcome in (MeetingOutcome.TASK_CREATED, MeetingOutcome.ERROR)
        and standing["booking_status"] is not None,
    )


async def _record(
    rim: Rim,
    lease: Lease,
    state: RunState,
    draft: asyncpg.Record,
    event: RevisionResult,
    decision: Decision,
    plan: Plan | None,
    traceparent: str | None,
) -> uuid.UUID | None:
    """Write the decision in one statement; returns the delivery's id when there is one. A meeting that is not to be
    booked has its follow-up in the same transaction."""
    sends = decision.action in (Action.SEND_IMMEDIATE, Action.SEND_DELAYED)
    delivery = delivery_id(event.draft_id, 1) if sends else None
    written, topic = _written(draft, event, decision, delivery, traceparent)
    followup = plan if decision.action is not Action.NONE else None

    columns = _decision_columns(state, draft, event, decision)

    async def write(executor: Executor) -> asyncpg.Record | None:
        return await sql.draft.record_decision_if_leased.row(
            executor,
            epoch=lease.epoch,
            outcomes=int(written["event_id"] is not None),
            delivery_id=delivery,
            **columns,
            **written,
        )

    recorded = await persist(rim, lambda: with_followup(rim.pool, event.draft_id, followup, write))
    if recorded is None:
        raise Interrupted("lease_lost")
    lease.given_back()
    if recorded["outbox_id"] is not None:
        rim.publisher.publish([row_of(recorded["outbox_id"], topic, written)])
    return recorded["delivery_id"]  # type: ignore[no-any-return]


def _decision_columns(
    state: RunState, draft: asyncpg.Record, event: RevisionResult, decision: Decision
) -> dict[str, Any]:
    """The decision and its `final_draft` artifact, as `record_decision_if_leased` takes them."""
    delayed = decision.action is Action.SEND_DELAYED
    return {
        "run_id": event.run_id,
        "reason": decision.reasons[0],
        "artifact_id": derive("artifact", event.run_id, FINAL_DRAFT, 0),
        "iteration": _chosen_iteration(draft, event),
        "input_sha256": sha256_of(draft["content"]),
        "payload": storable_payload({"action": decision.action, "reasons": list(decision.reasons)}),
        "text": draft["content"],
        "action": decision.action,
        "draft_status": _draft_status(decision),
        "delayed": delayed,
        "scheduled_for": decision.scheduled_for if delayed else None,
        "review_id": derive("review", event.draft_id) if decision.action is Action.NEEDS_REVIEW else None,
        "review_s": state.snapshot.settings.review_s_max,
    }


def _chosen_iteration(draft: asyncpg.Record, event: RevisionResult) -> int:
    """Which text was chosen: the original, or the best of the iterations that ran."""
    return int(draft["chosen_iteration"]) if event.applied else 0


def _draft_status(decision: Decision) -> DraftStatus:
    if decision.action is Action.SEND_DELAYED:
        return DraftStatus.SCHEDULED
    match decision.status:
        case OutcomeStatus.SUPPRESSED:
            return DraftStatus.SUPPRESSED
        case OutcomeStatus.SUPERSEDED:
            return DraftStatus.SUPERSEDED
        case _:
            return DraftStatus.PENDING


def _written(
    draft: asyncpg.Record,
    event: RevisionResult,
    decision: Decision,
    delivery: uuid.UUID | None,
    traceparent: str | None,
) -> tuple[dict[str, Any], str]:
    """The outcome event of the decision; an immediate send has its outcome when the provider has answered."""
    if decision.action is Action.SEND_IMMEDIATE:
        return _NO_EVENT, ""
    outcome = draft_outcome(
        draft,
        run_id=event.run_id,
        action=decision.action,
        status=decision.status,
        reason=decision.reasons[0],
        delivery_id=delivery,
        scheduled_for=decision.scheduled_for,
    )
    return envelope(outcome, outcome.event_id, trace_of(event.run_id, traceparent)), outcome.topic
