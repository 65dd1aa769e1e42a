"""A named query tells a value that cannot be from a database that is away."""

from __future__ import annotations

import asyncpg
import pytest

from agents.persist import TRANSIENT
from db import sql
from db.pool import connect
from tests.conftest import Database


async def test_a_value_that_no_column_holds_is_refused_and_not_tried_again(database: Database) -> None:
    """asyncpg refuses it as the server would; as an InterfaceError, a lost connection, it would be waited out for ever."""
    connection = await connect(database.url)
    for query, given in (
        (sql.control.change_by_id, {"audit_id": 10**20}),
        (sql.control.workspace, {"workspace_id": "lone \ud800"}),
    ):
        with pytest.raises(asyncpg.DataError) as refused:
            await query.row(connection, **given)
        assert not isinstance(refused.value, TRANSIENT)
    await connection.close()
    with pytest.raises(TRANSIENT):
        await sql.control.change_by_id.row(connection, audit_id=1)
