"""Every route, every role, own and other workspace: made from the router, so that no route is forgotten."""

from __future__ import annotations

import re
from copy import copy
from itertools import product

import httpx2
import pytest
from fastapi import APIRouter, FastAPI

from app.web import errors
from app.web.access import Machine, Public, Require, machine, refuse_unstated, routes_of
from app.web.identity import fits
from app.web.server import create_app
from schemas.codes import Role
from tests.web.conftest import ORIGIN, Site, bound_to
from tests.web.seeding import MARKS, OTHER, OWN

SAFE = {"GET", "HEAD"}
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
_FORM = {"content-type": "application/x-www-form-urlencoded"}


def _routes(kind: type) -> list[tuple[str, str]]:
    """Method and path of every route whose access is stated this way."""
    from app.config import Config

    routes = routes_of(create_app(Config(_env_file=None)))
    return sorted(
        (method, path) for path, methods, stated in routes for method in methods - {"HEAD"}
        if any(isinstance(each, kind) for each in stated)
    )  # fmt: skip


SIGNED_IN = _routes(Require)
PUBLIC = _routes(Public)
ROUTES = [pytest.param(*each, id=" ".join(each)) for each in SIGNED_IN]


def _allowed(site: Site, method: str, path: str) -> frozenset[Role]:
    """The roles of all that this route states."""
    allowed = frozenset(Role)
    for at, methods, stated in routes_of(site.app):
        if at == path and method in methods:
            for each in stated:
                allowed &= each.roles if isinstance(each, Require) else allowed
    return allowed


def _of_all(site: Site, method: str, path: str) -> bool:
    """Whether this route is for those who are bound to no workspace."""
    return any(
        isinstance(each, Require) and each.of_all
        for at, methods, stated in routes_of(site.app) if at == path and method in methods for each in stated
    )  # fmt: skip


def _of(site: Site, path: str, workspace: str) -> str:
    """The path with this workspace's ids in it."""
    return _PARAMETER.sub(lambda found: site.seeded[workspace].parameter(found[1]), path)


async def _ask(client: httpx2.AsyncClient, method: str, path: str) -> httpx2.Response:
    return await client.request(method, path, content=b"", headers=_FORM if method not in SAFE else {})


def test_there_are_routes_of_each_kind() -> None:
    """The tests below are about something."""
    assert len(SIGNED_IN) >= 8
    assert ("GET", "/live") in PUBLIC


def test_only_these_routes_are_public() -> None:
    """Whoever adds to this list says why in the route."""
    assert {path for _, path in PUBLIC} <= {
        "/live",
        "/ready",
        "/metrics",
        "/sign-in",
        "/sign-in/oidc",
        "/sign-in/oidc/callback",
        "/webhooks/slack/interactions",
    }


def test_a_route_that_states_no_access_stops_the_start() -> None:
    """Nobody can forget it."""
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter()
    router.get("/open")(lambda: None)
    app.include_router(router)
    with pytest.raises(RuntimeError, match="GET /open states no access"):
        refuse_unstated(app, but=frozenset())


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nobody_gets_in_without_signing_in(site: Site, method: str, path: str) -> None:
    """A page leads to the sign-in, a call answers 401; so does a token that was never made."""
    address = _of(site, path, OWN)
    async with site.visitor() as visitor, site.visitor(authorization="Bearer dp_no-such-token") as forger:
        seen = await _ask(visitor, method, address)
        assert seen.status_code in ((401,) if path.startswith("/api/") else (303, 401))
        if seen.status_code == 303:
            assert seen.headers["location"].startswith("/sign-in")
        forged = await _ask(forger, method, address)
        assert forged.status_code in (303, 401)
        assert not any(mark in seen.text + forged.text for mark in MARKS)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_role_does_what_the_route_states_and_nothing_else(site: Site, method: str, path: str) -> None:
    """Every role that is not named is refused, and what is offered in the navigation is not."""
    allowed = _allowed(site, method, path)
    for role in Role:
        unbound = _of_all(site, method, path) and fits(role, None)
        async with site.program(role, None if unbound else bound_to(role)) as client:
            answer = await _ask(client, method, _of(site, path, OWN))
        if role in allowed:
            assert answer.status_code not in (401, 403, 500), (role, answer.text)
        else:
            assert answer.status_code == 403, (role, answer.text)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nothing_of_another_workspace_is_seen_or_changed(site: Site, method: str, path: str) -> None:
    """Whoever is bound to one workspace: another's ids do not exist, and no list has a mark of it."""
    addresses = {_of(site, path, OTHER), _of(site, path, OWN)}
    for role, address in product(_allowed(site, method, path) - {Role.SUPER_ADMIN}, addresses):
        async with site.program(role, OWN) as client:
            answer = await _ask(client, method, address)
        if address != _of(site, path, OWN):
            assert answer.status_code in (403, 404, 422), (role, address)
        said = answer.text.replace(address, "")
        assert not any(mark in said for mark in MARKS), (role, address)


