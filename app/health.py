"""Liveness and readiness of a worker. Alive: the fetch loops and the lease renewal run. A model outage stops commits by
design, so a stall of commits is for readiness and alerts, not for a restart."""

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from agents.persist import TRANSIENT

if TYPE_CHECKING:
    from app.worker import Worker

_FETCH_STALL_S_MAX: Final = 60.0
_RENEWAL_STALL_S_MAX: Final = 45.0
_DATABASE_S_MAX: Final = 2.0
_HOST: Final = "0.0.0.0"  # noqa: S104 - probes come from outside the container; nothing but health is served


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
                if now - engine.fetched_at > _FETCH_STALL_S_MAX
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
        if not self._worker.ingest.consuming:
            reasons.append("not_consuming:inbound-message")
        reasons += [f"paused:{name}" for name, pool in self._worker.pools.items() if pool.paused]
        return reasons


async def serve_health(health: Health, port: int) -> web.AppRunner:
    """`/live` and `/ready`: 200, or 503 with the reasons."""

    def answer(reasons: list[str]) -> web.Response:
        body: dict[str, Any] = {"ok": not reasons, "reasons": reasons}
        return web.json_response(body, status=503 if reasons else 200)

    async def live(request: web.Request) -> web.Response:
        return answer(health.dead())

    async def ready(request: web.Request) -> web.Response:
        return answer(await health.not_ready())

    application = web.Application()
    application.add_routes([web.get("/live", live), web.get("/ready", ready)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, _HOST, port).start()
    return runner
