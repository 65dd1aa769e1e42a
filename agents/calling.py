"""One model call, paid for once: recorded before it is made, settled after it, its answer stored with it.

Draft stages may try again within STAGE_ATTEMPTS_MAX; a failure during an outage (the breaker is open) does not count.
Calls of the revision have one attempt for ever; only a definite refusal, which is no call, may be repeated.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import asyncpg

from agents.booking import Wish
from agents.budgeting import choices, model_columns, record_within_budget, settle_reservations
from agents.errors import UnusableAnswer
from agents.hard_blocks import ContextClaims
from agents.persist import persist
from agents.ports import Answered, CallIdentity, Failed, ModelResult, Refused, Unusable, Usage
from agents.prompting import ask_sha256, bundle_figures
from agents.rim import Interrupted, Lease, Rim
from agents.stages import DRAFT_ORDER, STAGES, next_draft_stage
from agents.state import Ask, RunState
from db import sql
from db.artifact import storable_payload, storable_text
from schemas.codes import FEATURE_ID, Stage
from schemas.ids import call_id, derive
from schemas.limits import MODEL_CALL_S_MAX, RETRY_AFTER_S_MAX, RETRY_BASE_S, RETRY_CAP_S, STAGE_ATTEMPTS_MAX
from schemas.settings import ModelChoice, model_choice


class StageFailed(Exception):
    """A stage has no usable answer within its attempts. `code` is the last failure's."""

    def __init__(self, stage: Stage, code: str) -> None:
        super().__init__(f"{stage}: {code}")
        self.stage, self.code = stage, code


class CallNotAllowed(Exception):
    """The call was made before by a worker that died, or somebody switched it off; it is not made (again)."""


class DeadlineExceeded(Exception):
    """The revision's time is over. Not TimeoutError: that is also what a database that stalls raises, which is waited
    for."""


