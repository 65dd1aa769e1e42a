"""Backfill, acts: drafts that were imported, or recorded before a field existed, get the decision they lack.

Nothing is sent and no recorded decision changes. A draft is finished in one statement that compares; stopped anywhere,
the next backfill goes on with what is undecided. One JSON line a draft goes to the log, without any text.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TextIO
from uuid import UUID

import asyncpg
import orjson

from agents.backfill import Judge, MarkSent, Result, Verdict, plan, verdict
from agents.budgeting import usd
from agents.draft import blocks_as_rows
from agents.hard_blocks import HardBlock, check_text
from agents.outcomes import draft_outcome, envelope, sha256_of
from agents.persist import TRANSIENT
from agents.ports import Answered, CallIdentity, Failed, ModelPort, Refused, Usage
from agents.prompting import ask_sha256
from agents.stages import STAGES
from agents.starting import CONTEXT_ROWS_MAX, search_words, snapshot_of
from agents.state import Ask, RunState
from agents.strangers import other_leads_in
from db import sql
from db.artifact import storable_payload
from db.pool import Pool, transaction
from schemas.answers import Evaluation
from schemas.codes import FEATURE_ID, FINAL_DRAFT, OutcomeStatus, Stage
from schemas.context import DraftRunContextPack
from schemas.events import DraftRequested
from schemas.ids import call_id, derive, event_id
from schemas.limits import MODEL_CALL_S_MAX, RETRY_AFTER_S_MAX, RETRY_BASE_S, STAGE_ATTEMPTS_MAX
from schemas.settings import ModelChoice, model_choice

SOURCE: Final = "backfill"
PAGE_DRAFTS_MAX: Final = 100
CALLS_AT_ONCE: Final = 8
MODEL_WAIT_S_MAX: Final = 60.0


class _Stopped(Exception):
    """This draft gets nothing now; `result` says why."""

    def __init__(self, result: str) -> None:
        super().__init__(result)
        self.result = result


@dataclass(frozen=True)
class _Case:
    """An old draft as a run would see it."""

    row: asyncpg.Record
    model: ModelPort
    state: RunState
    ask: Ask
    choice: ModelChoice
    input_sha256: str

    @property
    def run_id(self) -> UUID:
        return self.state.snapshot.run_id


class Backfill:
    """One pass over all undecided drafts. Without a model it is a dry run, which writes nothing but the log."""

    def __init__(self, pool: Pool, model: ModelPort | None, log: TextIO, owner: str) -> None:
        self._pool, self._model, self._log, self._owner = pool, model, log, owner
        self.results: Counter[str] = Counter()
        self._room = asyncio.Semaphore(CALLS_AT_ONCE)

    async def run(
        self, workspace_id: str | None, limit: int | None, say: Callable[[int], None] = lambda seen: None
    ) -> Counter[str]:
        """Results by code. Raises what the database does; what the model does becomes `error:` codes."""
        after, left = UUID(int=0), limit
        while left is None or left > 0:
            size = PAGE_DRAFTS_MAX if left is None else min(left, PAGE_DRAFTS_MAX)
            page = await sql.history.backfill_page.rows(
                self._pool, workspace_id=workspace_id, after_id=after, limit=size
            )
            if not page:
                break
            after, left = page[-1]["id"], None if left is None else left - len(page)
            await asyncio.gather(*(self._one(row) for row in page))
            say(self.results.total())
        return self.results

    async def _one(self, row: asyncpg.Record) -> None:
        async with self._room:
            try:
                result = await self._decide(row)
            except _Stopped as stopped:
                result = stopped.result
            except (*TRANSIENT, asyncpg.PostgresError, ValueError) as error:
                result = f"error:{type(error).__name__}"
        self.results[result] += 1
        line = {"at": datetime.now(UTC), "draft_id": str(row["id"]), "workspace_id": row["workspace_id"]}
        self._log.write(orjson.dumps({**line, "result": result, "applied": self._model is not None}).decode() + "\n")

    async def _decide(self, row: asyncpg.Record) -> str:
        match plan(dict(row)):
            case MarkSent() as mark:
                return await self._mark_sent(row, mark) if self._model else Result.WOULD_MARK_SENT
            case Judge():
                return await self._judge(await self._case(row, self._model)) if self._model else Result.WOULD_JUDGE
            case Result() as skipped:
                return skipped

    async def _mark_sent(self, row: asyncpg.Record, mark: MarkSent) -> str:
        changed = await sql.history.backfill_sent_if_undecided.run(
            self._pool,
            draft_id=row["id"],
            action=mark.action,
            evaluated_at=mark.evaluated_at,
            confidence=mark.confidence,
        )
        return Result.SENT if changed else Result.DECIDED_MEANWHILE

    # ---- a pending draft

    async def _judge(self, case: _Case) -> str:
        answered = await self._ask(case)
        if not isinstance(answered.answer, Evaluation):
            raise _Stopped("error:unusable_answer")
        text, snapshot = case.state.text, case.state.snapshot
        blocks = check_text(text, snapshot, language=case.row["language"])
        blocks = (*await other_leads_in(self._pool, text, case.state, blocks), *blocks)
        found = verdict(answered.answer.confidence, snapshot.policy.auto_send_threshold, blocks)
        return await self._write(case, answered.answer, blocks, found)

    async def _case(self, row: asyncpg.Record, model: ModelPort) -> _Case:
        """The draft's context, built as a run would build its base context, up to the trigger."""
        facts = await sql.run.request_facts.row(
            self._pool, workspace_id=row["workspace_id"], message_id=row["trigger_message_id"], attempt=row["attempt"]
        )
        if facts is None:
            raise _Stopped(Result.NO_TRIGGER)
        rows = await sql.run.context_rows.one(
            self._pool,
            **{name: facts[name] for name in ("workspace_id", "lead_id", "channel", "thread_id", "ingest_seq")},
            words=search_words(facts["body"]),
            limit=CONTEXT_ROWS_MAX,
        )
        snapshot = snapshot_of(facts, rows, _request(row), bundle=False)
        state = RunState(snapshot=snapshot).with_text(row["content"])
        ask = STAGES[Stage.EVALUATION].ask(state)
        choice = model_choice(snapshot.settings, Stage.EVALUATION, model.known_models)
        return _Case(row, model, state, ask, choice, ask_sha256(ask, choice.model, choice.effort))

    async def _ask(self, case: _Case) -> Answered:
        """The evaluator's answer, within the attempts of a draft stage; each call is recorded before it is made."""
        code = "no_attempt_left"
        for attempt in range(1, STAGE_ATTEMPTS_MAX + 1):
            try:
                async with asyncio.timeout(MODEL_WAIT_S_MAX):
                    await case.model.available(case.choice.model)
            except TimeoutError:
                raise _Stopped("error:model_down") from None
            call = await self._record(case)
            result = await case.model.call(case.ask, case.choice, CallIdentity(call, case.run_id), MODEL_CALL_S_MAX)
            if isinstance(result, Answered):
                await self._settle(case, call, "answered", None, result.usage)
                return result
            status = {"Unusable": "unusable", "Failed": "failed", "Refused": "refused"}[type(result).__name__]
            await self._settle(case, call, status, result.code, result.usage)
            code = result.code
            if isinstance(result, Failed) and not result.retryable:
                break
            if isinstance(result, Failed | Refused) and attempt < STAGE_ATTEMPTS_MAX:
                await asyncio.sleep(_pause_s(result, attempt))
        raise _Stopped(f"error:{code}")

    async def _record(self, case: _Case) -> UUID:
        """The call's record, with its worst case reserved where the workspace has a monthly limit."""
        before = await sql.history.calls_so_far.value(self._pool, run_id=case.run_id, stage=Stage.EVALUATION)
        call, worst = (
            call_id(case.run_id, Stage.EVALUATION, 0, before + 1),
            case.model.worst_case_usd(case.ask, case.choice),
        )
        try:
            recorded = await sql.history.record_backfill_call_if_undecided.row(
                self._pool,
                draft_id=case.row["id"],
                run_id=case.run_id,
                call_id=call,
                stage=Stage.EVALUATION,
                attempt=before + 1,
                model=case.choice.model,
                effort=case.choice.effort,
                input_sha256=case.input_sha256,
                worst_usd=usd(worst) if worst is not None else None,
            )
        except asyncpg.UniqueViolationError:  # another backfill asks
            recorded = None
        if recorded is None:
            raise _Stopped(Result.DECIDED_MEANWHILE)
        if recorded["id"] is None:
            raise _Stopped(Result.OVER_BUDGET)
        return call

    async def _settle(self, case: _Case, call: UUID, status: str, failure: str | None, usage: Usage) -> None:
        await sql.model_call.settle_call.run(
            self._pool,
            call_id=call,
            status=status,
            failure=failure,
            during_outage=False,
            cost_usd=usage.cost_usd if status == "answered" or usage.input_tokens else 0,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            latency_ms=usage.latency_ms,
            feature_id=FEATURE_ID[Stage.EVALUATION],
            source=SOURCE,
            metadata={"iteration": 0, "bundle_enabled": False},
        )
        await sql.model_call.settle_reservations.run(
            self._pool, run_id=case.run_id, stage=Stage.EVALUATION, iteration=0
        )

    async def _write(self, case: _Case, evaluation: Evaluation, blocks: tuple[HardBlock, ...], found: Verdict) -> str:
        """Under the lead's row lock the gates are asked once more: what came meanwhile must not be overlooked."""
        row, snapshot = case.row, case.state.snapshot
        async with transaction(self._pool) as connection:
            await sql.delivery.lock_lead.run(connection, workspace_id=row["workspace_id"], lead_id=row["lead_id"])
            now = await sql.history.backfill_page.row(
                connection, workspace_id=row["workspace_id"], after_id=_just_before(row["id"]), limit=1
            )
            if now is None or now["id"] != row["id"]:
                return Result.DECIDED_MEANWHILE
            again = plan(dict(now))
            if not isinstance(again, Judge):
                return again if isinstance(again, Result) else Result.DECIDED_MEANWHILE
            draft = await sql.draft.lock_draft.one(connection, draft_id=row["id"])
            written = await sql.history.backfill_judged_if_undecided.value(
                connection,
                draft_id=row["id"],
                run_id=case.run_id,
                attempt=row["attempt"],
                policy_revision=snapshot.policy.revision,
                reason=found.reason,
                confidence=evaluation.confidence,
                threshold=snapshot.policy.auto_send_threshold,
                action=found.action,
                hard_blocks=blocks_as_rows(blocks),
                content_sha256=sha256_of(case.state.text),
                outcomes=int(found.action is not None),
                owner=self._owner,
                **_record_of(case, evaluation, found),
                review_id=derive("review", row["id"]) if found.action else None,
                review_s=snapshot.settings.review_s_max,
                **_event_of(case, draft, evaluation, found),
            )
        return found.result if written is not None else Result.DECIDED_MEANWHILE


