"""Chromium, driven over its DevTools protocol: real pages, their size and colours, what they ask for, what they complain of."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

START_S_MAX = 30.0
ANSWER_S_MAX = 30.0
LAPTOP, PHONE = (1280, 800), (390, 844)
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
    "--remote-debugging-port=0", "--mute-audio",
)  # fmt: skip


def executable() -> str:
    """Debian's Chromium, or whatever the machine calls it."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    assert found is not None, "no Chromium on this machine: apt-get install chromium"
    return found


@dataclass
class Tab:
    """One page. `asked` are the addresses it loaded, `complaints` what the console said, errors and policy included."""

    socket: aiohttp.ClientWebSocketResponse
    session: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _loaded: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": number, "sessionId": self.session, "method": method, "params": params})
        return await asyncio.wait_for(answer, ANSWER_S_MAX)

    async def listen(self) -> None:
        """Take what the browser says, until it closes."""
        async for message in self.socket:
            said = json.loads(message.data)
            if "id" in said and (waiting := self._waiting.pop(said["id"], None)) is not None and not waiting.done():
                waiting.set_result(said.get("result", said))
            params = said.get("params", {})
            match said.get("method"):
                case "Network.requestWillBeSent":
                    self.asked.append(params["request"]["url"])
                case "Page.loadEventFired":
                    self._loaded.set()
                case "Log.entryAdded" if params["entry"]["level"] == "error":
                    self.complaints.append(params["entry"]["text"])
                case "Runtime.exceptionThrown":
                    self.complaints.append(str(params["exceptionDetails"].get("text")))
                case _:
                    pass

    async def show(self, address: str, size: tuple[int, int] = LAPTOP, dark: bool = False) -> None:
        """Load a page at this size and in this colour scheme."""
        width, height = size
        phone = size == PHONE
        scale = 2 if phone else 1
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", media="", features=[scheme])
        await self.go(lambda: self.send("Page.navigate", url=address))

    async def go(self, act: Any) -> None:
        """Do what loads a page, and wait until it is there."""
        self._loaded.clear()
        await act()
        await asyncio.wait_for(self._loaded.wait(), ANSWER_S_MAX)

    async def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def renew(self) -> None:
        """Renew what is live in the page, and wait until it is."""
        await self.run("document.querySelector('#live').dataset.old = '1'; htmx.trigger('#live', 'every')")
        give_up = asyncio.get_running_loop().time() + ANSWER_S_MAX
        while await self.run("document.querySelector('#live').dataset.old ?? null") == "1":
            assert asyncio.get_running_loop().time() < give_up, "the region was not renewed"
            await asyncio.sleep(0.1)

    async def picture(self, path: Path, height_max: int = 2400) -> None:
        """The whole page as a PNG, at most so high."""
        sizes = await self.send("Page.getLayoutMetrics")
        size = sizes["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], height_max), "scale": 1}
        shot = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Tab]:
    """A browser with one tab; its process is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        executable(), *_FLAGS, f"--user-data-dir={profile}", "about:blank", stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(START_S_MAX):
            address = await _address(process)
        async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:
            tab = Tab(socket, await _attach(socket))
            listening = asyncio.create_task(tab.listen())
            for domain in ("Page", "Network", "Log", "Runtime"):
                await tab.send(f"{domain}.enable")
            yield tab
            listening.cancel()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    while line := (await process.stderr.readline()).decode(errors="replace"):
        if "DevTools listening on " in line:
            return line.rpartition(" ")[2].strip()
    raise AssertionError("Chromium ended before it listened")


async def _attach(socket: aiohttp.ClientWebSocketResponse) -> str:
    """A session with a new tab."""
    await socket.send_json({"id": -1, "method": "Target.createTarget", "params": {"url": "about:blank"}})
    target = (await _answer(socket, -1))["targetId"]
    await socket.send_json(
        {"id": -2, "method": "Target.attachToTarget", "params": {"targetId": target, "flatten": True}}
    )
    return str((await _answer(socket, -2))["sessionId"])


async def _answer(socket: aiohttp.ClientWebSocketResponse, number: int) -> dict[str, Any]:
    while True:
        said = await socket.receive_json(timeout=ANSWER_S_MAX)
        if said.get("id") == number:
            result: dict[str, Any] = said["result"]
            return result
