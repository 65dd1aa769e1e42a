"""A monthly limit on real workers: no revision, then the cheaper model, then a person; and nothing when nobody can tell."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from schemas.codes import Stage
from tests.story.audit import audit
from tests.story.harness import Pipeline, pipeline
from tests.story.rows import Row, Workspace, row

CHEAPER = "gpt-5-nano"
# A draft's call has a worst case of some 0.24 USD with the default model, 0.007 with the cheaper one.
ENOUGH, ONE_CALL, CHEAP_ONLY, NOTHING = 50, 0.5, 0.1, 0.001


@pytest.fixture(scope="module")
async def flow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    """One worker, no workspace."""
    async with pipeline(tmp_path_factory.mktemp("budget"), workers=1) as running:
        yield running


async def workspace(flow: Pipeline, limit: float | None, **settings: Any) -> str:
    name = f"ws-{uuid.uuid4().hex[:8]}"
    chosen = {"quiet_window_s": 0.0, "monthly_budget_usd": limit, **settings}
    await flow.provision([Workspace(name, settings=chosen)])
    return name


async def decided(flow: Pipeline, message: Row) -> asyncpg.Record:
    """The draft of a message once it is decided and nothing is left to do."""
    query = "SELECT * FROM ai_draft WHERE trigger_message_id = $1 AND auto_send_action IS NOT NULL"
    await flow.until_row(query, message["message_id"], timeout=40)
    await flow.idle()
    return await flow.until_row(query, message["message_id"])


def asked(flow: Pipeline, draft: asyncpg.Record, *stages: Stage) -> int:
    """Requests for a draft that the model saw, of these stages or of all."""
    lines = [line for line in flow.stack.model.ledger() if line["run_id"] == str(draft["run_id"])]
    return sum(not stages or line["stage"] in stages for line in lines)


async def accounts(flow: Pipeline, workspace_id: str) -> tuple[float, float, float]:
    """Spent and reserved in the month's row, and what the calls themselves say they cost."""
    row = await flow.db.fetchrow(
        "SELECT b.spent_usd::float8, b.reserved_usd::float8, (SELECT sum(cost_usd)::float8 FROM model_call c"
        " WHERE c.workspace_id = b.workspace_id) AS cost FROM workspace_budget b WHERE workspace_id = $1",
        workspace_id,
    )
    assert row is not None
    return row["spent_usd"], row["reserved_usd"], row["cost"]


async def test_what_was_reserved_becomes_what_it_cost(flow: Pipeline) -> None:
    """A revised and sent draft within the limit: spent is the sum of its calls, nothing stays reserved."""
    name = await workspace(flow, ENOUGH)
    message = row(name, "lead", "!!near hello")
    await flow.produce([message])
    draft = await decided(flow, message)
    spent, reserved, cost = await accounts(flow, name)
    assert (draft["revision_outcome"], draft["status"]) == ("applied", "sent")
    assert [spent, reserved] == pytest.approx([cost, 0])
    assert cost > 0


async def test_a_failed_call_that_is_tried_again_is_counted_once(flow: Pipeline) -> None:
    """The first attempt of a stage is answered 500: the second has its reservation, and only the answer costs."""
    name = await workspace(flow, ENOUGH)
    flow.stack.model.behave({"stages": {"draft_generation_step2": {"p500": 1, "times": 1}}})
    message = row(name, "lead", "!!confident hello")
    await flow.produce([message])
    draft = await decided(flow, message)
    flow.stack.model.behave(None)
    spent, reserved, cost = await accounts(flow, name)
    assert (draft["status"], asked(flow, draft, Stage.GENERATION)) == ("sent", 2)
    assert [spent, reserved] == pytest.approx([cost, 0])