def _request(row: asyncpg.Record) -> DraftRequested:
    """The request that would have led to this draft; it is not published."""
    ids = {name: row[name] for name in ("workspace_id", "lead_id", "channel", "trigger_message_id", "attempt")}
    return DraftRequested(
        event_id=event_id("draft-requested", SOURCE, row["id"]),
        occurred_at=datetime.now(UTC),
        draft_id=row["id"],
        **ids,
    )


def _pause_s(result: Failed | Refused, attempt: int) -> float:
    asked_s = result.retry_after_s if isinstance(result, Refused) else None
    return max(RETRY_BASE_S * 2.0**attempt, min(asked_s or 0.0, RETRY_AFTER_S_MAX))


def _just_before(identity: UUID) -> UUID:
    return UUID(int=identity.int - 1)


def _record_of(case: _Case, evaluation: Evaluation, found: Verdict) -> dict[str, Any]:
    """What the run keeps: context, the evaluator's answer, the decided text."""
    return {
        "snapshot": case.state.snapshot.model_dump(mode="json"),
        "context_pack": DraftRunContextPack().model_dump(mode="json"),
        "artifact_id": derive("artifact", case.run_id, Stage.EVALUATION, 0),
        "prompt_key": case.ask.prompt_key,
        "input_sha256": case.input_sha256,
        "model": case.choice.model,
        "payload": storable_payload(evaluation.model_dump(mode="json")),
        "final_id": derive("artifact", case.run_id, FINAL_DRAFT, 0),
        "final_payload": storable_payload({"action": found.action, "reasons": [found.reason]}),
    }


def _event_of(case: _Case, draft: asyncpg.Record, evaluation: Evaluation, found: Verdict) -> dict[str, Any]:
    """The outcome, when a person is asked."""
    if found.action is None:
        return {"event_id": None, "key": b"", "value": b"", "headers": {}}
    outcome = draft_outcome(
        draft,
        run_id=case.run_id,
        action=found.action,
        status=OutcomeStatus.AWAITING_REVIEW,
        reason=found.reason,
    ).model_copy(
        update={
            "confidence": evaluation.confidence,
            "threshold": case.state.snapshot.policy.auto_send_threshold,
            "policy_revision": case.state.snapshot.policy.revision,
        }
    )
    written = envelope(outcome, outcome.event_id, draft["traceparent"])
    return {name: written[name] for name in ("event_id", "key", "value", "headers")}
