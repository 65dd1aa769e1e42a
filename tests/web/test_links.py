"""Every link of every page leads somewhere, for each role that is shown it."""

from __future__ import annotations

import re
from html import unescape

import pytest

from schemas.codes import Role
from tests.web.conftest import Site, bound_to

_HREF = re.compile(r'<a\s[^>]*?href="([^"]*)"', re.DOTALL)
_ID = re.compile(r"[0-9a-f-]{36}|\d+:\d+")
_ELSEWHERE = ("http://", "https://", "#")


@pytest.mark.parametrize("role", Role)
async def test_every_link_of_every_page_can_be_followed(site: Site, role: Role) -> None:
    """From the overview on: of each kind of page one is read, and whatever it links to answers."""
    led_from, read, broken = {"/": ""}, set[str](), dict[str, str]()
    waiting = ["/"]
    async with site.program(role, bound_to(role)) as client:
        while waiting:
            address = waiting.pop(0)
            answer = await client.get(address)
            if answer.status_code >= 400:
                broken[address] = f"{answer.status_code}, on {led_from[address]}"
            kind = _ID.sub("*", address.partition("?")[0])
            if kind in read:
                continue
            read.add(kind)
            for href in _HREF.findall(answer.text):
                to = unescape(href).partition("#")[0]
                if not href.startswith(_ELSEWHERE) and to not in led_from:
                    led_from[to] = address
                    waiting.append(to)
    assert not broken
    assert {"/runs", "/runs/*"} <= read
