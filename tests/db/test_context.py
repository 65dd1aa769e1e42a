"""The context of a run, read from a real Postgres: the bundle on, off and failing, and what every stage then sees."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest

from agents import starting
from agents.hard_blocks import check_text, codes
from agents.prompting import bundle_figures, profile_of
from agents.rim import Rim
from agents.stages import STAGES
from agents.starting import build_context, search_words
from agents.state import RunState
from db import sql
from db.pool import Pool, create_pool
from schemas.codes import KillSwitch, Stage
from schemas.events import DraftRequested
from schemas.ids import draft_id
from tests.conftest import Database
from tests.db.meeting_rows import TOMORROW, WORKSPACE, Want, add_slot, add_want, add_workspace, hold
from tests.samples import naughty_strings

SECTION = re.compile(r"# verified_context_instructions\n.*?\n# Now\n", re.DOTALL)
MEMORY = re.compile(r"# memory_context\n\n(.*?)\n\n# ", re.DOTALL)
OVERSEERS = (Stage.MEETING_EXTRACT, Stage.MEETING_GATE)


class Place:
    """A workspace whose lead has written before, with memory, knowledge and a free slot."""

    def __init__(self, pool: Pool, want: Want) -> None:
        self.pool, self.want = pool, want

    async def state(self, *off: KillSwitch) -> RunState:
        """What a run for the lead's message would start with, in a process whose environment has `off` off."""
        message = f"m-{self.want.draft}"
        facts = await sql.run.request_facts.one(self.pool, workspace_id=WORKSPACE, message_id=message, attempt=1)
        event = DraftRequested.model_validate(
            {"event_id": self.want.run, "occurred_at": datetime.now(UTC), "workspace_id": WORKSPACE, "lead_id": "ann",
             "channel": "chat", "trigger_message_id": message, "draft_id": draft_id(WORKSPACE, message, "chat")}
        )  # fmt: skip
        rim = cast(
            Rim, SimpleNamespace(pool=self.pool, is_off=lambda switch: switch in off, context_built=lambda pack: None)
        )
        snapshot, pack = await build_context(rim, facts, event)
        return RunState(snapshot=snapshot, pack=pack, text="Hi")

    async def settings(self, **columns: Any) -> None:
        for name, value in columns.items():
            await self.pool.execute(f"UPDATE workspace_settings SET {name} = $1", value)


@pytest.fixture
async def place(database: Database) -> AsyncIterator[Place]:
    pool = await create_pool(database.url, size=4, application="context")
    await add_workspace(pool, lead_context_bundle_enabled=True)
    await add_want(pool, "ann", thread="older")
    want = await add_want(pool, "ann")
    await pool.execute(
        "UPDATE message SET body = 'how do I share my board with guests?' WHERE message_id = $1", f"m-{want.draft}"
    )
    await pool.execute(
        "INSERT INTO lead_memory_entry (workspace_id, lead_id, text) VALUES ($1, 'ann', 'likes tea')", WORKSPACE
    )
    await pool.execute(
        "INSERT INTO knowledge_entry (workspace_id, title, text, source, language, verified) VALUES"
        " ($1, 'Sharing', 'Boards are shared by a link.', 'a', 'english', true),"
        " ($1, 'Blog', 'Somebody shared a board for free.', 'b', 'english', false)",
        WORKSPACE,
    )
    await add_slot(pool)
    yield Place(pool, want)
    await pool.close()


async def test_the_bundle_adds_profile_memory_and_history_within_its_budgets(place: Place) -> None:
    """On: every stage sees its profile's share; the statistics account for it, with numbers only."""
    state = await place.state()
    assert (state.snapshot.bundle_enabled, state.pack.fallback) == (True, None)
    assert {each.name for each in state.pack.sections["draft"]} == {"memory", "history", "knowledge", "free_slots"}
    assert {each.profile for each in state.pack.statistics} == {"draft", "overseer", "evaluator", "followup"}
    assert all(each.tokens <= each.budget_tokens for each in state.pack.statistics)
    for stage in OVERSEERS:
        assert "likes tea" in MEMORY.findall(STAGES[stage].ask(state).user)[0]


