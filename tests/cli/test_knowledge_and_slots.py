"""`knowledge` and `slots`: what a folder and a calendar hold comes into a workspace, once, and is told."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db import sql
from tests.cli.conftest import Cli
from tests.db.meeting_rows import add_workspace
from tests.samples import naughty_strings

WORKSPACE = "ws-cli"


@pytest.fixture
async def workspace(connection: asyncpg.Connection) -> str:
    await add_workspace(connection, WORKSPACE, timezone="Europe/Berlin")
    return WORKSPACE


async def found(connection: asyncpg.Connection, words: str) -> list[str]:
    """The titles that the context of a message with these words would hold, best first."""
    rows = await sql.run.context_rows.one(
        connection,
        workspace_id=WORKSPACE,
        lead_id="l",
        channel="chat",
        thread_id="",
        ingest_seq=1,
        words=words,
        limit=30,
    )
    return [entry["title"] for entry in rows["knowledge"] or []]


async def test_a_folder_is_imported_once_and_again_only_what_differs(
    cli: Cli, connection: asyncpg.Connection, workspace: str, tmp_path: Path
) -> None:
    """Added, changed, removed and unchanged are counted; a dry run changes nothing; each language is found by its stems."""
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "de.md").write_text(
        "# Rückgabe\nDie Rückgaben sind für alle Kunden möglich, wenn Sie uns bitte schreiben.\n"
    )
    (folder / "en.md").write_text(
        "# Sharing\nBoards are shared with people who have no account; we send you a link.\n# Old\nx\n"
    )
    (folder / "fr.txt").write_text(
        "Les tableaux sont partagés avec vous par un lien que nous envoyons dans une lettre."
    )
    arguments = ("knowledge", "import", str(folder), "--workspace", workspace, "--verified", "--json")
    dry = await cli(*arguments, "--dry-run")
    assert (dry.code, dry.json["added"], await connection.fetchval("SELECT count(*) FROM knowledge_entry")) == (0, 4, 0)
    first = await cli(*arguments)
    assert first.json["languages"] == {"english": 2, "german": 1, "french": 1}
    assert await found(connection, '"rückgabe"') == ["Rückgabe"]
    assert await found(connection, '"sharing"') == ["Sharing"]
    assert await found(connection, '"partager" or "share"') == ["Sharing", "fr"]
    (folder / "en.md").write_text("# Sharing\nBoards can be shared with people who have no account.\n# New\ny\n")
    (folder / "fr.txt").unlink()
    again = await cli(*arguments)
    assert {name: again.json[name] for name in ("added", "changed", "removed", "unchanged")} == {
        "added": 1, "changed": 1, "removed": 2, "unchanged": 1
    }  # fmt: skip
    nothing = await cli(*arguments[:-1])
    assert nothing.out.startswith("0 added, 0 changed, 0 removed, 3 unchanged; 3 verified")
    audited = await connection.fetch(
        "SELECT subject, after FROM admin_audit WHERE action = 'knowledge.import' ORDER BY id"
    )
    assert [(row["subject"], row["after"]["added"]) for row in audited] == [("handbook", 4), ("handbook", 1)]


async def test_entries_are_listed_and_removed_by_number_or_source(
    cli: Cli, connection: asyncpg.Connection, workspace: str, tmp_path: Path
) -> None:
    """Naughty titles come out as they went in; an import never touches what came another way."""
    await sql.ops.add_knowledge.run(connection, workspace_id=workspace, title="kept", text="x", verified=True)
    (tmp_path / "kb").mkdir()
    texts = [text for text in dict.fromkeys(naughty_strings()) if text.strip() and "\x00" not in text]
    file = io.StringIO()
    csv.writer(file).writerows(
        [("title", "text"), *((f"{number} {text}"[:200], text) for number, text in enumerate(texts))]
    )
    (tmp_path / "kb" / "faq.csv").write_bytes(file.getvalue().encode())
    imported = await cli("knowledge", "import", "kb", "--workspace", workspace)
    assert imported.code == 0, imported.err
    listed = (await cli("knowledge", "list", "--workspace", workspace, "--source", "kb/", "--json")).json
    assert {row["title"] for row in listed} == {f"{number} {text}"[:200] for number, text in enumerate(texts)}
    stored = await connection.fetch("SELECT title, text FROM knowledge_entry WHERE source = 'kb/faq.csv'")
    assert {row["text"] for row in stored} == set(texts)
    assert (await cli("knowledge", "list", "--workspace", workspace)).code == 0
    one = await cli("knowledge", "remove", "--workspace", workspace, str(listed[0]["id"]))
    rest = await cli("knowledge", "remove", "--workspace", workspace, "--source", "kb/")
    none = await cli("knowledge", "remove", "--workspace", workspace, "--source", "kb/")
    assert (one.out, rest.out, none.out, none.code) == ("1 removed\n", f"{len(texts) - 1} removed\n", "0 removed\n", 1)
    assert await connection.fetchval("SELECT array_agg(title) FROM knowledge_entry") == ["kept"]


async def test_a_problem_in_one_file_imports_nothing_and_names_its_line(
    cli: Cli, connection: asyncpg.Connection, workspace: str, tmp_path: Path
) -> None:
    """All of them are told; so are an unknown workspace, an empty folder and wrong use."""
    (tmp_path / "good.md").write_text("# A\nfine")
    (tmp_path / "bad.txt").write_bytes(b"one\n\xff")
    ended = await cli("knowledge", "import", ".", "--workspace", workspace, "--name", "kb")
    assert (ended.code, ended.err.splitlines()[0]) == (1, "bad.txt:2: is not UTF-8; save the file as UTF-8")
    (tmp_path / "bad.txt").unlink()
    unknown = await cli("knowledge", "import", ".", "--workspace", "nobody", "--name", "kb")
    assert (unknown.code, "workspace nobody is unknown" in unknown.err) == (1, True)
    assert (await cli("knowledge", "import", "nowhere", "--workspace", workspace)).code == 2
    assert (await cli("knowledge", "import", ".", "--workspace", workspace, "--language", "xx")).code == 2
    assert (await cli("knowledge", "remove", "--workspace", workspace)).code == 2
    assert await connection.fetchval("SELECT count(*) FROM knowledge_entry") == 0


def calendar(*begins: datetime) -> bytes:
    events = "".join(
        f"BEGIN:VEVENT\r\nUID:{number}\r\nDTSTART:{begin:%Y%m%dT%H%M%S}Z\r\nDURATION:PT30M\r\nEND:VEVENT\r\n"
        for number, begin in enumerate(begins)
    )
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:t\r\n{events}END:VCALENDAR\r\n".encode()


async def test_a_calendar_is_imported_once_and_again_only_what_differs(
    cli: Cli, connection: asyncpg.Connection, workspace: str, tmp_path: Path
) -> None:
    """What left the file leaves the calendar, other sources stay; the list tells who has what, and what was booked."""
    begin = (datetime.now(UTC) + timedelta(days=2)).replace(minute=0, second=0, microsecond=0)
    first, second, third = (begin + timedelta(hours=number) for number in range(3))
    await sql.ops.add_slot.run(
        connection, workspace_id=workspace, starts_at=third, ends_at=third + timedelta(minutes=30)
    )
    file = tmp_path / "free.ics"
    file.write_bytes(calendar(first, second, third))
    arguments = ("slots", "import", "free.ics", "--workspace", workspace, "--json")

    async def counts(*more: str) -> dict[str, Any]:
        ended = await cli(*arguments, *more)
        assert ended.code == 0, ended.err
        return {name: ended.json[name] for name in ("added", "removed", "unchanged")}

    assert await counts("--dry-run") == {"added": 3, "removed": 0, "unchanged": 0}
    assert await counts() == {"added": 2, "removed": 0, "unchanged": 1}
    assert await counts() == {"added": 0, "removed": 0, "unchanged": 3}
    file.write_bytes(calendar(second))
    assert await counts() == {"added": 0, "removed": 1, "unchanged": 1}
    await connection.execute("INSERT INTO lead (workspace_id, lead_id) VALUES ($1, 'ann')", workspace)
    await connection.execute(
        "INSERT INTO booking (id, workspace_id, lead_id, starts_at, ends_at, status, source, external_id)"
        " VALUES (gen_random_uuid(), $1, 'ann', $2, $3, 'confirmed', 'outside', 'cal-1')",
        workspace, second, second + timedelta(minutes=10),
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO followup_task (id, workspace_id, lead_id, outcome) VALUES (gen_random_uuid(), $1, 'ann', 'booked')",
        workspace,
    )
    listed = (await cli("slots", "list", "--workspace", workspace, "--json")).json
    assert [(row["state"], row["external_id"]) for row in listed["slots"]] == [("confirmed", "cal-1"), ("free", None)]
    assert listed["meetings"] == {"booked": 1}
    shown = await cli("slots", "list", "--workspace", workspace, "--free")
    assert "confirmed" not in shown.out
    assert "meetings so far: booked 1" in shown.out


async def test_a_calendar_that_cannot_be_read_changes_nothing(
    cli: Cli, connection: asyncpg.Connection, workspace: str, tmp_path: Path
) -> None:
    """File and line for what is wrong in it; wrong use is 2."""
    (tmp_path / "bad.ics").write_bytes(calendar(datetime.now(UTC)).replace(b"DTSTART", b"DTSTARTED"))
    ended = await cli("slots", "import", "bad.ics", "--workspace", workspace)
    assert (ended.code, ended.err) == (1, "draft-pipeline: bad.ics:4: has no DTSTART; nothing was imported\n")
    assert (await cli("slots", "import", "none.ics", "--workspace", workspace)).code == 2
    odd = await cli("slots", "import", "bad.ics", "--workspace", workspace, "--timezone", "Moon/Base")
    assert (odd.code, "Moon/Base" in odd.err) == (2, True)
    assert await connection.fetchval("SELECT count(*) FROM availability_slot") == 0
