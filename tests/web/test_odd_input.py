"""Whatever somebody writes into an address or a form is answered: understood, not found, or refused; never a defect."""

from __future__ import annotations

import uuid
from urllib.parse import quote

import pytest

from app.config import Config
from app.web.server import create_app
from schemas.codes import Role
from tests.web.conftest import Site, csrf_of
from tests.web.seeding import OWN

ODD = (
    "\x00", "a\x00b", "9" * 20, "1e999", "NaN", "0001-01-05", "9999-12-31", "0001-01-01T00:00+14:00",
    "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59-14:00_00000000-0000-0000-0000-000000000000", "٣", "\ufffe", "../%",
)  # fmt: skip
NUL = "before\x00after"


def _parameters(where: str) -> list[tuple[str, str]]:
    """Path and name of every parameter of what can be looked at."""
    document = create_app(Config(_env_file=None)).openapi()["paths"]
    return sorted(
        (path, each["name"])
        for path, methods in document.items() if "get" in methods
        for each in methods["get"].get("parameters", ()) if each["in"] == where
    )  # fmt: skip


def _page(path: str) -> str:
    """The page beside this JSON; a table has none."""
    return path if path.endswith(".csv") else {"/api/overview": "/"}.get(path, path.removeprefix("/api"))


@pytest.mark.parametrize(("path", "name"), _parameters("query"))
async def test_an_odd_filter_is_no_defect(site: Site, path: str, name: str) -> None:
    """Each parameter of each page with each odd value."""
    async with site.program(Role.SUPER_ADMIN) as client:
        for odd in ODD:
            known = {"place": "0:0"} if "retry" in path else {"table": "by_day"} if path.endswith(".csv") else {}
            address = _page(path).replace("{draft_id}", str(site.seeded[OWN].draft_id))
            asks = {"accept": "application/json"}  # errors only: a page is a page
            answer = await client.get(address, params={**known, name: odd}, headers=asks)
            assert answer.status_code < 429, (odd, answer.text)
            if "\x00" in odd and answer.status_code == 422:
                assert name in answer.text, answer.text


@pytest.mark.parametrize(("path", "name"), _parameters("path"))
async def test_an_odd_id_is_no_defect(site: Site, path: str, name: str) -> None:
    """As a part of the address."""
    async with site.program(Role.SUPER_ADMIN) as client:
        for odd in ODD:
            answer = await client.get(_page(path).replace(f"{{{name}}}", quote(odd, safe="")))
            assert answer.status_code in (404, 422), (odd, answer.text)


async def test_a_change_that_cannot_be_there_is_not_found(site: Site) -> None:
    """A number that no row can have: not an outage of the database."""
    async with site.browser(Role.SUPER_ADMIN) as browser:
        csrf = csrf_of(await browser.get("/control"))
        for number in (99_999_999_999_999_999_999, 2**63, -1, 0):
            answer = await browser.post(f"/control/undo/{number}", data={"csrf": csrf})
            assert answer.status_code in (404, 422), answer.text


async def test_a_reason_that_cannot_be_stored_is_refused_and_nothing_happens(site: Site) -> None:
    """Of a switch, of a change and of a retry: before anything is done."""
    place = site.seeded[OWN].letter
    async with site.browser(Role.SUPER_ADMIN) as browser:
        csrf = csrf_of(await browser.get("/control"))
        changes = '{"auto_send_revision_enabled": [false, true]}'
        before = await site.db.fetchval("SELECT count(*) FROM admin_audit")
        for address, form in (
            ("/control/switches/AUTO_SEND_DISABLED/off", {"reason": NUL}),
            (f"/control/workspaces/{OWN}/apply", {"reason": NUL, "changes": changes}),
            ("/dead-letters/retry", {"places": place, "why": NUL}),
        ):
            answer = await browser.post(address, data={**form, "csrf": csrf})
            assert answer.status_code == 422, (address, answer.text)
            assert "reason" in answer.text
    assert await site.db.fetchval("SELECT count(*) FROM admin_audit") == before
    assert not await site.db.fetchval("SELECT bool_or(disabled) FROM kill_switch")


@pytest.mark.parametrize("field", ["workspace_id", "name", "campaigns"])
async def test_a_provisioned_name_that_cannot_be_stored_is_refused_by_its_field(site: Site, field: str) -> None:
    """NUL is a letter in JSON, and none in Postgres."""
    document = {"workspace_id": f"ws-{uuid.uuid4()}", "name": "Acme", "campaigns": []}
    odd = [{"campaign_id": "c", "mode": "DRAFT_ONLY", "name": NUL}] if field == "campaigns" else NUL
    secret = {"authorization": f"Bearer {site.web.config.workspace_provisioning_secret}"}
    async with site.visitor(**secret) as client:
        answer = await client.post("/api/workspaces", json={**document, field: odd})
    assert answer.status_code == 422, answer.text
    assert field in answer.text