async def fails(place: Place, monkeypatch: pytest.MonkeyPatch, how: str) -> RunState:
    """The run's state with that fault injected."""
    match how:
        case "toggle_off":
            await place.settings(lead_context_bundle_enabled=False)
            return await place.state()
        case "kill_switch_of_the_environment":
            return await place.state(KillSwitch.LEAD_CONTEXT_BUNDLE_DISABLED)
        case "kill_switch_in_postgres":
            await place.pool.execute(
                "UPDATE kill_switch SET disabled = true WHERE name = 'LEAD_CONTEXT_BUNDLE_DISABLED'"
            )
            return await place.state()
        case "query_fails":
            await place.pool.execute("ALTER TABLE lead_memory_entry RENAME TO lead_memory_entry_gone")
            return await place.state()
        case "query_hangs":
            monkeypatch.setattr(starting, "BUNDLE_S_MAX", 0.2)
            async with place.pool.acquire() as connection, connection.transaction():
                await connection.execute("LOCK TABLE lead_memory_entry IN ACCESS EXCLUSIVE MODE")
                return await place.state()
        case _:
            monkeypatch.setattr(starting, "build_pack", lambda *_: 1 / 0)
            return await place.state()


@pytest.mark.parametrize(
    ("how", "enabled", "fallback"),
    [
        ("toggle_off", False, None),
        ("kill_switch_of_the_environment", False, None),
        ("kill_switch_in_postgres", False, None),
        ("query_fails", True, "UndefinedTableError"),
        ("query_hangs", True, "TimeoutError"),
        ("our_own_mistake", True, "ZeroDivisionError"),
    ],
)
async def test_off_or_failing_leaves_the_base_context_and_changes_no_verified_byte(
    place: Place, monkeypatch: pytest.MonkeyPatch, how: str, enabled: bool, fallback: str | None
) -> None:
    """A draft can be made with each fault; `verified_context_instructions` is the same to the byte, memory is `None.`."""
    whole = await place.state()
    state = await fails(place, monkeypatch, how)
    assert (state.snapshot.bundle_enabled, state.pack.fallback) == (enabled, fallback)
    asks = [STAGES[Stage.EVALUATION].ask(each).user for each in (whole, state)]
    verified = [SECTION.findall(user) for user in asks]
    assert verified[0] == verified[1]
    assert "Boards are shared by a link." in verified[0][0]
    assert ("likes tea" in asks[0], "likes tea" in asks[1]) == (True, False)
    assert "how do I share my board" in asks[1]
    for stage in OVERSEERS:
        user = STAGES[stage].ask(state).user
        assert MEMORY.findall(user) == ["None."]
        assert f"{TOMORROW:%Y-%m-%dT%H:%M:%SZ}" in user


async def test_a_toggle_that_is_off_stays_off_whatever_the_switch_says_and_the_other_way_round(place: Place) -> None:
    """On only if the workspace says on and no switch says off."""
    on = (await place.state()).snapshot.bundle_enabled
    await place.pool.execute("UPDATE kill_switch SET disabled = true WHERE name = 'LEAD_CONTEXT_BUNDLE_DISABLED'")
    switched = (await place.state()).snapshot.bundle_enabled
    await place.settings(lead_context_bundle_enabled=False)
    both = (await place.state(KillSwitch.LEAD_CONTEXT_BUNDLE_DISABLED)).snapshot.bundle_enabled
    await place.pool.execute("UPDATE kill_switch SET disabled = false")
    assert (on, switched, both, (await place.state()).snapshot.bundle_enabled) == (True, False, False, False)


@pytest.mark.parametrize(
    "override", [["x"], "text", 5, {"draft": []}, {"draft": {"tokens": -1}}, {"draft": {"weights": {"memory": "3"}}}]
)
async def test_a_malformed_override_leaves_the_default_budgets(place: Place, override: Any) -> None:
    """Whatever JSON is stored, the draft is made with the bundle as if nothing had been."""
    before = await place.state()
    await place.settings(lead_context_bundle_budgets=override)
    assert (await place.state()).pack == before.pack


async def test_an_override_holds_for_its_workspace_and_profile(place: Place) -> None:
    """Fewer tokens cut memory there, and are told as cut; other profiles keep theirs."""
    await place.settings(lead_context_bundle_budgets={"draft": {"tokens": 0}})
    state = await place.state()
    assert (state.pack.sections["draft"], bool(state.pack.sections["overseer"])) == ([], True)
    figures = bundle_figures(state, Stage.GENERATION)
    assert (figures["bundle_sections"], figures["bundle_tokens"]) == (0, 0)
    assert figures["bundle_truncated"] > 0


