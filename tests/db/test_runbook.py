"""The queries of RUNBOOK.md: every one, in a block or in a sentence, is understood by the schema as it is."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest

from app import health
from app.web.pages import PAGES
from db.pool import connect
from schemas.codes import Role
from tests.conftest import Database
from tests.runbook import Query, everything, spans

PLACES = {"RUN": "00000000-0000-0000-0000-000000000001", "DRAFT": "00000000-0000-0000-0000-000000000002"}
ALONE = re.compile(r"^VACUUM|CONCURRENTLY")  # what no transaction may hold; none of it changes what is stored
SENTENCES = [each for each in spans() if re.match(r"(SELECT|UPDATE|DELETE FROM|VACUUM) ", each)]
STATEMENTS = [each.filled(PLACES).text for each in [*everything().queries, *map(Query, SENTENCES)]]


async def _try(connection: asyncpg.Connection, statement: str) -> None:
    if ALONE.search(statement):
        await connection.execute(statement)
        return
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
    finally:
        await transaction.rollback()


async def test_every_query_runs_on_the_schema(database: Database) -> None:
    """With its capital placeholders filled in; whatever one changes is undone."""
    assert len(everything().queries) > 50
    assert len(SENTENCES) > 5
    connection = await connect(database.url)
    for statement in STATEMENTS:
        try:
            await _try(connection, statement)
        except asyncpg.PostgresError as error:
            pytest.fail(f"{error}: {statement}")
    await connection.close()


def test_every_link_within_the_file_leads_to_a_heading() -> None:
    """As GitHub makes anchors of headings."""
    text = everything().text
    anchors = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in re.findall(r"^#+ (.+)$", text, re.M)}
    assert [each for each in re.findall(r"\]\(#([^)]+)\)", text) if each not in anchors] == []


def test_every_role_is_told_every_page_it_sees() -> None:
    """In the table of the roles; a super-admin sees everything."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", everything().text, re.M))
    for role in set(Role) - {Role.SUPER_ADMIN}:
        seen = [page.PAGE.title for page in PAGES if role in page.PAGE.roles]
        assert [title for title in seen if title.lower() not in rows[role].lower()] == [], role


def test_every_reason_of_a_worker_that_is_not_well_has_its_line() -> None:
    """What `/live` and `/ready` say stands in the table under Health."""
    codes = re.findall(r'"([a-z]+(?:_[a-z]+)*)(?::\{[^}]+\})?"', Path(health.__file__).read_text("utf-8"))
    told = re.findall(r"^\| `(\w+)(?::TOPIC)?` \| (?:live, )?ready \|", everything().text, re.M)
    assert len(told) > 5
    assert set(codes) - {"ok", "reasons"} == set(told)  # those two are what the answer is made of