@dataclass
class Totals:
    """What a run has used so far. `cost_usd` is None as soon as one price is unknown."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0

    def add(self, usage: Usage) -> None:
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        known = self.cost_usd is not None and usage.cost_usd is not None
        self.cost_usd = (self.cost_usd or 0.0) + (usage.cost_usd or 0.0) if known else None


@dataclass(frozen=True)
class NextCall:
    """A call that is recorded before it is made. The first attempt of the next draft stage is recorded together with
    what came before it: one round trip less."""

    ask: Ask
    choice: ModelChoice
    call: uuid.UUID
    input_sha256: str

    def columns(self) -> dict[str, Any]:
        return {
            "next_id": self.call,
            "next_stage": self.ask.stage.value,
            "next_model": self.choice.model,
            "next_effort": self.choice.effort,
            "next_input_sha256": self.input_sha256,
        }


NO_NEXT_CALL: Final[dict[str, Any]] = dict.fromkeys(
    ("next_id", "next_stage", "next_model", "next_effort", "next_input_sha256")
)


def next_call(state: RunState, done: frozenset[Stage], known_models: frozenset[str]) -> NextCall | None:
    """The call that follows in the draft, None after the last; with a budget each call is looked at by itself."""
    stage = next_draft_stage(state, done)
    if stage is None or state.snapshot.settings.monthly_budget_usd is not None:
        return None
    ask = STAGES[stage].ask(state)
    choice = model_choice(state.snapshot.settings, stage, known_models)
    call = call_id(state.snapshot.run_id, stage, ask.iteration, 1)
    return NextCall(ask, choice, call, ask_sha256(ask, choice.model, choice.effort))


@dataclass
class ActiveRun:
    """A run in the hands of this task. `state` is what the recorded answers fold to; `next_call` is recorded.

    `wish` is the slot that the lead accepted, once that was looked at; `held` whether it is this draft's.
    """

    rim: Rim
    lease: Lease
    state: RunState
    draft_id: uuid.UUID
    traceparent: str | None
    recorded: dict[tuple[str, int], asyncpg.Record] = field(default_factory=dict)
    models: dict[tuple[str, int], str] = field(default_factory=dict)
    attempts: dict[tuple[str, int], int] = field(default_factory=dict)
    spent_attempts: dict[tuple[str, int], int] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    next_call: NextCall | None = None
    last_call: uuid.UUID | None = None
    claims: ContextClaims | None = None
    source: str = "pipeline"
    wish: Wish | None = None
    held: bool = False

    @property
    def run_id(self) -> uuid.UUID:
        return self.lease.run_id

    @property
    def workspace_id(self) -> str:
        return self.state.snapshot.workspace_id

    @property
    def limited(self) -> bool:
        """Whether each call is held against a monthly budget."""
        return self.state.snapshot.settings.monthly_budget_usd is not None


def choice_for(run: ActiveRun, stage: Stage) -> ModelChoice:
    return model_choice(run.state.snapshot.settings, stage, run.rim.model.known_models)


async def ask_stage(run: ActiveRun, stage: Stage) -> None:
    """Ask a draft stage until it answers; folds the answer into `run.state`.

    Raises StageFailed, OverBudget, Interrupted.
    """
    ask = STAGES[stage].ask(run.state)
    key, code = (stage.value, ask.iteration), "no_attempt_left"
    while run.spent_attempts.get(key, 0) < STAGE_ATTEMPTS_MAX:
        await wait_for_model(run, choice_for(run, stage).model)
        result, used = await _one_call(run, ask, revision=False)
        if isinstance(result, Answered):
            return
        code = result.code
        if not used:
            continue
        run.spent_attempts[key] = run.spent_attempts.get(key, 0) + 1
        if isinstance(result, Failed) and not result.retryable:
            break
        if run.spent_attempts[key] < STAGE_ATTEMPTS_MAX and not isinstance(result, Unusable):
            await run.lease.guard(_back_off(run, result, run.spent_attempts[key]))
    await settle_reservations(run, ask)
    raise StageFailed(stage, code)


async def ask_once(run: ActiveRun, stage: Stage, deadline: float) -> None:
    """Ask a stage of the revision: one attempt for ever. `deadline` is on time.monotonic().

    Raises StageFailed (the attempt is spent), CallNotAllowed, OverBudget, Interrupted, DeadlineExceeded.
    """
    ask = STAGES[stage].ask(run.state)
    refusals = 0
    while True:
        if time.monotonic() >= deadline:
            raise DeadlineExceeded
        await _before(deadline, wait_for_model(run, choice_for(run, stage).model))
        result, _ = await _one_call(run, ask, revision=True, timeout_s=deadline - time.monotonic())
        match result:
            case Answered():
                return
            case Refused():
                refusals += 1
                await _before(deadline, run.lease.guard(_back_off(run, result, refusals)))
            case Failed(code="timeout") if time.monotonic() >= deadline:
                raise DeadlineExceeded
            case _:
                raise StageFailed(stage, result.code)


async def _before(deadline: float, wait: Coroutine[Any, Any, None]) -> None:
    """`wait`, which does nothing but wait, cut short at `deadline` with DeadlineExceeded."""
    try:
        async with asyncio.timeout(max(deadline - time.monotonic(), 0.0)):
            await wait
    except TimeoutError:
        raise DeadlineExceeded from None


async def wait_for_model(run: ActiveRun, model: str) -> None:
    """Work waits before its next call while the model is down; nothing is failed for it."""
    run.lease.check()
    if run.rim.model.is_down(model):
        await run.lease.guard(run.rim.model.available(model))


async def _one_call(
    run: ActiveRun, ask: Ask, *, revision: bool, timeout_s: float = MODEL_CALL_S_MAX
) -> tuple[ModelResult, bool]:
    """Record, make and settle one request. Returns the result and whether it used up an attempt."""
    written = await _record(run, ask, revision=revision)
    choice, run.last_call = written.choice, written.call
    run.rim.crash_point("call.recorded")
    try:
        result = await run.lease.guard(
            run.rim.model.call(ask, choice, CallIdentity(written.call, run.run_id), min(timeout_s, MODEL_CALL_S_MAX))
        )
    except Interrupted as interrupted:
        await _settle_failure(run, written, "failed", interrupted.reason, Usage(), outage=False)
        raise
    run.rim.crash_point("call.answered")
    run.totals.add(result.usage)
    if isinstance(result, Answered):
        try:
            state = STAGES[ask.stage].decide(run.state, result.answer)
        except UnusableAnswer as unusable:
            result = Unusable(unusable.code, result.usage)
        else:
            following = None if revision else next_call(state, _done_after(ask.stage), run.rim.model.known_models)
            recorded = await _settle_answer(run, written, result, following)
            run.state, run.next_call = state, following if recorded else None
            await settle_reservations(run, ask)
            return result, True
    outage = isinstance(result, Failed | Refused) and run.rim.model.is_down(choice.model)
    status = {Unusable: "unusable", Failed: "failed", Refused: "refused"}[type(result)]
    await _settle_failure(run, written, status, result.code, result.usage, outage=outage)
    return result, not outage


async def give_up_next_call(run: ActiveRun) -> None:
    """A call that was recorded ahead and will not be made here uses up no attempt."""
    following, run.next_call = run.next_call, None
    if following is not None:
        run.attempts[following.ask.stage.value, following.ask.iteration] = 1
        run.last_call = following.call
        await _settle_failure(run, following, "refused", "not_made", Usage(), outage=False)


def _done_after(stage: Stage) -> frozenset[Stage]:
    """Draft stages run in order, so those before `stage` are done when it is."""
    return frozenset(DRAFT_ORDER[: DRAFT_ORDER.index(stage) + 1])


async def _record(run: ActiveRun, ask: Ask, *, revision: bool) -> NextCall:
    """Write the call before it is made. Raises Interrupted when the run is not ours any more, OverBudget when no
    model's worst case fits, else CallNotAllowed."""
    key, choice = (ask.stage.value, ask.iteration), choice_for(run, ask.stage)
    recorded_before, run.next_call = run.next_call, None
    if recorded_before is not None and recorded_before.ask == ask and recorded_before.choice == choice:
        run.attempts[key] = 1
        return recorded_before
    attempt = run.attempts[key] = run.attempts.get(key, 0) + 1
    call = call_id(run.run_id, ask.stage, ask.iteration, attempt)
    columns = _columns(run, ask, call, attempt)
    if run.limited:
        chosen = await record_within_budget(run, ask, choices(run, choice, revision=revision), columns, revision)
    else:
        query = sql.model_call.record_revision_call_if_allowed if revision else sql.model_call.record_call_if_leased
        recorded = await query.value(run.rim.pool, reserved_usd=0, **columns, **model_columns(ask, choice))
        chosen = choice if recorded is not None else None
    if chosen is None:
        await _refused_by_the_database(run)
    return NextCall(ask, chosen, call, ask_sha256(ask, chosen.model, chosen.effort))


