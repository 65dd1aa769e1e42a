"""The review pages in a real Chromium: by keys, by clicks without scripts, on a laptop and on a phone."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from app.stack.local import LocalStack
from schemas.codes import Role
from tests.conftest import Database
from tests.review.desk import Desk, desk_at
from tests.web.browser import LAPTOP, PHONE, Tab, chromium

pytestmark = pytest.mark.browser

DONE_S_MAX = 10.0
GAP_PX_MIN = 8


@pytest.fixture
async def served(stack: LocalStack, database: Database) -> AsyncIterator[tuple[Desk, str]]:
    """A desk behind a real socket, with a worker at work."""
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with desk_at(stack, database, PUBLIC_URL=address) as desk:
        config = uvicorn.Config(desk.app, log_config=None, access_log=False, lifespan="off", proxy_headers=False)
        server = uvicorn.Server(config)
        serving, working = asyncio.create_task(server.serve(sockets=[listening])), asyncio.create_task(desk.work())
        yield desk, address
        working.cancel()
        server.should_exit = True
        await serving


@pytest.fixture
async def tab(served: tuple[Desk, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tab]:
    """A reviewer's browser."""
    desk, address = served
    await desk.draft("first")  # its workspace
    async with chromium(tmp_path_factory.mktemp("chromium")) as tab:
        token = await desk.token(Role.REVIEWER)
        await tab.show(f"{address}/sign-in")
        await tab.run(f"document.querySelector('[name=token]').value = '{token}'")
        await tab.go(lambda: tab.run("document.querySelector('main button').click()"))
        yield tab


async def press(tab: Tab, key: str, *, ctrl: bool = False) -> None:
    """One key, as a person strikes it."""
    code = {"Enter": 13, "Escape": 27}.get(key, ord(key.upper()[0]))
    text = {"text": "\r" if key == "Enter" else key} if not ctrl and key != "Escape" else {}
    struck: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 2 if ctrl else 0}
    await tab.send("Input.dispatchKeyEvent", type="keyDown", **struck, **text)
    await tab.send("Input.dispatchKeyEvent", type="keyUp", **struck)


async def focused(tab: Tab) -> str:
    found: str = await tab.run("document.activeElement.textContent.trim() || document.activeElement.name")
    return found


async def test_a_reviewer_decides_by_keys(served: tuple[Desk, str], tab: Tab) -> None:
    """Down the queue, open, approve, on to the next, edit, reject: no key decides without Enter, and nothing complains."""
    desk, address = served
    second, third = await desk.draft("second"), await desk.draft("third")
    await tab.show(f"{address}/review")
    tab.complaints.clear()
    await press(tab, "j")
    assert "first" in await focused(tab)
    await press(tab, "j")
    assert "second" in await focused(tab)
    await tab.go(lambda: press(tab, "Enter"))
    assert await tab.run("location.pathname") == f"/drafts/{second}"
    await press(tab, "a")
    assert "Approve and send" in await focused(tab)
    assert await desk.actions(second) == []
    await tab.go(lambda: press(tab, "Enter"))
    assert "Approved." in await tab.run("document.querySelector('#outcome').textContent")
    await tab.go(lambda: press(tab, "n"))
    assert await tab.run("location.pathname") == f"/drafts/{third}"
    await press(tab, "r")
    await tab.send("Input.insertText", text="a rude tone")
    await press(tab, "Escape")
    await press(tab, "e")
    assert await tab.run("document.activeElement.id") == "text"
    await tab.run("document.activeElement.value = ''")
    await tab.send("Input.insertText", text="third, in my own words")
    await tab.go(lambda: press(tab, "Enter", ctrl=True))
    assert "Edited and approved." in await tab.run("document.querySelector('#outcome').textContent")
    await tab.go(lambda: press(tab, "n"))
    first = uuid.UUID((await tab.run("location.pathname")).rpartition("/")[2])
    await press(tab, "r")
    await tab.send("Input.insertText", text="not today")
    await tab.go(lambda: press(tab, "Enter", ctrl=True))
    assert tab.complaints == []
    done = {draft: [action["result"] for action in await desk.actions(draft)] for draft in (first, second, third)}
    assert done == {first: ["rejected"], second: ["approved"], third: ["edited"]}


