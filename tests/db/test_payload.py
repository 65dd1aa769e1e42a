"""Whatever an answer holds: what `storable_payload` lets through is taken by the table, the rest becomes a marker."""

from __future__ import annotations

import json
import math
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.artifact import storable_payload
from db.pool import connect
from schemas.limits import PAYLOAD_BYTES_MAX
from tests.conftest import Database
from tests.db.rows import Seeded, seed

INSERT = """
INSERT INTO draft_pipeline_artifact (id, run_id, stage, iteration, prompt_key, input_sha256, model, payload)
VALUES (gen_random_uuid(), $1, 's', 0, '', repeat('a', 64), '', $2) RETURNING octet_length(payload::text)
"""

texts = st.text(st.characters(exclude_categories=()), max_size=40) | st.sampled_from(
    ["\x00", "\ud800", "\\u0000", "\x7f\x1f", "\u2028", "𝄞" * 9000, "x" * 32_700, "ä" * 16_400, '"' * 16_300]
)
numbers = (
    st.floats()
    | st.sampled_from([1e300, -1.7976931348623157e308, 5e-324, 1e15, 1e16, 1e17, 1.5e21, -0.0, 2.0**70])
    | st.integers(-(2**63), 2**64 - 1)
)
leaves = st.none() | st.booleans() | numbers | texts
payloads = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=30) | st.dictionaries(texts, inner, max_size=8), max_leaves=60
) | st.builds(lambda number, times: [number] * times, numbers, st.integers(90, 4000))


_open: dict[str, tuple[asyncpg.Connection, Seeded]] = {}


async def opened(database: Database) -> tuple[asyncpg.Connection, Seeded]:
    """One connection for all examples of the test; the database is dropped with force afterwards."""
    if database.url not in _open:
        connection = await connect(database.url)
        _open[database.url] = (connection, await seed(connection))
    return _open[database.url]


async def stored_bytes(connection: asyncpg.Connection, run: Seeded, payload: Any) -> int:
    """Bytes of the payload as the CHECK measures them; the row is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        size: int = await connection.fetchval(INSERT, run.run, payload)
        return size
    finally:
        await transaction.rollback()


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(payload=payloads)
async def test_every_payload_is_stored_as_it_is_or_as_a_marker(database: Database, payload: Any) -> None:
    """The table takes what the one bounding function returns, for any JSON that an answer could hold."""
    connection, run = await opened(database)
    assert await stored_bytes(connection, run, storable_payload({"answer": payload})) <= PAYLOAD_BYTES_MAX


@pytest.mark.parametrize(
    "payload",
    [
        {"a": math.nan},
        {"a": "\x00"},
        {"a": "\ud800"},
        ["x" * PAYLOAD_BYTES_MAX],
        [1e300] * 120,
        json.loads("[" * 70 + "1e300" + "]" * 70),
        [2**64],
    ],
)
def test_what_the_table_would_refuse_becomes_a_marker(payload: Any) -> None:
    """Reason, size and hash take the place of what cannot be stored."""
    marker = storable_payload(payload)
    assert set(marker) == {"omitted", "bytes", "sha256"}
