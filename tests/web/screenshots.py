"""`python -m tests.web.screenshots [FOLDER]`: a picture of every page, from a real demo, into deploy/screenshots.

Each page at laptop and phone width; some in dark, too. The quality page with a month of drafts behind it. Needs Chromium. Takes about two minutes.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from app.cli.demo_messages import SOFTWARE
from app.web.pages import PAGES
from db.pool import connect
from tests.web.browser import LAPTOP, PHONE, Tab, chromium
from tests.web.month import add_month

FOLDER = Path(__file__).parents[2] / "deploy" / "screenshots"
DEMO_S_MAX = 150.0
# Pages beneath those of the navigation: name, and path.
BENEATH = {
    "control-workspace": f"/control/workspaces/{SOFTWARE}",
    "control-switch": "/control/switches/AUTO_SEND_REVISION_DISABLED",
    "control-canary": f"/control/canary?workspace={SOFTWARE}",
}
# Pages of something that the demo made: name, and an expression that gives the path.
MADE = {
    "draft": "fetch('/api/review').then(a => a.json()).then(a => '/drafts/' + (a.rows.find(r => r.blocks) ?? a.rows[0]).draft_id)",
    "run": "fetch('/api/runs?revision=applied').then(a => a.json()).then(a => '/runs/' + a.runs[0].id)",
    "dead-letter": "fetch('/api/dead-letters').then(a => a.json()).then(a => '/dead-letters/' + a.letters[0].place)",
    "dead-letters-retry": "fetch('/api/dead-letters').then(a => a.json()).then(a => '/dead-letters/retry?reason=' + a.by_reason[0].reason)",
}
DARK = ("overview", "control", "run", "quality")
# Shown whole, whatever their length, and with a month of drafts behind them.
LONG, LONG_PX_MAX = "quality", 9000
COLOURS = 128
_LINK = re.compile(r"Look around: (http://[^/]+)(/sign-in\?link=\S+)")


@asynccontextmanager
async def demo(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """A demo that stays; yields the address of its pages and the path of a sign-in link."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "demo", "--keep", "--dir", str(folder)), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(DEMO_S_MAX):
            found = await _link(process)
        yield found[1], found[2]
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _link(process: asyncio.subprocess.Process) -> re.Match[str]:
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if found := _LINK.search(line):
            return found
    raise AssertionError("the demo ended before it told its address")


async def sign_in(tab: Tab, address: str, link: str) -> None:
    """As a person does: open the link, press the button."""
    await tab.show(address + link)
    await tab.go(lambda: tab.run("document.querySelector('main button').click()"))


async def act(tab: Tab, address: str, folder: Path) -> None:
    """What leaves a history to be seen: a switch turned off and on, a workspace changed."""
    await _submit(tab, f"{address}/control", "form[action$='AUTO_SEND_REVISION_DISABLED/off']", {"reason": "drill"})
    switch = f"{address}/control/switches/AUTO_SEND_REVISION_DISABLED"
    await _submit(tab, switch, "form[action$='/on']", {"reason": "the drill is over"})
    workspace = f"{address}/control/workspaces/{SOFTWARE}"
    fields = {"want.auto_send_threshold": "0.92", "want.auto_send_revision_max_iterations": "2"}
    await _submit(tab, workspace, "form[action$='/preview']", fields)
    await picture(tab, folder / "control-difference-laptop.png")
    await _submit(tab, None, "form[action$='/apply']", {"reason": "too many edits at 0.90"})


async def _submit(tab: Tab, address: str | None, form: str, fields: dict[str, str]) -> None:
    if address is not None:
        await tab.show(address)
    for name, value in fields.items():
        await tab.run(f"document.querySelector(\"{form} [name='{name}']\").value = '{value}'")
    await tab.go(lambda: tab.run(f'document.querySelector("{form}").requestSubmit()'))


async def picture(tab: Tab, path: Path, height_max: int = 2400) -> None:
    """The page as a small PNG: few colours are used, few are kept."""
    await tab.picture(path, height_max)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(COLOURS)
    small.save(path, optimize=True)


async def take(folder: Path) -> None:
    """Every picture."""
    with tempfile.TemporaryDirectory(prefix="draft-pipeline-pictures-") as scratch:
        async with demo(Path(scratch) / "demo") as (address, link), chromium(Path(scratch) / "browser") as tab:
            await tab.show(f"{address}/sign-in")
            await picture(tab, folder / "sign-in-laptop.png")
            await sign_in(tab, address, link)
            await act(tab, address, folder)
            paths: dict[str, Any] = {module.PAGE.path.strip("/") or "overview": module.PAGE.path for module in PAGES}
            made = {name: await tab.run(script) for name, script in MADE.items()}
            long = {LONG: paths.pop(LONG)}
            for name, path in {**paths, **BENEATH, **made}.items():
                await pictures(tab, address + path, name, folder)
            await with_a_month(Path(scratch) / "demo" / "env")
            for name, path in long.items():
                await pictures(tab, address + path, name, folder, LONG_PX_MAX)


async def pictures(tab: Tab, address: str, name: str, folder: Path, height_max: int = 2400) -> None:
    """A page at both widths, and in dark."""
    for width, size in (("laptop", LAPTOP), ("phone", PHONE)):
        await tab.show(address, size)
        await picture(tab, folder / f"{name}-{width}.png", height_max)
    if name in DARK:
        await tab.show(address, LAPTOP, dark=True)
        await picture(tab, folder / f"{name}-laptop-dark.png", height_max)
    print(f"screenshots: {name}")


async def with_a_month(env_file: Path) -> None:
    """Put a month of drafts into the demo's database."""
    variables = dict(line.split("=", 1) for line in env_file.read_text().splitlines())
    connection = await connect(variables["DATABASE_URL"])
    await add_month(connection, SOFTWARE)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