async def test_the_place_in_the_queue_outlives_its_renewal(served: tuple[Desk, str], tab: Tab) -> None:
    """The list renews itself every few seconds: whoever is at its second row stays there, and goes on from there."""
    desk, address = served
    await desk.draft("second")
    await tab.show(f"{address}/review")
    await press(tab, "j")
    await press(tab, "j")
    await desk.draft("third")
    await tab.renew()
    assert "second" in await focused(tab)
    await press(tab, "j")
    assert "third" in await focused(tab)


async def test_everything_works_without_scripts(served: tuple[Desk, str], tab: Tab) -> None:
    """Scripts off: filters, forms and what unfolds are plain HTML."""
    desk, address = served
    draft = await desk.draft("without", reason="rate_limited")
    await tab.send("Emulation.setScriptExecutionDisabled", value=True)
    await tab.show(f"{address}/review?reason=rate_limited")

    async def click(selector: str) -> None:
        """Where a person would click: no script finds the place."""
        document = await tab.send("DOM.getDocument")
        node = await tab.send("DOM.querySelector", nodeId=document["root"]["nodeId"], selector=selector)
        await tab.send("DOM.scrollIntoViewIfNeeded", nodeId=node["nodeId"])
        quad = (await tab.send("DOM.getBoxModel", nodeId=node["nodeId"]))["model"]["content"]
        x, y = (quad[0] + quad[4]) / 2, (quad[1] + quad[5]) / 2
        for kind in ("mousePressed", "mouseReleased"):
            await tab.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    await tab.go(lambda: click(".queue a.item"))
    await click("#reject > summary")
    await click("#why")
    await tab.send("Input.insertText", text="without scripts")
    await tab.go(lambda: click("#reject button"))
    assert [(action["result"], action["reject_reason"]) for action in await desk.actions(draft)] == [
        ("rejected", "without scripts")
    ]


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
async def test_the_pages_fit_and_complain_of_nothing(served: tuple[Desk, str], tab: Tab, size: tuple[int, int]) -> None:
    """Queue and draft, with words that never end: nothing scrolls sideways, nothing comes from elsewhere, no error."""
    desk, address = served
    draft = await desk.draft(f"{'long' * 200} costs €500 {'x ' * 900}", original_content="short")
    await desk.write("ws-review", f"lead-{draft}", "w" * 500)
    tab.complaints.clear()
    for path in ("/review", "/review?state=decided&confidence=low", f"/drafts/{draft}"):
        tab.asked.clear()
        await tab.show(address + path, size)
        assert await tab.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
        assert all(asked.startswith(address) for asked in tab.asked)
    assert tab.complaints == []


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
async def test_no_button_touches_what_stands_above_it(
    served: tuple[Desk, str], tab: Tab, size: tuple[int, int]
) -> None:
    """Each way to decide keeps its distance from the draft and from the next, so that none is pressed for another."""
    desk, address = served
    draft = await desk.draft("A reply.")
    await tab.show(f"{address}/drafts/{draft}", size)
    await _keeps_its_distance(tab)
    await press(tab, "e")
    assert await tab.run("document.activeElement.id") == "text"
    await _keeps_its_distance(tab)


async def _keeps_its_distance(tab: Tab) -> None:
    """Beside or beneath: from the draft, and from every other way to decide."""
    gaps = await tab.run(
        "(() => { const shown = [...document.querySelectorAll('.text.draft, .decision .act')].map(e => e.getBoundingClientRect());"
        " const apart = (a, b) => Math.max(a.left - b.right, b.left - a.right, a.top - b.bottom, b.top - a.bottom);"
        " return shown.flatMap((a, at) => shown.slice(at + 1).map(b => apart(a, b))); })()"
    )
    assert len(gaps) == 6  # of the draft, approve, edit and reject
    assert min(gaps) >= GAP_PX_MIN
