"""The claims under every way in which their COMMIT can go wrong: held, refused, cut before, after, late, unreadable."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from db import sql
from schemas.codes import Stage
from tests.story.audit import audit, only
from tests.story.cutting_proxy import Cut, CuttingProxy, When
from tests.story.harness import Pipeline, pipeline
from tests.story.rows import Row, Workspace, row

CALM = {"quiet_window_s": 0.0}
REVISION, DELIVERY = sql.draft.claim_revision_if_allowed, sql.delivery.claim_delivery_if_leased
READ_BACK_S_MAX = 12.0  # five read-backs with full jitter take no longer


@dataclass
class Claims:
    """A pipeline whose one worker reaches Postgres through the proxy."""

    flow: Pipeline
    proxy: CuttingProxy

    async def workspace(self, **settings: Any) -> str:
        """A workspace of the story's own."""
        name = f"ws-{uuid.uuid4().hex[:8]}"
        await self.flow.provision([Workspace(name, settings=CALM | settings)])
        return name

    async def decided(self, message: Row, timeout: float = 30.0) -> asyncpg.Record:
        """The draft that answers a message, once it is decided."""
        return await self.flow.until_row(
            "SELECT * FROM ai_draft WHERE trigger_message_id = $1 AND auto_send_action IS NOT NULL",
            message["message_id"],
            timeout=timeout,
        )

    def asked(self, draft: asyncpg.Record, *stages: Stage) -> int:
        """Requests of these stages that the model saw for a draft."""
        run = str(draft["run_id"])
        return sum(line["run_id"] == run and line["stage"] in stages for line in self.flow.stack.model.ledger())

    def accepted(self, draft: asyncpg.Record) -> int:
        """Messages that the webhook receiver took for a draft."""
        lines = self.flow.stack.webhook.ledger()
        return sum(str(draft["id"]) in line["body"] and line["outcome"] == "accepted" for line in lines)


@pytest.fixture(scope="module")
async def claims(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Claims]:
    """One worker behind the proxy; the tests themselves speak to Postgres directly."""
    async with pipeline(tmp_path_factory.mktemp("claims"), workers=0) as flow:  # noqa: SIM117 - its port is needed
        async with CuttingProxy(flow.stack.postgres.port) as proxy:
            flow.worker_env["DATABASE_URL"] = proxy.url(flow.stack.postgres.url)
            await flow.start(1)
            yield Claims(flow, proxy)
            await flow.stop_workers(gently=False)


# ---- revision


async def test_a_claim_that_somebody_holds_is_waited_for(claims: Claims) -> None:
    """While the lease lives nothing is asked and the event stays unacknowledged; when it lapses one revision follows."""
    flow = claims.flow
    message = row(await claims.workspace(), "lead", "!!near hello")
    flow.stack.model.behave({"stages": {"auto_send_evaluation@0": {"latency_ms": 1500}}})
    await flow.produce([message])
    draft = await flow.until_row("SELECT * FROM ai_draft WHERE trigger_message_id = $1", message["message_id"])
    until = await flow.db.fetchval(
        "INSERT INTO draft_claim (draft_id, purpose, token, claimed_by, lease_until)"
        " VALUES ($1, 'revision', $2, 'somebody', now() + interval '6 seconds') RETURNING lease_until",
        draft["id"],
        uuid.uuid4(),
    )
    await flow.until_row("SELECT 1 FROM ai_draft WHERE id = $1 AND auto_send_evaluated_at IS NOT NULL", draft["id"])
    flow.stack.model.behave(None)
    decided = await claims.decided(message)
    await flow.idle()
    first = await flow.db.fetchval(
        "SELECT min(started_at) FROM model_call WHERE draft_id = $1 AND stage = 'auto_send_revision_selector'",
        draft["id"],
    )
    assert first > until
    assert (decided["revision_outcome"], claims.asked(decided, Stage.SELECTOR)) == ("applied", 1)
    await audit(flow, floor={"accepted": 1})


async def test_a_claim_write_that_is_refused_means_no_revision(claims: Claims) -> None:
    """The database refuses the row: `claim_failed`, the model is not asked, a person decides."""
    flow = claims.flow
    message = row(await claims.workspace(), "lead", "!!near hello")
    async with refusing(flow, "revision"):
        await flow.produce([message])
        draft = await claims.decided(message)
        await flow.idle()
    await expect_claim_failed(claims, draft)
    await audit(flow, floor={"action:needs_review": 1})