@pytest.mark.parametrize("stage", list(Stage))
async def test_telemetry_of_every_stage_is_taken_by_the_table(place: Place, stage: Stage) -> None:
    """Counts and estimates of the stage's own profile, under keys and values that the CHECK allows; never a text."""
    state = await place.state()
    shown = next(each for each in state.pack.statistics if each.profile == profile_of(state, stage))
    figures = bundle_figures(state, stage)
    assert (figures["bundle_tokens"], figures["bundle_chars"]) == (shown.tokens, shown.chars)
    await place.pool.execute(
        "INSERT INTO ai_interaction (id, workspace_id, feature_id, source, model, status, metadata)"
        " VALUES (gen_random_uuid(), $1, 'f', 'pipeline', 'm', 'answered', $2)",
        WORKSPACE,
        figures,
    )
    assert all(isinstance(value, int) for value in figures.values())


async def test_the_gate_sees_the_share_of_follow_ups_where_it_decides_on_them(place: Place) -> None:
    """`followup` is the profile of the booking gate, `overseer` that of the look at meetings."""
    before = profile_of(await place.state(), Stage.MEETING_GATE)
    await place.settings(followup_booking_gate_enabled=True, lead_context_bundle_budgets={"followup": {"tokens": 0}})
    state = await place.state()
    assert (before, profile_of(state, Stage.MEETING_GATE)) == ("overseer", "followup")
    assert MEMORY.findall(STAGES[Stage.MEETING_GATE].ask(state).user) == ["None."]
    assert "likes tea" in STAGES[Stage.MEETING_EXTRACT].ask(state).user


@pytest.mark.parametrize(
    ("language", "text", "asked"),
    [
        ("german", "Rückgaben sind möglich.", "Kann ich die Rückgabe verschieben?"),
        ("french", "Les remboursements sont possibles.", "Un remboursement est-il possible ?"),
        ("spanish", "Las devoluciones son gratuitas.", "¿Puedo hacer una devolución?"),
        ("dutch", "Bestellingen worden geleverd.", "Wanneer komt de levering van mijn bestelling?"),
        ("simple", "Zwroty są możliwe", "czy zwroty są płatne?"),
    ],
)
async def test_knowledge_is_found_by_the_stems_of_its_own_language(
    place: Place, language: str, text: str, asked: str
) -> None:
    """Each entry is searched in its language, whatever others the workspace has."""
    await place.pool.execute(
        "INSERT INTO knowledge_entry (workspace_id, title, text, source, language) VALUES ($1, 'T', $2, 'c', $3::text::regconfig)",
        WORKSPACE, text, language,
    )  # fmt: skip
    await place.pool.execute("UPDATE message SET body = $1 WHERE message_id = $2", asked, f"m-{place.want.draft}")
    assert [entry.text for entry in (await place.state()).snapshot.knowledge] == [text]


async def test_a_time_that_somebody_holds_is_neither_offered_nor_may_it_be_named(place: Place) -> None:
    """Context and hard block agree: free, it may stand in a reply; held by another lead, it blocks."""
    text = f"How about {TOMORROW:%d.%m.%Y} at {TOMORROW:%H:%M} UTC?"

    async def blocks() -> list[str]:
        snapshot = (await place.state()).snapshot
        return codes(check_text(text, snapshot, scheduling=True))

    assert "meeting_time_not_free" not in await blocks()
    slot = await place.pool.fetchval("SELECT id FROM availability_slot")
    await hold(place.pool, await add_want(place.pool, "ben"), slot)
    assert "meeting_time_not_free" in await blocks()


async def test_naughty_strings_in_knowledge_are_shown_as_they_are(place: Place) -> None:
    """What was stored is what the snapshot holds, and searching for them breaks nothing."""
    texts = [text for text in dict.fromkeys(naughty_strings()) if text and "\x00" not in text][:400]
    await place.pool.execute("DELETE FROM knowledge_entry")
    rows = [(WORKSPACE, f"share {text}"[:300], f"board {text}", str(number)) for number, text in enumerate(texts)]
    async with place.pool.acquire() as connection:
        await connection.executemany(
            "INSERT INTO knowledge_entry (workspace_id, title, text, source, language, verified) VALUES ($1, $2, $3, $4, 'english', true)",
            rows,
        )
    known = {(title, text) for _, title, text, _ in rows}
    snapshot = (await place.state()).snapshot
    assert len(snapshot.knowledge) == starting.CONTEXT_ROWS_MAX
    assert {(entry.title, entry.text) for entry in snapshot.knowledge} <= known
    for text in texts[:: len(texts) // 40]:
        await _search(place.pool, text)


async def _search(pool: Pool, text: str) -> asyncpg.Record:
    return await sql.run.context_rows.one(
        pool, workspace_id=WORKSPACE, lead_id="ann", channel="chat", thread_id="", ingest_seq=10**9,
        words=search_words(text), limit=30,
    )  # fmt: skip
