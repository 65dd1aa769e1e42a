"""Who gets in, as whom, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.datastructures import Headers

from app.config import Config
from app.web.identity import Via, by_headers
from app.web.sign_in import local_path
from db import sql
from schemas.codes import Role
from schemas.limits import SIGN_INS_PER_MINUTE_MAX
from tests.web.conftest import ORIGIN, Site, csrf_of, soon
from tests.web.seeding import OWN


async def test_a_token_signs_a_browser_in_until_it_signs_out(site: Site) -> None:
    """The session is good for every page, and worth nothing after the sign-out, whoever copied the cookie."""
    async with site.browser(Role.OPS) as browser, site.visitor() as thief:
        page = await browser.get("/")
        assert page.status_code == 200
        assert "ops-all" in page.text
        thief.cookies.update(browser.cookies)
        assert (await thief.get("/")).status_code == 200

        out = await browser.post("/sign-out", data={"csrf": csrf_of(page)})
        assert (out.status_code, out.headers["location"]) == (303, "/sign-in")
        assert (await browser.get("/")).status_code == 303
        assert (await thief.get("/")).status_code == 303


async def test_the_cookie_is_kept_from_scripts_and_other_sites(site: Site) -> None:
    """HttpOnly, SameSite, bounded in time, and no token in it."""
    token = await site.token(Role.OPS)
    async with site.visitor() as browser:
        answer = await browser.post("/sign-in", data={"token": token})
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    assert token not in cookie


async def test_a_cookie_that_was_touched_is_nobody(site: Site) -> None:
    """One character changed, or a session id without our signature."""
    async with site.browser(Role.OPS) as browser:
        name, value = site.web.seals.cookie, browser.cookies[site.web.seals.cookie]
    for forged in (value[:-2] + ("A" if value[-2] != "A" else "B") + value[-1], value.partition(".")[0], "x", ""):
        async with site.visitor(cookie=f"{name}={forged}") as forger:
            assert (await forger.get("/")).status_code == 303


async def test_a_revoked_token_ends_at_once_with_its_sessions(site: Site) -> None:
    """Bearer and browser alike."""
    token = await site.token(Role.ANALYST, by="test-revoke")
    async with site.visitor() as browser, site.visitor(authorization=f"Bearer {token}") as program:
        await browser.post("/sign-in", data={"token": token})
        assert (await browser.get("/")).status_code == (await program.get("/")).status_code == 200
        found = await site.db.fetchval("SELECT id FROM api_token WHERE created_by = 'test-revoke'")
        await sql.sign_in.revoke_token.one(site.db, token_id=found)
        assert (await browser.get("/")).status_code == (await program.get("/")).status_code == 303


async def test_who_is_signed_out_by_name_is_out_at_once(site: Site) -> None:
    """Whatever started the session: no token hangs on one of an identity provider."""
    token = await site.token(Role.ANALYST, by="test-sign-out")
    async with site.visitor() as browser:
        await browser.post("/sign-in", data={"token": token})
        assert (await browser.get("/")).status_code == 200
        name = await site.db.fetchval("SELECT name FROM api_token WHERE created_by = 'test-sign-out'")
        assert await sql.sign_in.end_sessions_of.rows(site.db, subject=f"token:{name}")
        assert (await browser.get("/")).status_code == 303


async def test_an_expired_token_is_no_good(site: Site) -> None:
    """Neither as bearer nor to sign in."""
    token = await site.token(Role.OPS, expires=datetime.now(UTC) - timedelta(seconds=1))
    async with site.visitor() as browser, site.visitor(authorization=f"Bearer {token}") as program:
        assert (await browser.post("/sign-in", data={"token": token})).status_code == 401
        assert (await program.get("/api/overview")).status_code == 401


async def test_a_link_signs_in_once_and_is_no_bearer(site: Site) -> None:
    """Looking at the link uses nothing up; the second browser is refused, the first stays."""
    token = await site.token(Role.SUPER_ADMIN, expires=soon(), one_time=True)
    async with (
        site.visitor() as first,
        site.visitor() as second,
        site.visitor(authorization=f"Bearer {token}") as program,
    ):
        assert (await program.get("/")).status_code == 303
        shown = await first.get("/sign-in", params={"link": token})
        assert token in shown.text
        assert (await first.post("/sign-in", data={"token": token})).status_code == 303
        assert (await second.post("/sign-in", data={"token": token})).status_code == 401
        assert (await first.get("/control")).status_code == 200


async def test_where_no_token_works_yet_the_page_says_how_the_first_is_made(site: Site) -> None:
    """Only then; afterwards it stands behind a click."""
    await site.token(Role.OPS)
    async with site.visitor() as browser:
        assert "No token yet?" in (await browser.get("/sign-in")).text
        await site.db.execute(
            "UPDATE api_token SET one_time = true, used_at = now(), expires_at = now() + interval '1 day'"
        )
        assert "No token was made here yet" in (await browser.get("/sign-in")).text
        await site.db.execute("UPDATE api_token SET one_time = false")


async def test_only_the_hash_of_a_token_is_kept(site: Site) -> None:
    """Nothing in the database, the audit included, gives it back."""
    token = await site.token(Role.REVIEWER, OWN, by="test-hash")
    rows = await site.db.fetch("SELECT t::text AS row FROM api_token t UNION ALL SELECT a::text FROM admin_audit a")
    assert rows
    assert not any(token in row["row"] or token[3:20] in row["row"] for row in rows)


async def test_guessing_tokens_is_slowed_down(site: Site) -> None:
    """Beyond the limit even a good token is refused from that address, with the time to wait; not from another."""
    good = await site.token(Role.OPS)
    async with site.visitor("198.51.100.7") as guesser, site.visitor("198.51.100.8") as other:
        codes = [
            (await guesser.post("/sign-in", data={"token": f"guess-{n}"})).status_code
            for n in range(SIGN_INS_PER_MINUTE_MAX)
        ]
        assert codes == [401] * SIGN_INS_PER_MINUTE_MAX
        refused = await guesser.post("/sign-in", data={"token": good})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert (await other.post("/sign-in", data={"token": good})).status_code == 303


async def test_who_asks_too_often_is_told_to_wait(site: Site) -> None:
    """Per identity, not per address."""
    async with site.program(Role.OPS) as client, site.program(Role.ANALYST) as calm:
        await client.get("/api/ai-ops")
        for key in [key for key in site.web.limiter._buckets if key.startswith("token:")]:
            site.web.limiter._buckets[key] = (0.0, site.web.limiter._now())
        refused = await client.get("/api/ai-ops")
        assert (refused.status_code, refused.json()["error"]["status"]) == (429, 429)
        assert (await calm.get("/api/ai-ops")).status_code == 200


async def test_signing_in_from_another_site_is_refused(site: Site) -> None:
    """A form elsewhere cannot sign somebody in as somebody else."""
    token = await site.token(Role.OPS)
    for headers in ({"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}):
        async with site.visitor(**headers) as browser:
            assert (await browser.post("/sign-in", data={"token": token})).status_code == 403
    async with site.visitor(origin=ORIGIN) as browser:
        assert (await browser.post("/sign-in", data={"token": token})).status_code == 303


async def test_after_signing_in_one_is_where_one_wanted_to_be(site: Site) -> None:
    """The page that asked for the sign-in, with its filters; never another site."""
    async with site.visitor() as browser:
        asked = await browser.get("/ai-ops?workspace=ws-own")
        assert asked.headers["location"] == "/sign-in?next=%2Fai-ops%3Fworkspace%3Dws-own"
        answer = await browser.post(
            "/sign-in", data={"token": await site.token(Role.OPS), "next": "/ai-ops?workspace=ws-own"}
        )
        assert answer.headers["location"] == "/ai-ops?workspace=ws-own"


@pytest.mark.parametrize(
    "address",
    ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "", "/sign-in", "/a\nb", "javascript:x"],
)
def test_no_sign_in_leads_elsewhere(address: str) -> None:
    """What is no path of ours becomes the overview."""
    assert local_path(address) == "/"


# ---- a proxy that signed the person in

PROXY = "10.1.2.3"
SIGNS_IN: dict[str, Any] = {"trusted_proxies": "10.1.0.0/16", "trusted_user_header": "X-Forwarded-User"}
TRUSTING = Config(_env_file=None, **SIGNS_IN)
NORA = {"x-forwarded-user": "nora", "x-forwarded-role": "reviewer", "x-forwarded-workspace": OWN}


def test_a_proxy_names_who_asks() -> None:
    """User, role and workspace, as its headers say."""
    identity = by_headers(Headers(NORA), TRUSTING)
    assert identity is not None
    assert (identity.subject, identity.role, identity.workspace_id, identity.via) == (
        "proxy:nora", Role.REVIEWER, OWN, Via.PROXY,
    )  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"x-forwarded-role": "king"},
        {"x-forwarded-role": ""},
        {"x-forwarded-user": ""},
        {"x-forwarded-role": "super_admin"},
        {"x-forwarded-role": "workspace_admin", "x-forwarded-workspace": ""},
    ],
    ids=str,
)
def test_a_proxy_that_names_no_role_of_ours_names_nobody(wrong: dict[str, str]) -> None:
    """Roles are the five; a super-admin is bound to no workspace, a workspace's admin to one."""
    assert by_headers(Headers({**NORA, **wrong}), TRUSTING) is None