async def test_first_the_revision_is_skipped(flow: Pipeline) -> None:
    """Drafts fit, one iteration of a revision does not: `over_budget` in the claim's own statement, no selector call."""
    name = await workspace(flow, ONE_CALL, cheaper_model=CHEAPER)
    message = row(name, "lead", "!!near hello")
    await flow.produce([message])
    draft = await decided(flow, message)
    assert (draft["revision_outcome"], draft["auto_send_action"]) == ("over_budget", "needs_review")
    assert asked(flow, draft, Stage.SELECTOR, Stage.REVISER) == 0
    assert await flow.db.fetchval("SELECT count(*) FROM draft_claim WHERE draft_id = $1", draft["id"]) == 0
    models = await flow.db.fetch("SELECT DISTINCT model FROM model_call WHERE draft_id = $1", draft["id"])
    assert {each["model"] for each in models} == {"gpt-5.2"}
    told = [
        r.value or b"" for r in await flow.topic("revision-result") if str(draft["id"]).encode() in (r.value or b"")
    ]
    assert [b'"outcome":"over_budget"' in value for value in told] == [True]


async def test_then_the_cheaper_model_writes(flow: Pipeline) -> None:
    """No call of the chosen model fits: every stage is asked of the cheaper one, and the event says so."""
    name = await workspace(flow, CHEAP_ONLY, cheaper_model=CHEAPER)
    message = row(name, "lead", "!!confident hello")
    await flow.produce([message])
    draft = await decided(flow, message)
    models = await flow.db.fetch("SELECT DISTINCT model FROM model_call WHERE draft_id = $1", draft["id"])
    assert ({each["model"] for each in models}, draft["status"]) == ({CHEAPER}, "sent")
    told = [
        r.value or b"" for r in await flow.topic("draft-evaluated") if str(draft["id"]).encode() in (r.value or b"")
    ]
    assert f'"model":"{CHEAPER}"'.encode() in told[0]


async def test_then_a_person_decides(flow: Pipeline) -> None:
    """Not even the cheaper model fits: the model is not asked, the run says why, a person is told."""
    for settings in ({"cheaper_model": CHEAPER}, {"cheaper_model": "no-such-model"}, {}):
        name = await workspace(flow, NOTHING, **settings)
        message = row(name, "lead", "!!confident hello")
        await flow.produce([message])
        draft = await decided(flow, message)
        found = (draft["auto_send_action"], draft["auto_send_reason"], asked(flow, draft))
        assert found == ("needs_review", "over_budget", 0)


async def test_without_a_limit_nothing_is_kept(flow: Pipeline) -> None:
    """No row, nothing held, and the next call is recorded with the one before, as ever."""
    name = await workspace(flow, None)
    message = row(name, "lead", "!!near hello")
    await flow.produce([message])
    draft = await decided(flow, message)
    assert draft["status"] == "sent"
    assert not await flow.db.fetchval("SELECT count(*) FROM workspace_budget WHERE workspace_id = $1", name)
    assert not await flow.db.fetchval(
        "SELECT count(*) FROM model_call WHERE workspace_id = $1 AND held_usd IS NOT NULL", name
    )


async def test_a_budget_that_cannot_be_asked_asks_a_person(flow: Pipeline) -> None:
    """The table is gone, then locked: no request is made; other workspaces do not notice."""
    limited, free = await workspace(flow, ENOUGH), await workspace(flow, None)
    await flow.db.execute("ALTER TABLE workspace_budget RENAME TO workspace_budget_away")
    try:
        messages = [row(limited, "lead", "!!confident hello"), row(free, "lead", "!!confident hello")]
        await flow.produce(messages)
        stopped, sent = [await decided(flow, message) for message in messages]
    finally:
        await flow.db.execute("ALTER TABLE workspace_budget_away RENAME TO workspace_budget")
    found = (stopped["auto_send_action"], stopped["auto_send_reason"], asked(flow, stopped))
    assert found == ("needs_review", "budget_unavailable", 0)
    assert sent["status"] == "sent"

    async with flow.db.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE workspace_budget IN ACCESS EXCLUSIVE MODE")
        message = row(limited, "another", "!!confident hello")
        await flow.produce([message])
        stopped = await flow.until_row(
            "SELECT * FROM ai_draft WHERE trigger_message_id = $1 AND auto_send_action IS NOT NULL",
            message["message_id"],
        )
        assert (stopped["auto_send_reason"], asked(flow, stopped)) == ("budget_unavailable", 0)
    await flow.idle()


