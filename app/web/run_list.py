"""The list of runs: filters from the URL, pages by key, and never more work than a bounded look.

A filter on the run's place (workspace, time, RUNNING or FAILED, an id) is answered by an index. One on what became of
its draft is not: then the newest `RUNS_LOOKED_AT_MAX` runs are looked at, and a page that found few of them says how
far it has looked and goes on from there.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

import asyncpg
from fastapi import HTTPException, Query
from pydantic import AfterValidator

from db import sql
from db.pool import Pool
from schemas.codes import Action, DraftStatus, RevisionOutcome, RunStatus
from schemas.limits import RUNS_COUNTED_MAX, RUNS_LOOKED_AT_MAX, RUNS_LOOKED_FIRST, RUNS_SHOWN

_UNSETTLED: Final = (RunStatus.RUNNING, RunStatus.FAILED)
_FIRST: Final = uuid.UUID(int=0)
_LAST: Final = uuid.UUID(int=(1 << 128) - 1)
WITHIN: Final[dict[str, timedelta]] = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}


def _utc(moment: datetime | None) -> datetime | None:
    """In UTC, as all times here; so is a time without a zone. Raises OverflowError beyond the years 1 to 9999."""
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _empty_is_none(name: str, value: str) -> datetime | None:
    try:
        return _utc(datetime.fromisoformat(value)) if value else None
    except (ValueError, OverflowError):
        words = f"not understood: {name}. A time like 2026-11-02T08:00 is, {value[:40]!r} is not"
        raise HTTPException(422, words) from None


Moment = Annotated[str, Query(max_length=40), AfterValidator(str.strip)]


@dataclass(frozen=True)
class Place:
    """A place in the list, after which a page begins. In the URL: `2026-11-02T08:00:00.123456Z_<run id>`."""

    at: datetime
    run_id: uuid.UUID

    def __str__(self) -> str:
        return f"{self.at.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%S.%fZ')}_{self.run_id}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises 422 for what is no place."""
        at, _, run_id = text.partition("_")
        try:
            return cls(datetime.fromisoformat(at).astimezone(UTC), uuid.UUID(run_id))
        except (ValueError, OverflowError):
            raise HTTPException(422, "not understood: before. Begin again from the first page") from None


@dataclass(frozen=True)
class Filters:
    """What the URL asks for. Empty strings, as forms send them, ask for nothing."""

    workspace: Annotated[str, Query(max_length=200)] = ""
    status: Literal["", "RUNNING", "COMPLETED", "FAILED", "ABORTED"] = ""
    decision: Literal["", "send_immediate", "send_delayed", "needs_review", "none"] = ""
    outcome: Annotated[str, Query(pattern=f"^({'|'.join(('', *DraftStatus))})$")] = ""
    revision: Annotated[str, Query(pattern=f"^({'|'.join(('', *RevisionOutcome))})$")] = ""
    within: Literal["", "1h", "6h", "24h", "7d", "30d"] = ""
    since: Moment = ""
    until: Moment = ""
    id: Annotated[str, Query(max_length=200)] = ""
    failed: bool = False
    before: Annotated[str, Query(max_length=80)] = ""

    @property
    def chosen_status(self) -> str | None:
        return RunStatus.FAILED if self.failed else self.status or None

    @property
    def need_a_look(self) -> bool:
        """Whether something is asked that the chosen index does not know."""
        by_index = self.chosen_status is None or (self.chosen_status in _UNSETTLED and not self.id)
        return bool(self.decision or self.outcome or self.revision) or not by_index

    def times(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """From and to; None is open."""
        since, until = _empty_is_none("since", self.since), _empty_is_none("until", self.until)
        recent = now - WITHIN[self.within] if self.within else None
        return max((each for each in (since, recent) if each is not None), default=None), until


@dataclass(frozen=True)
class Page:
    """Runs in order, and where the list goes on. `looked_to`: few fitted, and it has looked no further than this."""

    runs: list[dict[str, Any]]
    next: Place | None
    looked_to: datetime | None


async def read_page(pool: Pool, of: str | None, filters: Filters, now: datetime) -> Page:
    """One page of what `of` (a workspace, None for all) and the filters choose."""
    for looked_max in (RUNS_LOOKED_FIRST, RUNS_LOOKED_AT_MAX) if filters.need_a_look else (RUNS_SHOWN + 1,):
        looked = await _look(pool, of, filters, now, looked_max)
        rows = await sql.run_list.shown.rows(
            pool,
            ids=[row["id"] for row in looked],
            status=filters.chosen_status,
            action=filters.decision or None,
            outcome=filters.outcome or None,
            revision=filters.revision or None,
            limit=RUNS_SHOWN + 1,
        )
        if len(rows) > RUNS_SHOWN or len(looked) < looked_max:
            break
    runs = [dict(row) for row in rows[:RUNS_SHOWN]]
    if len(rows) > RUNS_SHOWN:
        return Page(runs, Place(runs[-1]["created_at"], runs[-1]["id"]), None)
    if filters.need_a_look and len(looked) == looked_max:
        last = Place(looked[-1]["created_at"], looked[-1]["id"])
        return Page(runs, last, last.at)
    return Page(runs, None, None)


async def _look(pool: Pool, of: str | None, filters: Filters, now: datetime, limit: int) -> list[asyncpg.Record]:
    """Ids and times of runs, newest first, by the index that fits."""
    since, until = filters.times(now)
    at, run_id = until, _FIRST if until is not None else _LAST
    if filters.before:
        place = Place.read(filters.before)
        if until is None or place.at < until:
            at, run_id = place.at, place.run_id
    bounds = {"before_at": at, "before_id": run_id, "since": since, "limit": limit}
    queries = sql.run_list
    if filters.id:
        text = filters.id.strip()
        return await queries.with_id.rows(pool, workspace_id=of, text=text, uuid=as_uuid(text), **bounds)
    if filters.chosen_status in _UNSETTLED:
        return await queries.newest_unsettled.rows(pool, workspace_id=of, status=filters.chosen_status, **bounds)
    if of is not None:
        return await queries.newest_of_workspace.rows(pool, workspace_id=of, **bounds)
    return await queries.newest.rows(pool, **bounds)


async def count_by_status(pool: Pool, of: str | None, filters: Filters, now: datetime) -> dict[str, int]:
    """Runs of the chosen time and workspace by status; at most `RUNS_COUNTED_MAX` of the newest are counted."""
    since, until = filters.times(now)
    chosen = {"since": since, "until": until, "limit": RUNS_COUNTED_MAX}
    if of is None:
        rows = await sql.run_list.counts.rows(pool, **chosen)
    else:
        rows = await sql.run_list.counts_of_workspace.rows(pool, workspace_id=of, **chosen)
    found = {row["status"]: row["runs"] for row in rows}
    return {status.value: found.get(status, 0) for status in RunStatus}


def as_uuid(text: str) -> uuid.UUID | None:
    """The id in `text`, None when it is another kind of id."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


CHOICES: Final[dict[str, list[str]]] = {
    "status": [each.value for each in RunStatus],
    "decision": [each.value for each in Action],
    "outcome": [each.value for each in DraftStatus],
    "revision": [each.value for each in RevisionOutcome],
    "within": list(WITHIN),
}
