"""Every switch turned in the control plane, at rest and under load: when was the last thing done that it forbids?"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from html import unescape

import httpx2

from app.cli.token import make_token
from app.web.server import create_app
from db.pool import transaction
from schemas.codes import Role
from tests.story.audit import audit
from tests.story.harness import Pipeline
from tests.story.rows import Workspace, row

RATE_PER_S = 12.0
SPAN_S = 2.5
VISIBLE_S_MAX = 2.0
ONE, TWO = "ws-flip-1", "ws-flip-2"

BEFORE_MIN = 3
REVISED = (
    "SELECT count(*) >= $2 FROM draft_claim k JOIN ai_draft d ON d.id = k.draft_id"
    " WHERE k.purpose = 'revision' AND d.workspace_id = $1"
)

OF_ONE_WORKSPACE = "auto_send_revision_enabled"

# What each switch forbids: when it was last begun, in a workspace. The bundle is looked at when a run starts.
REVISED_LAST = (
    "SELECT greatest(max(k.claimed_at), (SELECT max(m.started_at) FROM model_call m WHERE"
    " m.workspace_id = ANY ($1::text[]) AND m.stage LIKE 'auto_send_revision_%'))"
    " FROM draft_claim k JOIN ai_draft d ON d.id = k.draft_id WHERE k.purpose = 'revision' AND d.workspace_id = ANY ($1::text[])"
)
FORBIDDEN = {
    "LEAD_CONTEXT_BUNDLE_DISABLED": "SELECT max(r.created_at) FROM draft_pipeline_run r JOIN draft_run_context c ON c.run_id = r.id"
    " WHERE r.workspace_id = ANY ($1::text[]) AND (c.snapshot ->> 'bundle_enabled')::boolean",
    OF_ONE_WORKSPACE: REVISED_LAST,
    "AUTO_SEND_REVISION_DISABLED": REVISED_LAST,
    "AUTO_SEND_DISABLED": "SELECT max(claimed_at) FROM delivery WHERE automatic AND workspace_id = ANY ($1::text[])",
}


@asynccontextmanager
async def console(flow: Pipeline) -> AsyncIterator[httpx2.AsyncClient]:
    """A super-admin's program at the web process."""
    app = create_app(flow.config)
    async with app.router.lifespan_context(app):
        async with transaction(flow.db) as connection:
            token = await make_token(connection, "flips", Role.SUPER_ADMIN, None, None, one_time=False, by="story")
        transport = httpx2.ASGITransport(app=app)
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://web", headers=headers) as client:
            yield client


async def turn(client: httpx2.AsyncClient, switch: str, *, off: bool) -> None:
    """A kill switch, as its page does it."""
    address = f"/control/switches/{switch}"
    data = {"reason": "flips"}
    if not off:
        seen = re.search(r'name="seen" value="([^"]+)"', (await client.get(address)).text)
        assert seen is not None
        data["seen"] = unescape(seen[1])
    assert (await client.post(f"{address}/{'off' if off else 'on'}", data=data)).status_code == 303


async def revise(client: httpx2.AsyncClient, workspace: str, *, enabled: bool) -> None:
    """The switch of one workspace, as its page does it."""
    changes = json.dumps({"auto_send_revision_enabled": [not enabled, enabled]})
    address = f"/control/workspaces/{workspace}/apply"
    assert (await client.post(address, data={"changes": changes, "reason": "flips"})).status_code == 303


async def load_forever(flow: Pipeline, sent: list[str]) -> None:
    """A steady stream for both workspaces: half is confident, half needs a revision."""
    while True:
        number = len(sent)
        body = "!!confident hello" if number % 4 < 2 else "!!near hello"
        sent.append(body)
        await flow.produce([row((ONE, TWO)[number % 2], f"lead-{number}", body)])
        await asyncio.sleep(1 / RATE_PER_S)


async def clock(flow: Pipeline) -> datetime:
    moment: datetime = await flow.db.fetchval("SELECT clock_timestamp()")
    return moment


async def late(flow: Pipeline, switch: str, answered: datetime, workspaces: list[str]) -> float:
    """Seconds from the answer of the page to the last thing that the switch forbids; negative: all was before."""
    last = await flow.db.fetchval(FORBIDDEN[switch], workspaces)
    assert last is not None, f"{switch}: nothing was done before the flip either"
    return float((last - answered).total_seconds())