async def test_a_worker_that_dies_in_a_call_leaves_no_reservation(flow: Pipeline) -> None:
    """SIGKILL while the model is asked: the takeover asks again on the same reservation; spent is what was answered."""
    name = await workspace(flow, ENOUGH)
    flow.stack.model.behave({"stages": {"draft_generation_step2": {"latency_ms": 4000}}})
    message = row(name, "lead", "!!confident hello")
    await flow.produce([message])
    await flow.until_row(
        "SELECT 1 FROM model_call WHERE workspace_id = $1 AND stage = 'draft_generation_step2' AND held_usd > 0", name
    )
    await flow.kill(len(flow.workers) - 1)
    flow.stack.model.behave(None)
    await flow.start(1)
    draft = await decided(flow, message)
    spent, reserved, cost = await accounts(flow, name)
    assert (draft["status"], asked(flow, draft, Stage.GENERATION)) == ("sent", 2)
    assert [spent, reserved] == pytest.approx([cost, 0])


async def test_a_message_that_is_overtaken_counts_what_was_thrown_away(flow: Pipeline) -> None:
    """The newer message ends the run: tokens thrown away and saved stand with its last call, nothing stays reserved."""
    name = await workspace(flow, ENOUGH)
    flow.stack.model.behave({"stages": {"draft_verifier_step3": {"latency_ms": 8000}}})
    first = row(name, "lead", "!!confident hello", thread_id="t")
    await flow.produce([first])
    await flow.until_row("SELECT 1 FROM model_call WHERE workspace_id = $1 AND stage = 'draft_verifier_step3'", name)
    flow.stack.model.behave(None)
    second = row(name, "lead", "!!confident and another thing", thread_id="t")
    await flow.produce([second])
    await decided(flow, second)
    old = await flow.db.fetchrow("SELECT * FROM draft_pipeline_run WHERE trigger_message_id = $1", first["message_id"])
    assert old is not None
    assert (old["status"], old["reason"]) == ("ABORTED", "superseded")
    counted = await flow.db.fetchrow(
        "SELECT metadata, feature_id FROM ai_interaction WHERE run_id = $1 AND metadata ? 'tokens_thrown_away'",
        old["id"],
    )
    assert counted is not None
    used = await flow.db.fetchval(
        "SELECT sum(input_tokens + output_tokens) FROM model_call WHERE run_id = $1", old["id"]
    )
    assert counted["feature_id"] == "draft.verifier"
    assert counted["metadata"]["tokens_thrown_away"] == used > 0
    assert counted["metadata"]["tokens_saved"] > 0
    assert (await accounts(flow, name))[1] == 0


async def test_a_setting_that_makes_no_sense_is_counted(flow: Pipeline) -> None:
    """An unknown model and effort become the defaults, and every call with them says so."""
    name = await workspace(flow, None, draft_model="no-such-model", draft_reasoning_effort="much")
    message = row(name, "lead", "!!confident hello")
    await flow.produce([message])
    await decided(flow, message)
    rows = await flow.db.fetch("SELECT feature_id, model, metadata FROM ai_interaction WHERE workspace_id = $1", name)
    coerced = {each["feature_id"]: each["metadata"]["coerced"] for each in rows}
    assert coerced == {"draft.strategy": 2, "draft.generation": 2, "draft.verifier": 0, "auto_send.evaluate": 0}
    assert {each["model"] for each in rows} == {"gpt-5.2"}


async def test_everything_that_happened_here_stands_up_to_the_audit(flow: Pipeline) -> None:
    """After all these stories every promise still holds."""
    await audit(flow, floor={"accepted": 6, "action:needs_review": 5})
