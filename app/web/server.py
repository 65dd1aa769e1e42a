"""The web process: `/live`, `/ready`, and the way in for what people decide."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response

from agents.persist import TRANSIENT
from app import __version__
from app.config import Config
from app.kafka.producer import RowProducer
from app.relay import Relay
from app.slack.client import SlackClient
from app.web import slack
from db import migrate
from db.pool import Pool, create_pool

_CONNECTIONS = 8
_DATABASE_S_MAX = 2.0


class StartError(Exception):
    """The web process cannot start. One line: why, and what to do."""


class Web:
    """What the routes share."""

    def __init__(self, config: Config, pool: Pool) -> None:
        self.config, self.pool = config, pool
        self.producer = RowProducer(config)
        self.relay = Relay(pool, self.producer)
        self.slack = SlackClient(config) if config.slack_bot_token else None
        self.tasks: set[asyncio.Task[None]] = set()


def create_app(config: Config) -> FastAPI:
    """The application; it opens its connections when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool = await create_pool(config.database_url or "", size=_CONNECTIONS, application="draft-pipeline web")
        async with pool.acquire() as connection:
            if await migrate.schema_number(connection) < migrate.latest():
                raise StartError("the database's schema is too old: run migrate")
        web = app.state.web = Web(config, pool)
        publishing = asyncio.create_task(web.relay.publish_forever())
        yield
        publishing.cancel()
        await asyncio.gather(*web.tasks)
        await web.producer.stop()
        if web.slack is not None:
            await web.slack.close()
        await pool.close()

    app = FastAPI(title="draft-pipeline", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.get("/live")(live)
    app.get("/ready")(ready)
    app.include_router(slack.router)
    return app


async def live() -> dict[str, Any]:
    """The process answers."""
    return {"ok": True}


async def ready(request: Request, response: Response) -> dict[str, Any]:
    """The database answers and has the schema that this version needs."""
    web: Web = request.app.state.web
    reasons = []
    try:
        async with asyncio.timeout(_DATABASE_S_MAX), web.pool.acquire() as connection:
            if await migrate.schema_number(connection) < migrate.latest():
                reasons.append("schema_too_old")
    except TRANSIENT:
        reasons.append("database_away")
    response.status_code = 503 if reasons else 200
    return {"ok": not reasons, "reasons": reasons}
