"""A TCP proxy before Postgres that cuts one chosen connection at one chosen moment.

It follows the frontend's half of the protocol (PostgreSQL documentation, "Message Formats") just far enough to know
which statement a Bind names and where a transaction commits. A cut at a COMMIT or at a statement that commits by itself:

BEFORE  the server never hears of it: rolled back, and the client does not know
AFTER   the server has committed, and the client does not hear of it
LATE    the client is cut at once, the server hears of it `late_s` later
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

from app.stack.process import LOOPBACK
from db.queries import Query

SSL_REQUEST = 80877103
READY_FOR_QUERY = b"Z\x00\x00\x00\x05"
CHUNK_BYTES = 64 * 1024


class When(Enum):
    """What the server gets to hear."""

    BEFORE = "before"
    AFTER = "after"
    LATE = "late"


@dataclass
class Cut:
    """Fires once, for the first transaction (or statement of its own) in which `query` is executed."""

    query: Query
    when: When
    late_s: float = 0.0
    then: Callable[[], None] = lambda: None
    fired: asyncio.Event = field(default_factory=asyncio.Event)


class CuttingProxy:
    """`async with CuttingProxy(port_of_postgres) as proxy: proxy.url(url); proxy.arm(Cut(...))`."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._cuts: list[Cut] = []
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._down = False

    @property
    def port(self) -> int:
        """Where clients connect."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def url(self, url: str) -> str:
        """The same address, through the proxy."""
        return url.replace(f":{self._server_port}/", f":{self.port}/")

    def arm(self, cut: Cut) -> Cut:
        """From now on the first match is cut."""
        self._cuts.append(cut)
        return cut

    def go_down(self) -> None:
        """Cut everybody and let nobody in."""
        self._down = True
        for link in list(self._links):
            link.abort()

    def come_back(self) -> None:
        """Let everybody in again."""
        self._down = False

    def due(self, texts: list[str]) -> Cut | None:
        """The armed cut that one of these statements fires; it is armed no more."""
        for cut in self._cuts:
            if cut.query.text in texts:
                self._cuts.remove(cut)
                return cut
        return None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.go_down()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._down:
            writer.transport.abort()
            return
        upstream_reader, upstream_writer = await asyncio.open_connection(LOOPBACK, self._server_port)
        link = _Link(self, reader, writer, upstream_reader, upstream_writer)
        self._links.add(link)
        task = asyncio.create_task(link.run())
        self._tasks.add(task)
        with suppress(asyncio.CancelledError):
            await task
        self._links.discard(link)
        self._tasks.discard(task)


class _Link:
    """One client and its server connection."""

    def __init__(
        self,
        proxy: CuttingProxy,
        client_reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client_reader, self._client = client_reader, client
        self._server_reader, self._server = server_reader, server
        self._statements: dict[str, str] = {}
        self._transaction: list[str] | None = None
        self._swallowed: bytearray | None = None
        self._answered = asyncio.Event()

    def abort(self) -> None:
        """Reset both sides."""
        self._client.transport.abort()
        self._server.transport.abort()

    async def run(self) -> None:
        """Pass on both ways until one side ends."""
        downward = asyncio.create_task(self._pass_answers())
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._pass_startup()
            while await self._pass_message():
                pass
        self.abort()
        await asyncio.gather(downward, return_exceptions=True)

    async def _pass_answers(self) -> None:
        with suppress(OSError):
            while chunk := await self._server_reader.read(CHUNK_BYTES):
                if self._swallowed is None:
                    self._client.write(chunk)
                    continue
                self._swallowed += chunk
                if READY_FOR_QUERY in self._swallowed:
                    self._answered.set()
        self._answered.set()
        self._client.transport.abort()

    async def _pass_startup(self) -> None:
        """The messages before the first typed one: an optional request for TLS, then the start."""
        code = SSL_REQUEST
        while code == SSL_REQUEST:
            head = await self._client_reader.readexactly(8)
            length, code = struct.unpack("!II", head)
            self._server.write(head + await self._client_reader.readexactly(length - len(head)))

    async def _pass_message(self) -> bool:
        """One message of the client; False when the connection was cut."""
        head = await self._client_reader.readexactly(5)
        body = await self._client_reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)
        cut = self._cut_at(head[:1], body)
        if cut is None:
            self._server.write(head + body)
            await self._server.drain()
            return True
        await self._carry_out(cut, head + body)
        return False

    def _cut_at(self, kind: bytes, body: bytes) -> Cut | None:
        """Follow the conversation; the cut that this message fires."""
        if kind == b"P":
            name, query = body.split(b"\0")[:2]
            self._statements[name.decode()] = query.decode()
        elif kind == b"B":
            text = self._statements.get(body.split(b"\0")[1].decode(), "")
            if self._transaction is None:
                return self._proxy.due([text])
            self._transaction.append(text)
        elif kind == b"Q":
            word = body.decode().lstrip().split(None, 1)[0].rstrip(";\0").upper()
            texts = self._transaction or []
            if word in ("BEGIN", "COMMIT", "ROLLBACK"):
                self._transaction = [] if word == "BEGIN" else None
            if word == "COMMIT":
                return self._proxy.due(texts)
        return None

    async def _carry_out(self, cut: Cut, message: bytes) -> None:
        if cut.when is not When.AFTER:
            self._client.transport.abort()
        if cut.when is When.LATE:
            await asyncio.sleep(cut.late_s)
        if cut.when is not When.BEFORE:
            self._swallowed = bytearray()
            await self._send_to_the_end(message)
            await self._answered.wait()
        cut.then()
        self.abort()
        cut.fired.set()

    async def _send_to_the_end(self, message: bytes) -> None:
        """The message and, of an extended query, what follows up to its Sync."""
        self._server.write(message)
        kind = message[:1]
        while kind not in (b"Q", b"S"):
            head = await self._client_reader.readexactly(5)
            self._server.write(head + await self._client_reader.readexactly(struct.unpack("!I", head[1:])[0] - 4))
            kind = head[:1]