async def last_actions(flow: Pipeline, answered: dict[str, datetime]) -> dict[str, float]:
    """Seconds for each switch."""
    return {
        switch: await late(flow, switch, at, [TWO] if switch == OF_ONE_WORKSPACE else [ONE, TWO])
        for switch, at in answered.items()
    }


async def flip_at_rest(flow: Pipeline, client: httpx2.AsyncClient) -> dict[str, float]:
    """Each switch off while nothing flows, and messages for both upon the answer: nothing that it forbids begins."""
    answered: dict[str, datetime] = {}
    for switch in FORBIDDEN:
        if switch == OF_ONE_WORKSPACE:
            await revise(client, TWO, enabled=False)
        else:
            await turn(client, switch, off=True)
        answered[switch] = await clock(flow)
        bodies = ("!!near hello", "!!confident hello")
        await flow.produce([row(to, f"rest-{switch}-{body}", body) for to in (ONE, TWO) for body in bodies])
        await flow.idle()
    return await last_actions(flow, answered)


async def test_a_flip_binds_every_worker_at_once_also_under_load(well_behaved: Pipeline) -> None:
    """Nothing that a switch forbids begins once the page has answered; what it leaves alone goes on."""
    flow = well_behaved
    settings = {"lead_context_bundle_enabled": True, "quiet_window_s": 0.0}
    await flow.provision([Workspace(ONE, settings=settings), Workspace(TWO, settings=settings)])
    flow.stack.model.behave({"default": {"latency_ms": 30, "latency_ms_max": 120}})
    sent: list[str] = []
    async with console(flow) as client:
        load = asyncio.create_task(load_forever(flow, sent))
        answered: dict[str, datetime] = {}
        await flow.until(lambda: flow.db.fetchval(REVISED, TWO, BEFORE_MIN), 30.0, "revisions under way")
        await revise(client, TWO, enabled=False)
        answered[OF_ONE_WORKSPACE] = await clock(flow)
        for switch in ("LEAD_CONTEXT_BUNDLE_DISABLED", "AUTO_SEND_REVISION_DISABLED", "AUTO_SEND_DISABLED"):
            await asyncio.sleep(SPAN_S)
            await turn(client, switch, off=True)
            answered[switch] = await clock(flow)
        await asyncio.sleep(SPAN_S)
        load.cancel()
        await flow.idle()

        took = await last_actions(flow, answered)
        print({switch: f"{seconds:+.3f} s" for switch, seconds in took.items()}, f"{len(sent)} messages")
        assert all(seconds <= 0.0 for name, seconds in took.items() if name != "LEAD_CONTEXT_BUNDLE_DISABLED"), took
        assert took["LEAD_CONTEXT_BUNDLE_DISABLED"] <= VISIBLE_S_MAX
        assert all(seconds > -SPAN_S for seconds in took.values()), f"not under load: {took}"
        after = "SELECT count(*) FROM ai_draft WHERE workspace_id = ANY ($1::text[]) AND auto_send_evaluated_at > $2"
        assert await flow.db.fetchval(after, [ONE, TWO], answered["AUTO_SEND_DISABLED"]) > 0

        # Back on: everything works again, within the same two seconds and the time of a run.
        for switch in ("LEAD_CONTEXT_BUNDLE_DISABLED", "AUTO_SEND_REVISION_DISABLED", "AUTO_SEND_DISABLED"):
            await turn(client, switch, off=False)
        await revise(client, TWO, enabled=True)
        began = time.monotonic()
        await flow.produce([row(TWO, "back", "!!near hello")])
        await flow.until_row(
            "SELECT 1 FROM ai_draft WHERE lead_id = 'back' AND revision_outcome = 'applied' AND status = 'sent'"
        )
        print(f"on again: revised and sent after {time.monotonic() - began:.2f} s")
        await flow.idle()
        rested = await flip_at_rest(flow, client)
        print("at rest:", {switch: f"{seconds:+.3f} s" for switch, seconds in rested.items()})
        assert max(rested.values()) <= 0.0, rested
    await flow.idle()
    await audit(flow, floor={"accepted": 10})
