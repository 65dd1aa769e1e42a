"""Liveness and readiness of a worker. Alive: the fetch loops and the lease renewal run. A model outage stops commits by
design, and a restart heals no broker, so both are for readiness and alerts, not for a restart."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from agents.persist import TRANSIENT
from app.metrics.kinds import CONTENT_TYPE
from schemas.topics import INBOUND_MESSAGE

if TYPE_CHECKING:
    from app.worker import Worker

_FETCH_STALL_S_MAX: Final = 60.0
_RENEWAL_STALL_S_MAX: Final = 45.0
_BROKER_SILENT_S_MAX: Final = 20.0  # longer than a rebalance holds the answer to a join
_DATABASE_S_MAX: Final = 2.0
_HOST: Final = "0.0.0.0"  # noqa: S104 - probes come from outside the container; only health and metrics are served


class Health:
    """What is wrong with a worker, in codes; an empty list is good."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker

    def dead(self) -> list[str]:
        """Why the process should be restarted."""
        now = time.monotonic()
        ingest = ["ingest_silent"] if self._worker.ingest.silent_s > _FETCH_STALL_S_MAX else []
        leases = ["leases_not_renewed"] if now - self._worker.keeper.looked_at > _RENEWAL_STALL_S_MAX else []
        return (
            ingest
            + leases
            + [
                f"fetch_stalled:{engine.topic}"
                for engine in self._worker.engines.values()
                if engine.stalled_s > _FETCH_STALL_S_MAX
            ]
        )

    async def not_ready(self) -> list[str]:
        """Why it is not doing its work now."""
        reasons = self.dead()
        try:
            async with asyncio.timeout(_DATABASE_S_MAX):
                await self._worker.pool.fetchval("SELECT 1")
        except TRANSIENT:
            reasons.append("database_away")
        for engine in self._worker.engines.values():
            if engine.crashed:
                reasons.append(f"not_consuming:{engine.topic}")
            elif engine.silence.seconds > _BROKER_SILENT_S_MAX:
                reasons.append(f"broker_silent:{engine.topic}")
        if not self._worker.ingest.consuming:
            reasons.append(f"not_consuming:{INBOUND_MESSAGE.name}")
        elif self._worker.ingest.broker_silent_s > _BROKER_SILENT_S_MAX:
            reasons.append(f"broker_silent:{INBOUND_MESSAGE.name}")
        reasons += [f"paused:{name}" for name, pool in self._worker.pools.items() if pool.paused]
        return reasons


async def serve_health(health: Health, metrics: Callable[[], bytes], port: int) -> web.AppRunner:
    """`/live` and `/ready`: 200, or 503 with the reasons. `/metrics` in Prometheus' text format."""

    def answer(reasons: list[str]) -> web.Response:
        body: dict[str, Any] = {"ok": not reasons, "reasons": reasons}
        return web.json_response(body, status=503 if reasons else 200)

    async def live(request: web.Request) -> web.Response:
        return answer(health.dead())

    async def ready(request: web.Request) -> web.Response:
        return answer(await health.not_ready())

    return await serve([web.get("/live", live), web.get("/ready", ready), metrics_route(metrics)], port)


def metrics_route(metrics: Callable[[], bytes]) -> web.RouteDef:
    """`/metrics` for `serve`."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": CONTENT_TYPE})

    return web.get("/metrics", answer)


async def serve(routes: list[web.RouteDef], port: int) -> web.AppRunner:
    """Serve these on all interfaces; `cleanup` of what is returned ends it."""
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, _HOST, port).start()
    return runner
