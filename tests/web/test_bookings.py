"""`POST /api/bookings`: who may report, what is recorded, and what is said when it is not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from app.web.bookings import BODY_BYTES_MAX
from db.pool import Pool
from schemas.codes import Role
from tests.db.meeting_rows import TOMORROW, WORKSPACE, add_slot, add_want, add_workspace, booking_of, hold, settle
from tests.web.conftest import Site
from tests.web.seeding import OWN


@dataclass
class Client:
    """A program with the workspace admin's token, and the database behind the route."""

    program: httpx2.AsyncClient
    pool: Pool

    async def post(self, body: Any = None, **changes: Any) -> tuple[int, dict[str, Any]]:
        """Status and answer for a report, which `changes` changes; `body` bytes are sent as they are."""
        data = body if isinstance(body, bytes) else json.dumps(report(**changes)).encode()
        response = await self.program.post("/api/bookings", content=data)
        return response.status_code, response.json()


def report(**changes: Any) -> dict[str, Any]:
    end = TOMORROW + timedelta(minutes=30)
    fields = {"workspace_id": WORKSPACE, "lead_id": "ann", "external_id": "cal-1"}
    return {**fields, "starts_at": TOMORROW.isoformat(), "ends_at": end.isoformat(), **changes}


@pytest.fixture
async def client(site: Site) -> AsyncIterator[Client]:
    """The running application, with a workspace of its own that is gone after the test."""
    await add_workspace(site.web.pool)
    async with site.program(Role.WORKSPACE_ADMIN, WORKSPACE) as program:
        yield Client(program, site.web.pool)
    site.tokens.pop((Role.WORKSPACE_ADMIN, WORKSPACE))
    await site.db.execute("DELETE FROM workspace WHERE id = $1", WORKSPACE)


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


async def test_another_workspaces_meeting_cannot_be_reported(client: Client) -> None:
    """A workspace that is not theirs does not exist for them, and nothing is recorded there."""
    assert await client.post(workspace_id=OWN, external_id="forged") == (404, {"error": "unknown_workspace"})
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
