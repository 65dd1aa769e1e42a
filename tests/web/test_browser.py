"""The pages in a real Chromium: they load, nothing complains, nothing comes from elsewhere, they fit a phone."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn

from app.web.pages import PAGES
from schemas.codes import Role
from tests.web.browser import LAPTOP, PHONE, Tab, chromium
from tests.web.conftest import Site, soon
from tests.web.screenshots import BENEATH, DARK, FOLDER, MADE
from tests.web.seeding import OWN

pytestmark = pytest.mark.browser

EXTRA = (
    f"/control/workspaces/{OWN}",
    "/control/switches/AUTO_SEND_DISABLED",
    f"/control/canary?workspace={OWN}",
    "/runs/{run_id}",
    "/runs?id=nobody",
    "/lag?topic=inbound-message",
    "/dead-letters/{letter}",
    "/dead-letters/retry?reason=invalid_field",
    "/no-such-page",
)
PATHS = [*(module.PAGE.path for module in PAGES), *EXTRA]


@pytest.fixture(scope="module")
async def served(site: Site) -> AsyncIterator[str]:
    """The same application behind a real socket."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(site.app, log_config=None, access_log=False, lifespan="off", proxy_headers=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    await task


@pytest.fixture(scope="module")
async def tab(site: Site, served: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tab]:
    """A browser that a person signed in with a link."""
    async with chromium(tmp_path_factory.mktemp("chromium")) as tab:
        token = await site.token(Role.SUPER_ADMIN, expires=soon(), one_time=True)
        await tab.show(f"{served}/sign-in?link={token}")
        await tab.go(lambda: tab.run("document.querySelector('main button').click()"))
        assert await tab.run("document.querySelector('h1').textContent") == "Overview"
        yield tab


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_loads_without_a_complaint_and_fits_a_phone(tab: Tab, served: str, site: Site, path: str) -> None:
    """No error, no violated policy, no request elsewhere; at phone width nothing but a table scrolls sideways."""
    for size, dark in ((LAPTOP, False), (LAPTOP, True), (PHONE, False)):
        tab.asked.clear()
        tab.complaints.clear()
        await tab.show(served + path.format(**vars(site.seeded[OWN])), size, dark)
        assert not [said for said in tab.complaints if "404" not in said]
        assert {
            re.sub(r"(http://[^/]+).*", r"\1", address) for address in tab.asked if not address.startswith("data:")
        } == {served}
        assert await tab.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), size
        assert await tab.run(
            "[...document.querySelectorAll('input, select, textarea')].every(e => e.type === 'hidden' || e.labels.length || e.ariaLabel)"
        )


async def test_what_was_scrolled_stays_so_when_it_is_renewed(tab: Tab, served: str) -> None:
    """A wide table at phone width does not jump back under the reader."""
    await tab.show(served + "/runs", PHONE)
    await tab.run("document.querySelector('#live .scroll').scrollLeft = 60")
    await tab.renew()
    assert await tab.run("document.querySelector('#live .scroll').scrollLeft") == 60


async def test_what_is_live_renews_itself_until_it_is_paused(tab: Tab, served: str) -> None:
    """htmx works under the policy: a click on pause stops it, local time stands on hover."""
    await tab.show(served + "/")
    assert "local" in await tab.run("document.querySelector('time').title")
    assert await tab.run("typeof htmx") == "object"
    await tab.renew()
    await tab.run("document.querySelector('[data-pause]').click()")
    assert await tab.run("document.querySelector('[data-pause]').textContent") == "Resume updates"


async def test_a_change_is_made_by_keyboard_and_without_script(tab: Tab, served: str, site: Site) -> None:
    """Forms are plain forms: with scripts off a value is changed, seen and saved."""
    await tab.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        await tab.show(f"{served}/control/workspaces/{OWN}")
        await tab.run(
            "document.querySelector('#send_delay_s').focus(); document.querySelector('#send_delay_s').select()"
        )
        await tab.send("Input.insertText", text="4")
        await tab.go(lambda: _enter(tab))
        assert "<ins>4" in await tab.run("document.querySelector('main').innerHTML")
        await tab.run("document.querySelector('#reason').focus()")
        await tab.send("Input.insertText", text="by keyboard")
        await tab.go(lambda: _enter(tab))
    finally:
        await tab.send("Emulation.setScriptExecutionDisabled", value=False)
    assert await site.db.fetchval("SELECT send_delay_s FROM workspace_settings WHERE workspace_id = $1", OWN) == 4
    assert await site.db.fetchval("SELECT reason FROM admin_audit ORDER BY id DESC LIMIT 1") == "by keyboard"


async def _enter(tab: Tab) -> None:
    for kind in ("rawKeyDown", "char", "keyUp"):
        await tab.send(
            "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
        )


def test_the_screenshots_are_of_pages_that_exist() -> None:
    """Each picture is one that `python -m tests.web.screenshots` takes; none is of a page that went away."""
    names = {module.PAGE.path.strip("/") or "overview" for module in PAGES} | BENEATH.keys() | MADE.keys()
    taken = {f"{name}-{width}" for name in names for width in ("laptop", "phone")} | {
        f"{name}-laptop-dark" for name in DARK
    }
    found = {path.stem for path in FOLDER.glob("*.png")}
    assert found - taken <= {"sign-in-laptop", "control-difference-laptop"}
    assert {"overview-laptop", "overview-phone", "overview-laptop-dark", "control-laptop", "ai-ops-laptop"} <= found
