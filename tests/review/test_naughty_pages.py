"""Naughty strings on the pages: what a person reads is, character for character, what is stored."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final

from schemas.codes import Role
from schemas.limits import DRAFT_CHARS_MAX
from tests.review.desk import Desk
from tests.samples import naughty_strings

_VOID: Final = frozenset({"br", "hr", "img", "input", "link", "meta", "wbr"})


class _Texts(HTMLParser):
    """The text of every element of a class, as a browser takes it from the page."""

    def __init__(self, kind: str) -> None:
        super().__init__(convert_charrefs=True)
        self._kind = kind
        self._inside = 0
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            return
        if self._inside or self._kind in (dict(attrs).get("class") or "").split():
            self._inside += 1
            if self._inside == 1:
                self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside -= 1 if self._inside and tag not in _VOID else 0

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.found[-1] += data


def texts_of(page: str, kind: str) -> list[str]:
    """What stands in the elements of this class; a browser drops the first newline of `pre`."""
    reader = _Texts(kind)
    reader.feed(page)
    return reader.found


def storable() -> list[str]:
    """Those that Postgres can hold and that say something."""
    return [text for text in dict.fromkeys(naughty_strings()) if text.strip() and "\x00" not in text]


def pieces(texts: list[str], chars_max: int) -> list[str]:
    """The texts, joined by lines to as few as fit."""
    joined = [""]
    for text in texts:
        if len(joined[-1]) + len(text) >= chars_max:
            joined.append("")
        joined[-1] += f"{text}\n"
    return joined


async def test_naughty_strings_are_shown_as_they_are_stored(desk: Desk) -> None:
    """As messages, subjects, names, drafts and answers of a stage, on a draft's page, a run's page and as JSON."""
    every = storable()
    parts = [part for part in pieces(every, DRAFT_CHARS_MAX) if part]
    async with desk.browser() as browser, desk.browser(Role.SUPER_ADMIN, None) as admin:
        for part in parts:
            draft = await desk.draft(part, original_content=f"before {part}"[:DRAFT_CHARS_MAX])
            lead = f"lead-{draft}"
            await desk.pool.execute(
                "UPDATE message SET body = $2, subject = $3 WHERE lead_id = $1", lead, part, part[:900]
            )
            await desk.insert(
                "draft_pipeline_artifact", id=draft, run_id=draft, stage="draft_generation_step2", iteration=0,
                prompt_key="", input_sha256="0" * 64, model="", payload={"reply": part}, text=part,
            )  # fmt: skip
            page = await browser.show(f"/drafts/{draft}")
            assert texts_of(page, "draft") == [part]
            assert part in texts_of(page, "text")
            assert texts_of(page, "subject") == [part[:900]]
            shown = texts_of(await admin.show(f"/runs/{draft}"), "text")
            assert shown.count(f"\n{part}") == 3  # message, draft and answer; `pre` drops its first newline
            told = (await browser.client.get(f"/api/drafts/{draft}")).json()
            assert [each["body"] for each in told["conversation"]] == [part]
            assert told["text"] == part
