"""The web process: probes, pages, their JSON, and the way in for what people decide."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from agents.persist import TRANSIENT
from app import __version__
from app.config import Config
from app.housekeeping import beat_forever
from app.kafka.inbound import InboundProducer
from app.kafka.producer import RowProducer
from app.metrics.catalogue import WebMetrics
from app.metrics.kinds import CONTENT_TYPE
from app.relay import Relay
from app.slack.client import SlackClient
from app.web import bookings, errors, inbound, provisioning, scheduled, sign_in, slack
from app.web.access import public, refuse_unstated, require, require_bearer
from app.web.exporting import exporting, tell
from app.web.headers import SecurityHeaders
from app.web.identity import Seals
from app.web.lag_watch import LagWatch
from app.web.limits import Limiter
from app.web.oidc import Provider
from app.web.page import Page
from app.web.pages import PAGES, control_workspace, deciding, draft
from app.web.rendering import STATIC
from app.web.timing import Timing
from app.wiring import process_id, switched_off
from db import migrate, sql
from db.pool import Pool, create_pool
from schemas.codes import Role
from schemas.limits import REQUEST_BYTES_MAX

# Routes that are no page: one router each.
ROUTERS: Final = (
    sign_in.router,
    slack.router,
    bookings.router,
    inbound.router,
    control_workspace.router,
    scheduled.router,
    provisioning.router,
    draft.router,
    deciding.router,
)

_CONNECTIONS = 8
_DATABASE_S_MAX = 2.0


class StartError(Exception):
    """The web process cannot start. One line: why, and what to do."""


class Web:
    """What the routes share."""

    def __init__(self, config: Config, pool: Pool, metrics: WebMetrics) -> None:
        self.config, self.pool = config, pool
        self.producer, self.inbound = RowProducer(config), InboundProducer(config)
        self.metrics, self.relay = metrics, Relay(pool, self.producer, metrics)
        self.slack = SlackClient(config) if config.slack_bot_token else None
        self.tasks: set[asyncio.Task[None]] = set()
        self.process_id = process_id(config.model_copy(update={"worker_id": None}))  # that name is a worker's
        self.seals, self.limiter = Seals(config), Limiter()
        self.oidc = Provider(config) if config.oidc_issuer else None
        self.switched_off = switched_off(config)
        self.pages: list[Page] = [module.PAGE for module in PAGES]
        self.lag = LagWatch(config, pool)

    def figures(self) -> dict[str, Any]:
        """What the heartbeat tells."""
        return {"variables": list(self.config.set_variables())}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What goes on beside the requests; ended orderly."""
        tasks = [
            asyncio.create_task(self.relay.publish_forever()),
            asyncio.create_task(self.lag.run()),
            asyncio.create_task(beat_forever(self, "web", self.figures)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, *self.tasks, return_exceptions=True)
            with suppress(*TRANSIENT, asyncpg.PostgresError):
                await sql.run.forget_process.run(self.pool, process_id=self.process_id)
            await asyncio.gather(self.producer.stop(), self.inbound.stop())
            if self.slack is not None:
                await self.slack.close()

    @property
    def publisher(self) -> Relay:
        """Under the name that agents know."""
        return self.relay


def create_app(config: Config) -> FastAPI:
    """The application; it opens its connections when it starts."""
    metrics = WebMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool = await create_pool(config.database_url or "", size=_CONNECTIONS, application="draft-pipeline web")
        async with pool.acquire() as connection:
            if (why := await migrate.too_old(connection)) is not None:
                raise StartError(why)
        web = app.state.web = Web(config, pool, metrics)
        async with web.running(), exporting(config, pool, web.lag, metrics):
            yield
        await pool.close()

    app = FastAPI(
        title="draft-pipeline",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        max_body_size=REQUEST_BYTES_MAX,
    )
    app.add_middleware(Timing, metrics=metrics)
    app.add_middleware(SecurityHeaders, secure=config.public_url.startswith("https://"))
    errors.add_handlers(app)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for router in (probes, *ROUTERS, *(module.router for module in PAGES)):
        app.include_router(router)
    refuse_unstated(app, but=frozenset({"/static"}))
    return app


probes = APIRouter(include_in_schema=False)


@probes.get("/api/openapi.json", dependencies=[require()])
async def openapi(request: Request) -> JSONResponse:
    """What `/api` offers, as an OpenAPI document."""
    app: FastAPI = request.app
    return JSONResponse(app.openapi())


@probes.get("/live", dependencies=[public("probes have no login")])
async def live() -> dict[str, Any]:
    """The process answers."""
    return {"ok": True}


@probes.get("/ready", dependencies=[public("probes have no login")])
async def ready(request: Request, response: Response) -> dict[str, Any]:
    """The database answers and has the schema that this version needs."""
    web: Web = request.app.state.web
    reasons = []
    try:
        async with asyncio.timeout(_DATABASE_S_MAX), web.pool.acquire() as connection:
            if await migrate.too_old(connection) is not None:
                reasons.append("schema_too_old")
    except TRANSIENT:
        reasons.append("database_away")
    response.status_code = 503 if reasons else 200
    return {"ok": not reasons, "reasons": reasons}


@probes.get("/metrics", dependencies=[require_bearer(Role.OPS, Role.SUPER_ADMIN, of_all=True)])
async def metrics_of_all(request: Request) -> Response:
    """In Prometheus' text format; for scrapers without a token there is WEB_METRICS_PORT."""
    web: Web = request.app.state.web
    return Response(tell(web.metrics), headers={"Content-Type": CONTENT_TYPE})
