"""`tail --from`: every place somebody may name is a place, or wrong use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.tailing import Start, read_start

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("earliest", Start(earliest=True)),
        ("latest", Start()),
        ("1234", Start(offset=1234)),
        ("-20", Start(back=20)),
        ("15m", Start(at=NOW - timedelta(minutes=15))),
        ("2026-11-02", Start(at=datetime(2026, 11, 2, tzinfo=UTC))),
        ("99999999999d", Start(at=EPOCH)),
        ("99999999999999999999s", Start(at=EPOCH)),
        ("40000d", Start(at=EPOCH)),
        ("0001-01-01", Start(at=EPOCH)),
    ],
)
def test_where_to_begin_is_understood(text: str, start: Start) -> None:
    """Further back than any record can be is the oldest one."""
    assert read_start(text, NOW) == start


@pytest.mark.parametrize("text", ["", "soon", "m", "2026-13-01", "9" * 5_000, "9" * 5_000 + "d"])
def test_what_is_no_place_is_a_value_error(text: str) -> None:
    """Nothing else is raised."""
    with pytest.raises(ValueError, match=r"."):
        read_start(text, NOW)
