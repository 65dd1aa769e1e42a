"""What holds for every page: headers, nothing from outside, the JSON beside it, errors that say what to do."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import asyncpg
import pytest

from app.web import rendering
from app.web.headers import CSP
from app.web.pages import PAGES
from schemas.codes import Role
from tests.web.conftest import Site, bound_to

TEMPLATES = sorted((Path(rendering.__file__).parent / "templates").glob("*.html"))
VENDOR = rendering.STATIC / "vendor"
_OUTSIDE = re.compile(r"""(?:src|href|action|hx-\w+)\s*=\s*["'](?:https?:)?//""", re.IGNORECASE)
_INLINE = re.compile(
    r"""<script(?![^>]*\bsrc=)|<style|\sstyle\s*=|\son\w+\s*=\s*["']|javascript:|hx-on|hx-vals=["']js""", re.IGNORECASE
)
PATHS = [module.PAGE.path for module in PAGES]


async def test_every_answer_forbids_what_no_page_needs(site: Site) -> None:
    """Pages, calls, errors and files alike; what is private is not kept."""
    async with site.browser(Role.SUPER_ADMIN) as browser:
        for path in ("/", "/api/overview", "/no-such-page", "/live"):
            answer = await browser.get(path)
            assert answer.headers["content-security-policy"] == CSP
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
        file = await browser.get(rendering._static("style.css"))
        assert "immutable" in file.headers["cache-control"]
    assert "unsafe" not in CSP


@pytest.mark.parametrize("path", PATHS)
async def test_no_page_asks_another_server_or_brings_code_along(site: Site, path: str) -> None:
    """The policy would forbid it; nothing in the page needs what is forbidden."""
    async with site.program(Role.SUPER_ADMIN) as client:
        page = await client.get(path)
    assert page.status_code == 200
    assert not _OUTSIDE.findall(page.text)
    assert not _INLINE.findall(page.text)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda each: each.name)
def test_no_template_switches_escaping_off(template: Path) -> None:
    """Text is escaped everywhere; drawings are made by `charts`, which escapes what it is given."""
    text = template.read_text()
    assert "|safe" not in text.replace(" ", "")
    assert "autoescape" not in text


@pytest.mark.parametrize("module", PAGES, ids=lambda each: each.PAGE.title)
async def test_every_page_gives_its_data_as_json(site: Site, module: object) -> None:
    """The page at its path, the same at `/api`; every role that it is offered to gets both."""
    page = module.PAGE  # type: ignore[attr-defined]
    for role in page.roles:
        async with site.program(role, bound_to(role)) as client:
            shown = await client.get(page.path)
            told = await client.get("/api/overview" if page.path == "/" else f"/api{page.path}")
        assert shown.headers["content-type"].startswith("text/html")
        assert isinstance(told.json(), dict)


async def test_the_navigation_offers_what_the_role_may_see(site: Site) -> None:
    """No more, no less."""
    for role in Role:
        async with site.program(role, bound_to(role)) as client:
            nav = re.search(r"<nav.*?</nav>", (await client.get("/")).text, re.DOTALL)
        assert nav is not None
        offered = re.findall(r'href="([^"]+)"', nav[0])
        assert offered == [module.PAGE.path for module in PAGES if role in module.PAGE.roles]


def test_vendored_files_are_what_their_list_says() -> None:
    """Each file with its SHA-256, version and licence; nothing else lies there."""
    listed = json.loads((VENDOR / "vendor.json").read_text())
    assert {path.name for path in VENDOR.iterdir()} == {
        "vendor.json",
        *(each["file"] for each in listed),
        *(each["license_file"] for each in listed),
    }
    for each in listed:
        assert hashlib.sha256((VENDOR / each["file"]).read_bytes()).hexdigest() == each["sha256"]
        assert each["version"]
        assert each["license"] in (VENDOR / each["license_file"]).read_text()


async def test_an_error_says_what_to_do_and_repeats_nothing(site: Site) -> None:
    """As a page for people, as JSON for programs; what was sent is not in it."""
    async with site.program(Role.OPS) as client:
        page = await client.get("/no-such-page")
        assert page.status_code == 404
        assert "Look for it from the overview" in page.text
        call = await client.get("/api/no-such-call")
        assert call.json()["error"]["status"] == 404
        refused = await client.get("/control")
        assert refused.status_code == 403
        assert "the role ops may not do this" in refused.text.lower()


async def test_a_database_that_is_away_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and no trace of the address."""

    async def away(*_: object) -> None:
        raise asyncpg.CannotConnectNowError("at secret-host")

    monkeypatch.setattr(site.web.pool, "fetchrow", away)
    async with site.visitor(authorization="Bearer dp_x") as client:
        answer = await client.get("/api/overview")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "secret-host" not in answer.text


async def test_a_defect_is_answered_without_its_text(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """500, with the headers of every answer."""

    async def defect(*_: object) -> None:
        raise LookupError("somebody@example.com")

    monkeypatch.setattr(site.web.pool, "fetchrow", defect)
    async with site.visitor(authorization="Bearer dp_x") as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert "somebody" not in answer.text
    assert answer.headers["content-security-policy"] == CSP


async def test_a_request_that_is_too_large_is_refused(site: Site) -> None:
    """Before anything is made of it."""
    async with site.visitor() as visitor:
        answer = await visitor.post("/sign-in", data={"token": "x" * (2 << 20)})
    assert answer.status_code == 413


async def test_the_api_describes_itself_to_those_who_may_use_it(site: Site) -> None:
    """An OpenAPI document of everything under `/api`."""
    async with site.program(Role.ANALYST) as client:
        document = (await client.get("/api/openapi.json")).json()
    assert {f"/api{path}" for path in PATHS if path != "/"} <= set(document["paths"])
    assert all(path.startswith("/api/") for path, methods in document["paths"].items() if "get" in methods)
