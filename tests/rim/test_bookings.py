"""`POST /api/bookings` over a real socket: who may report, what is recorded, and what is said when it is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import uvicorn
from fastapi import FastAPI

from app.config import Config
from app.stack.local import LocalStack
from app.stack.process import free_port
from app.web.bookings import BODY_BYTES_MAX, book
from db.pool import Pool, create_pool
from tests.conftest import administer
from tests.db.meeting_rows import TOMORROW, WORKSPACE, add_slot, add_want, add_workspace, booking_of, hold, settle

SECRET = "provisioning-secret"
START_S_MAX = 10.0


@dataclass
class Client:
    """The route, and the database behind it."""

    url: str
    pool: Pool
    session: aiohttp.ClientSession

    async def post(
        self, body: Any = None, *, secret: str | None = SECRET, **changes: Any
    ) -> tuple[int, dict[str, Any]]:
        """Status and answer for a report, which `changes` changes; `body` bytes are sent as they are."""
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        data = body if isinstance(body, bytes) else json.dumps(report(**changes)).encode()
        async with self.session.post(self.url, data=data, headers=headers) as response:
            return response.status, await response.json()


def report(**changes: Any) -> dict[str, Any]:
    end = TOMORROW + timedelta(minutes=30)
    fields = {"workspace_id": WORKSPACE, "lead_id": "ann", "external_id": "cal-1"}
    return {**fields, "starts_at": TOMORROW.isoformat(), "ends_at": end.isoformat(), **changes}


@pytest.fixture(scope="module")
async def client(stack: LocalStack, template_database: str) -> AsyncIterator[Client]:
    """The route by itself, served on a port of its own, on a database of this module."""
    await administer(stack, f"CREATE DATABASE bookings_http TEMPLATE {template_database}")
    pool = await create_pool(stack.postgres.url_of("bookings_http"), size=4, application="bookings")
    await add_workspace(pool)
    app = FastAPI()
    app.post("/api/bookings")(book)
    app.state.web = SimpleNamespace(config=Config(_env_file=None, workspace_provisioning_secret=SECRET), pool=pool)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(START_S_MAX):
        while not server.started:  # noqa: ASYNC110 - uvicorn tells it in no other way
            await asyncio.sleep(0.01)
    async with aiohttp.ClientSession() as session:
        yield Client(f"http://127.0.0.1:{port}/api/bookings", pool, session)
    server.should_exit = True
    await serving
    await pool.close()
    await administer(stack, "DROP DATABASE bookings_http WITH (FORCE)")


async def test_a_booking_is_recorded_once_and_its_slot_is_taken(client: Client) -> None:
    """201, then 200 for the same; moved and cancelled by the same name."""
    slot, want = await add_slot(client.pool), await add_want(client.pool)
    await hold(client.pool, want, slot)
    status, first = await client.post()
    assert (status, first["changed"], first["displaced"]) == (201, True, 1)
    assert await client.post() == (200, {**first, "changed": False, "displaced": 0})
    assert await booking_of(client.pool, want) == ("released", "booked_outside")
    assert (await client.post(status="cancelled"))[0] == 201
    assert await hold(client.pool, want, slot) == "held"
    await settle(client.pool, want, "sent")
    assert await client.post(external_id="cal-2") == (409, {"error": "meeting_already_booked"})


@pytest.mark.parametrize("secret", [None, "", "wrong", "prövisioning", SECRET + "x"])
async def test_without_the_secret_nothing_is_recorded(client: Client, secret: str | None) -> None:
    """401 before the body is read."""
    assert await client.post(secret=secret, external_id="forged") == (401, {"error": "unauthorized"})
    assert not await client.pool.fetchval("SELECT count(*) FROM booking WHERE external_id = 'forged'")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"external_id": ""}, "external_id"),
        ({"external_id": "x" * 201}, "external_id"),
        ({"lead_id": "\x00"}, "lead_id"),
        ({"lead_id": None}, "lead_id"),
        ({"starts_at": "2026-03-03T10:00:00"}, "starts_at"),
        ({"starts_at": "0001-01-01T00:00:00+14:00"}, "body"),
        ({"ends_at": report()["starts_at"]}, "body"),
        ({"ends_at": "tomorrow ann@example.com"}, "ends_at"),
        ({"status": "maybe"}, "status"),
    ],
)
async def test_a_report_that_breaks_the_contract_names_its_field(
    client: Client, changes: dict[str, Any], field: str
) -> None:
    """422 with the field's name; nothing of what was sent comes back."""
    assert await client.post(**changes) == (422, {"error": "invalid", "field": field})


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{", b"[" * 10_000, b'{"lead_id": "\\ud800"}'])
async def test_a_body_that_is_no_report_is_refused(client: Client, body: bytes) -> None:
    """422, whatever the bytes are."""
    status, answer = await client.post(body)
    assert (status, answer["error"]) == (422, "invalid")


async def test_a_body_without_end_is_cut_off_and_an_unknown_workspace_is_told(client: Client) -> None:
    """413 beyond the limit, 404 for a workspace that nobody provisioned."""
    assert (await client.post(b" " * (BODY_BYTES_MAX + 1)))[0] == 413
    assert await client.post(workspace_id="nobody") == (404, {"error": "unknown_workspace"})