def test_a_doubled_header_names_nobody() -> None:
    """One that the proxy added beside one that was sent."""
    raw = [(name.encode(), value.encode()) for name, value in NORA.items()]
    assert by_headers(Headers(raw=[*raw, (b"x-forwarded-role", b"ops")]), TRUSTING) is None


async def test_headers_count_from_a_trusted_proxy_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same request from any other address is nobody's, whatever it says came before it."""
    monkeypatch.setattr(site.web, "config", site.web.config.model_copy(update=SIGNS_IN))
    async with site.visitor(PROXY, **NORA) as behind, site.visitor(**NORA, **{"x-forwarded-for": PROXY}) as beside:
        page = await behind.get("/")
        assert page.status_code == 200
        assert "nora" in page.text
        assert (await beside.get("/")).status_code == 303


async def test_an_ingress_that_signs_nobody_in_names_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is trusted about addresses only, and hands on whatever headers a browser made up."""
    monkeypatch.setattr(site.web, "config", site.web.config.model_copy(update={"trusted_proxies": "10.1.0.0/16"}))
    async with site.visitor(PROXY, **{**NORA, "x-forwarded-role": "ops"}) as behind:
        assert (await behind.get("/")).status_code == 303


async def test_a_proxy_is_believed_nowhere_unless_it_is_configured(site: Site) -> None:
    """By default nobody's headers count."""
    async with site.visitor(PROXY, **NORA) as behind:
        assert (await behind.get("/")).status_code == 303
