"""One application in this process over a real Postgres with two workspaces, and people of every role who use it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI

from app.cli.token import make_token
from app.config import Config
from app.stack.local import LocalStack
from app.web.server import Web, create_app
from db.pool import connect
from schemas.codes import Role
from tests.conftest import administer
from tests.web.seeding import OWN, Seeded, seed_both, seed_letters

ORIGIN = "http://console.test"
WEB_SECRET = "not-a-secret-but-long-enough"
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


@dataclass
class Site:
    """The application, its database, and what was written there."""

    app: FastAPI
    db: asyncpg.Connection
    url: str
    seeded: dict[str, Seeded]
    tokens: dict[tuple[Role, str | None], str] = field(default_factory=dict)

    @property
    def web(self) -> Web:
        web: Web = self.app.state.web
        return web

    def visitor(self, address: str = "192.0.2.1", **headers: str) -> httpx2.AsyncClient:
        """A browser that nobody signed in."""
        transport = httpx2.ASGITransport(app=self.app, client=(address, 4711), raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)

    async def token(self, role: Role, workspace: str | None = None, **more: Any) -> str:
        """A token of this role; the same one each time, unless something is special about it."""
        if more or (role, workspace) not in self.tokens:
            arguments = {"expires": None, "one_time": False, "by": "test"} | more
            made = await make_token(self.db, f"{role.value}-{workspace or 'all'}", role, workspace, **arguments)
            if more:
                return made
            self.tokens[role, workspace] = made
        return self.tokens[role, workspace]

    @asynccontextmanager
    async def program(self, role: Role, workspace: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
        """A client with a bearer token."""
        async with self.visitor(authorization=f"Bearer {await self.token(role, workspace)}") as client:
            yield client

    @asynccontextmanager
    async def browser(self, role: Role, workspace: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
        """A browser that signed in with a token."""
        async with self.visitor() as browser:
            answer = await browser.post("/sign-in", data={"token": await self.token(role, workspace)})
            assert answer.status_code == 303, answer.text
            yield browser


def bound_to(role: Role) -> str | None:
    """A role as it is mostly bound."""
    return None if role is Role.SUPER_ADMIN else OWN


def csrf_of(page: httpx2.Response) -> str:
    """The CSRF token of a page's forms."""
    found = _CSRF.search(page.text)
    assert found is not None, "no form on this page"
    return found[1]


def soon() -> datetime:
    """When a sign-in link expires."""
    return datetime.now(UTC) + timedelta(minutes=15)


@pytest.fixture(scope="package")
async def web_database(stack: LocalStack, template_database: str) -> AsyncIterator[str]:
    """A database for the pages, seeded once."""
    await administer(stack, f"CREATE DATABASE web_tests TEMPLATE {template_database}")
    yield stack.postgres.url_of("web_tests")
    await administer(stack, "DROP DATABASE web_tests WITH (FORCE)")


@pytest.fixture(scope="package")
async def site(stack: LocalStack, web_database: str) -> AsyncIterator[Site]:
    """The application, running."""
    config = config_for(stack, web_database)
    app = create_app(config)
    connection = await connect(web_database)
    seeded = await seed_letters(config, await seed_both(connection))
    async with app.router.lifespan_context(app):
        yield Site(app, connection, web_database, seeded)
    await connection.close()


def config_for(stack: LocalStack, url: str, **more: str) -> Config:
    """The stack's variables, this database, and nothing of this machine's environment."""
    env = {**stack.env, "DATABASE_URL": url, "DIRECT_URL": url, "WEB_SECRET": WEB_SECRET, "PUBLIC_URL": ORIGIN, **more}
    values: dict[str, Any] = {name.lower(): value for name, value in env.items()}
    return Config(_env_file=None, **values)


@pytest.fixture(autouse=True)
def no_limit_of_an_earlier_test(site: Site) -> None:
    """Each test begins with full buckets."""
    site.web.limiter._buckets.clear()
