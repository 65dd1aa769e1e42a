"""An event that failed for reasons of our own, too often: what hung on it goes to a person, nothing stays RUNNING."""

import uuid

import structlog

from agents.ending import end_run, fail_unread
from agents.persist import TRANSIENT
from agents.resuming import active_run
from agents.revise import settle_with_error
from agents.rim import Interrupted, Rim
from db import sql
from schemas.codes import Gate, Phase, RunStatus
from schemas.events import DraftEvaluated, DraftRequested, Event, RevisionResult
from schemas.ids import run_id
from schemas.limits import LEASE_S

log = structlog.get_logger()

_REASON = "unexpected_error"


async def give_up(event: Event, rim: Rim) -> None:
    """End what `event` was to move on. A run that is leased elsewhere is that worker's business. Raises
    Interrupted when that happens meanwhile, and what a database that is away raises."""
    match event:
        case DraftRequested():
            run = run_id(event.workspace_id, event.trigger_message_id, event.channel, event.attempt)
            await _fail(rim, run, Phase.DRAFT)
            await sql.run.settle_request.run(
                rim.pool,
                request_event_id=event.event_id,
                workspace_id=event.workspace_id,
                message_id=event.trigger_message_id,
                disposition=Gate.DRAFT_FAILED,
            )
        case DraftEvaluated():
            await settle_with_error(event, rim)
        case RevisionResult():
            await _fail(rim, event.run_id, Phase.DISPATCH)
        case _:
            return


async def _fail(rim: Rim, run: uuid.UUID, phase: Phase) -> None:
    taken = await sql.run.take_lease_if_free.row(
        rim.pool, run_id=run, owner=rim.process_id, lease_s=LEASE_S, phase=phase
    )
    if taken is None:
        return
    async with rim.leases.holding(run, taken["lease_epoch"]) as lease:
        try:
            await end_run(await active_run(rim, lease), RunStatus.FAILED, _REASON)
        except (Interrupted, *TRANSIENT):
            raise
        except Exception as error:  # what made the event fail may make this fail, too
            log.error("run_not_readable", run_id=str(run), exc_info=error)
            await fail_unread(rim, lease, taken["draft_id"], _REASON)
