"""What the stand-in servers share: arguments, a port that the child itself binds and reports, HTTP, the end."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import orjson
import uvloop
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from app.stack.process import LOOPBACK, write_file

REQUEST_BYTES_MAX: Final = 64 * 1024 * 1024
BACKLOG: Final = 1024
HANG_S_MAX: Final = 900.0

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Arguments:
    """`dir` is the stack's folder, `port` 0 lets the kernel choose."""

    dir: Path
    port: int


def read_arguments(description: str) -> Arguments:
    """Parse the command line of a stand-in."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dir", type=Path, required=True, help="the stack's folder")
    parser.add_argument("--port", type=int, default=0, help="loopback port (default: a free one)")
    given = parser.parse_args()
    return Arguments(given.dir, given.port)


def bind(port: int) -> socket.socket:
    """A listening loopback socket."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((LOOPBACK, port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def port_file(folder: Path, name: str) -> Path:
    """Where a stand-in reports its port once it accepts connections."""
    return folder / "run" / f"{name}.port"


async def serve(name: str, arguments: Arguments, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
    """Accept connections until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    listener = bind(arguments.port)
    server = await loop.create_server(protocol, sock=listener)
    report = port_file(arguments.dir, name)
    report.parent.mkdir(parents=True, exist_ok=True)
    write_file(report, str(listener.getsockname()[1]))
    await ended.wait()
    server.close()


def http_protocol(handler: Handler) -> Callable[[], asyncio.BaseProtocol]:
    """The low-level aiohttp server: no routing or middleware, a handler ends when its client goes away."""
    loop = asyncio.get_running_loop()

    def request(message: Any, payload: Any, protocol: RequestHandler, writer: Any, task: Any) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=REQUEST_BYTES_MAX)

    return web.Server(handler, request_factory=request, handler_cancellation=True, access_log=None)


def run(main: Callable[[], Awaitable[None]]) -> NoReturn:
    """Run a stand-in to its end; connections that are still open are simply dropped."""

    async def started() -> None:
        await main()

    uvloop.run(started())
    raise SystemExit(0)


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON response."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def cut(request: web.BaseRequest) -> NoReturn:
    """Drop the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    raise asyncio.CancelledError


async def hang(request: web.BaseRequest) -> NoReturn:
    """Never answer; the connection is dropped after `HANG_S_MAX`, unless the client goes first."""
    await asyncio.sleep(HANG_S_MAX)
    cut(request)
