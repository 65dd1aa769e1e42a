"""How long requests take, by route and status."""

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics.catalogue import WebMetrics

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NO_ROUTE: Final = "(none)"
_NO_ANSWER: Final = 499


class Timing:
    """ASGI middleware. The route is its template, so ids in paths are no labels; an unknown path has none."""

    def __init__(self, app: ASGIApp, metrics: WebMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), _NO_ANSWER

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(scope.get("route"), "path", None) or _NO_ROUTE
            self._metrics.requests.observe(time.monotonic() - began, method, route, str(status))