async def test_what_is_about_all_workspaces_is_closed_to_who_has_one(site: Site) -> None:
    """Metrics have series of every workspace: a token of one of them opens none."""
    assert _of_all(site, "GET", "/metrics")
    async with site.program(Role.OPS, OWN) as bound, site.program(Role.OPS) as ops:
        refused = await bound.get("/metrics")
        assert (refused.status_code, (await ops.get("/metrics")).status_code) == (403, 200)
    assert "draft_pipeline" not in refused.text


@pytest.mark.parametrize("path", [path for method, path in SIGNED_IN if method == "GET"])
async def test_a_filter_cannot_widen_what_is_seen(site: Site, path: str) -> None:
    """`?workspace=` another one is refused or ignored."""
    for role in _allowed(site, "GET", path) - {Role.SUPER_ADMIN}:
        async with site.program(role, OWN) as client:
            answer = await client.get(_of(site, path, OWN), params={"workspace": OTHER, "workspace_id": OTHER})
        said = answer.text.replace(f"workspace={OTHER}", "").replace(f"workspace_id={OTHER}", "")
        assert answer.status_code == 404 or not any(mark in said for mark in MARKS), role


@pytest.mark.parametrize(("method", "path"), [each for each in ROUTES if each.values[0] not in SAFE])
async def test_a_browser_changes_nothing_without_the_token_of_its_form(site: Site, method: str, path: str) -> None:
    """A form from elsewhere has no CSRF token of this session; another session's is no good."""
    if any(each.bearer_only for at, methods, stated in routes_of(site.app) if at == path and method in methods
           for each in stated if isinstance(each, Require)):  # fmt: skip
        return
    role = sorted(_allowed(site, method, path))[0]
    async with site.browser(role, bound_to(role)) as browser:
        address = _of(site, path, OWN)
        bare = await browser.request(method, address, content=b"", headers=_FORM)
        forged = await browser.request(method, address, data={"csrf": site.web.seals._csrf.dumps("session:other")})
        assert (bare.status_code, forged.status_code) == (403, 403)


async def test_a_shared_secret_opens_its_routes_and_no_role_does(site: Site) -> None:
    """Neither a super-admin's token nor nothing at all; where the secret is not set, nobody gets in."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.post("/api/cron/nothing", dependencies=[machine("cron_secret")])(lambda: {"done": True})
    app.post("/unset", dependencies=[machine("openai_base_url")])(lambda: None)
    app.state.web = copy(site.web)
    app.state.web.config = site.web.config.model_copy(update={"openai_base_url": None})
    errors.add_handlers(app)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        admin = {"authorization": f"Bearer {await site.token(Role.SUPER_ADMIN)}"}
        secret = {"authorization": f"Bearer {site.web.config.cron_secret}"}
        codes = [(await client.post("/api/cron/nothing", headers=each)).status_code for each in ({}, admin, secret)]
        assert codes == [401, 401, 200]
        assert (await client.post("/unset", headers=secret)).status_code == 404


async def test_no_role_opens_a_route_of_a_machine(site: Site) -> None:
    """Every route that is opened by a shared secret is closed to a super-admin and to nobody."""
    for method, path in _routes(Machine):
        async with site.program(Role.SUPER_ADMIN) as admin, site.visitor() as visitor:
            assert (await _ask(admin, method, path)).status_code == 401
            assert (await _ask(visitor, method, path)).status_code == 401