async def expect_claim_failed(claims: Claims, draft: asyncpg.Record) -> None:
    """The outcome of a claim that was not ours: nothing asked, a person decides, told as such on the topic."""
    assert (draft["revision_outcome"], draft["auto_send_action"]) == ("claim_failed", "needs_review")
    assert claims.asked(draft, Stage.SELECTOR, Stage.REVISER) == 0
    told = [r for r in await claims.flow.topic("revision-result") if str(draft["id"]).encode() in (r.value or b"")]
    assert len(told) == 1
    assert b'"outcome":"claim_failed"' in (told[0].value or b"")


class refusing:
    """A trigger that refuses claims of one purpose, while inside."""

    def __init__(self, flow: Pipeline, purpose: str) -> None:
        self._flow, self._purpose = flow, purpose

    async def __aenter__(self) -> None:
        await self._flow.db.execute(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = 'XX000'; END $$"
        )
        await self._flow.db.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON draft_claim FOR EACH ROW"
            f" WHEN (NEW.purpose = '{self._purpose}') EXECUTE FUNCTION refuse()"
        )

    async def __aexit__(self, *caught: object) -> None:
        await self._flow.db.execute("DROP TRIGGER refuse ON draft_claim")


async def test_a_claim_whose_commit_landed_unheard_is_ours(claims: Claims) -> None:
    """The connection is cut after the COMMIT: read back by its token the claim is ours, and one revision follows."""
    draft = await cut_at(claims, REVISION, When.AFTER, "!!near hello")
    assert (draft["revision_outcome"], claims.asked(draft, Stage.SELECTOR)) == ("applied", 1)
    await audit(claims.flow, floor={"accepted": 1})


async def test_a_claim_whose_commit_never_arrived_means_no_revision(claims: Claims) -> None:
    """The connection is cut before the COMMIT: read back there is no claim, so nothing is asked and a person decides."""
    draft = await cut_at(claims, REVISION, When.BEFORE, "!!near hello")
    await expect_claim_failed(claims, draft)
    await audit(claims.flow, floor={"action:needs_review": 1})


async def test_a_claim_whose_commit_lands_late_is_not_left_open(claims: Claims) -> None:
    """The COMMIT is still on its way when the client is cut: whoever is right, the claim is settled and calls are few."""
    draft = await cut_at(claims, REVISION, When.LATE, "!!near hello", late_s=1.5)
    assert draft["revision_outcome"] in ("applied", "claim_failed")
    await audit(claims.flow, floor={"messages": 1})


async def test_a_claim_that_cannot_be_read_back_means_no_revision(claims: Claims) -> None:
    """The COMMIT landed, but Postgres stays away for longer than the read-backs try: `claim_failed`, a person decides."""
    message = row(await claims.workspace(), "lead", "!!near hello")
    cut = claims.proxy.arm(Cut(REVISION, When.AFTER, then=claims.proxy.go_down))
    await claims.flow.produce([message])
    await asyncio.wait_for(cut.fired.wait(), 20)
    await asyncio.sleep(READ_BACK_S_MAX)  # the outage itself: it must outlast every read-back
    claims.proxy.come_back()
    draft = await claims.decided(message, timeout=60)
    await claims.flow.idle(60)
    await expect_claim_failed(claims, draft)
    assert draft["auto_send_revision_attempted_at"] is not None
    await audit(claims.flow, floor={"action:needs_review": 1})


async def cut_at(claims: Claims, query: Any, when: When, body: str, late_s: float = 0.0) -> asyncpg.Record:
    """One message whose claim of this kind is cut; the decided draft, once all is quiet."""
    message = row(await claims.workspace(), "lead", body)
    cut = claims.proxy.arm(Cut(query, when, late_s=late_s))
    await claims.flow.produce([message])
    await asyncio.wait_for(cut.fired.wait(), 20)
    await claims.decided(message)
    await lapse_until(claims, lambda: claims.flow.idle(0.6))
    return await claims.decided(message)