def _columns(run: ActiveRun, ask: Ask, call: uuid.UUID, attempt: int) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "epoch": run.lease.epoch,
        "call_id": call,
        "stage": ask.stage.value,
        "iteration": ask.iteration,
        "attempt": attempt,
    }


async def _refused_by_the_database(run: ActiveRun) -> NoReturn:
    run.lease.check()
    standing = await sql.run.run_with_context.row(run.rim.pool, run_id=run.run_id)
    if standing is None or standing["lease_epoch"] != run.lease.epoch or standing["status"] != "RUNNING":
        raise Interrupted("lease_lost")
    if standing["superseded_at"] is not None:
        raise Interrupted("superseded")
    raise CallNotAllowed


async def _settle_answer(run: ActiveRun, written: NextCall, result: Answered, following: NextCall | None) -> bool:
    """Write answer, artifact and the next call's record; returns whether the next call is recorded."""
    ask = written.ask
    answer = result.answer.model_dump(mode="json")
    text = answer.get("text")
    payload = storable_payload(answer)
    # It is paid for: what the database does not take now is not thrown away, but written when it can be.
    stored = await persist(
        run.rim,
        lambda: sql.model_call.settle_call_with_artifact_if_leased.one(
            run.rim.pool,
            run_id=run.run_id,
            epoch=run.lease.epoch,
            call_id=written.call,
            cost_usd=result.usage.cost_usd,
            input_tokens=result.usage.input_tokens,
            output_tokens=result.usage.output_tokens,
            latency_ms=result.usage.latency_ms,
            feature_id=FEATURE_ID[ask.stage],
            source=run.source,
            metadata=_metadata(run, written, result.usage),
            artifact_id=derive("artifact", run.run_id, ask.stage, ask.iteration),
            stage=ask.stage.value,
            iteration=ask.iteration,
            prompt_key=ask.prompt_key,
            input_sha256=written.input_sha256,
            model=written.choice.model,
            payload=payload,
            text=storable_text(text) if isinstance(text, str) else None,
            **(following.columns() if following is not None else NO_NEXT_CALL),
        ),
    )
    run.rim.crash_point("call.settled")
    if stored["artifact_id"] is None:
        run.lease.check()
        raise Interrupted("lease_lost")
    run.models[ask.stage.value, ask.iteration] = written.choice.model
    return stored["next_id"] is not None


async def _settle_failure(
    run: ActiveRun, written: NextCall, status: str, failure: str, usage: Usage, *, outage: bool
) -> None:
    await sql.model_call.settle_call.run(
        run.rim.pool,
        call_id=written.call,
        status=status,
        failure=failure,
        during_outage=outage,
        cost_usd=usage.cost_usd if usage.input_tokens else 0,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        latency_ms=usage.latency_ms,
        feature_id=FEATURE_ID[written.ask.stage],
        source=run.source,
        metadata={**_metadata(run, written, usage), "during_outage": outage},
    )


def _metadata(run: ActiveRun, written: NextCall, usage: Usage) -> dict[str, Any]:
    """Numbers and booleans only; the database refuses anything else. `coerced`: settings that made no sense."""
    return {
        "iteration": written.ask.iteration,
        "attempt": run.attempts[(written.ask.stage.value, written.ask.iteration)],
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        **bundle_figures(run.state, written.ask.stage),
        "coerced": len(written.choice.coerced),
    }


async def _back_off(run: ActiveRun, result: ModelResult, failures: int) -> None:
    """Full jitter (Exponential Backoff And Jitter, AWS architecture blog, 2015), never before Retry-After."""
    pause = random.uniform(0, min(RETRY_CAP_S, RETRY_BASE_S * 2**failures))  # noqa: S311 - spreads load, hides nothing
    asked = result.retry_after_s if isinstance(result, Refused) else None
    await run.rim.wait(max(pause, min(asked or 0.0, RETRY_AFTER_S_MAX)))