async def lapse_until(claims: Claims, quiet: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Let the leases of deliveries that nobody works on lapse now instead of in a minute, until all is quiet."""
    for _ in range(40):
        try:
            await quiet()
        except AssertionError:
            await claims.flow.db.execute(
                "UPDATE delivery SET lease_until = now(), retry_at = least(retry_at, now()) WHERE finished_at IS NULL"
                " AND lease_until > now() + interval '1 second'"
            )
        else:
            return
    raise AssertionError("the story does not come to an end")


# ---- delivery


@pytest.mark.parametrize("when", list(When), ids=lambda when: when.value)
async def test_a_delivery_claim_that_was_cut_sends_once(claims: Claims, when: When) -> None:
    """Whether the COMMIT of the delivery claim landed, did not, or landed late: the provider takes one message."""
    draft = await cut_at(claims, DELIVERY, when, "!!confident hello", late_s=1.0)
    assert (draft["status"], claims.accepted(draft)) == ("sent", 1)
    await audit(claims.flow, floor={"accepted": 1})


async def test_a_delivery_claim_that_cannot_be_read_back_sends_once(claims: Claims) -> None:
    """The COMMIT landed and Postgres went away: after it is back the provider is looked up and has one message."""
    message = row(await claims.workspace(), "lead", "!!confident hello")
    cut = claims.proxy.arm(Cut(DELIVERY, When.AFTER, then=claims.proxy.go_down))
    await claims.flow.produce([message])
    await asyncio.wait_for(cut.fired.wait(), 20)
    await asyncio.sleep(READ_BACK_S_MAX)  # the outage itself
    claims.proxy.come_back()
    await lapse_until(claims, lambda: claims.flow.idle(0.6))
    draft = await claims.decided(message)
    assert (draft["status"], claims.accepted(draft)) == ("sent", 1)
    await audit(claims.flow, floor={"accepted": 1})


async def test_a_delivery_claim_that_is_refused_sends_when_it_no_longer_is(claims: Claims) -> None:
    """While the database refuses the claim the provider is not called; afterwards one message goes out."""
    message = row(await claims.workspace(), "lead", "!!confident hello")
    async with refusing(claims.flow, "delivery"):
        await claims.flow.produce([message])
        draft = await claims.decided(message)
        await claims.flow.until_row("SELECT 1 FROM delivery WHERE draft_id = $1 AND lease_epoch > 0", draft["id"])
        assert claims.accepted(draft) == 0
    await lapse_until(claims, lambda: claims.flow.idle(0.6))
    assert claims.accepted(draft) == 1
    await audit(claims.flow, floor={"accepted": 1})


async def test_a_claimed_mail_whose_channel_is_gone_is_told_as_unknown(claims: Claims) -> None:
    """A worker died after the claim and the channel lost its adapter: "may have been sent", not "was not sent"."""
    flow = claims.flow
    workspace = await claims.workspace(send_delay_s=3600.0)
    message = row(workspace, "lead", "!!confident hello")
    await flow.produce([message])
    draft = await claims.decided(message)
    await flow.provision([Workspace(workspace, settings=CALM, channels={})])
    await flow.db.execute(
        "UPDATE delivery SET status = 'claimed', claimed_at = now(), attempts = 1, scheduled_for = now(),"
        " lease_epoch = 1, lease_until = now() WHERE draft_id = $1",
        draft["id"],
    )
    await flow.until_row("SELECT 1 FROM ai_draft WHERE id = $1 AND status = 'unknown'", draft["id"])
    await flow.idle()
    asked = await flow.db.fetchval("SELECT status FROM review_request WHERE draft_id = $1", draft["id"])
    assert asked == "open"


# ---- every other write


WRITES = (
    sql.run.create_run_if_absent,
    sql.model_call.record_call_if_leased,
    sql.model_call.settle_call_with_artifact_if_leased,
    sql.draft.record_evaluation_if_leased,
    sql.model_call.record_revision_call_if_allowed,
    sql.draft.settle_revision_if_leased,
    sql.draft.record_decision_if_leased,
    sql.delivery.take_due_deliveries,
    sql.delivery.record_sent,
    sql.outbox.mark_published,
    sql.outbox.take_admitted_requests,
    sql.run.renew_leases,
    sql.ingest.insert_messages_if_new,
)


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER], ids=lambda when: when.value)
async def test_every_write_survives_a_cut_connection(claims: Claims, when: When) -> None:
    """Each statement of the path is cut once: nothing is lost, asked twice or sent twice, and all comes to an end."""
    workspace = await claims.workspace()
    cuts = [claims.proxy.arm(Cut(query, when)) for query in WRITES]
    # One refused call is made again: its record is the one statement that nothing else would come by.
    failing = {"latency_ms": 150, "p500": 1, "times": 1}
    claims.flow.stack.model.behave({"default": {"latency_ms": 150}, "stages": {Stage.GENERATION: failing}})
    await claims.flow.produce(
        [row(workspace, f"lead{n}", "!!near hello" if n % 3 else "!!confident hi") for n in range(18)]
    )
    await asyncio.wait_for(asyncio.gather(*(cut.fired.wait() for cut in cuts)), 40)
    claims.flow.stack.model.behave(None)
    await lapse_until(claims, lambda: claims.flow.idle(2.0))
    evidence = await audit(claims.flow, floor={"accepted": 10})
    assert len(only(evidence, "draft_pipeline_run", workspace_id=workspace)) == 18
