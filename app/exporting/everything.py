"""An export of all result topics and views, or of some."""

from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Final

import asyncpg

from app.config import Config
from app.dictionary import dictionary
from app.exporting.files import SCHEMA, State, write_json
from app.exporting.topics import Exported, export_topic
from app.exporting.views import export_view, views_by_day
from schemas.events import PUBLIC_EVENTS

RESULT_TOPICS: Final = ("draft-evaluated", "revision-result", "draft-outcome")


class NameUnknown(Exception):
    """Nothing of this name can be exported."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(name)
        self.name, self.known = name, tuple(known)


async def export_everything(
    config: Config,
    connection: asyncpg.Connection,
    root: Path,
    only: list[str] | None,
    since: date | None,
    say: Callable[[str], None],
) -> list[Exported]:
    """Bring the folder up to date. Raises NameUnknown, KafkaError, PostgresError; whatever stops it, the next call goes
    on where it stopped."""
    views = await views_by_day(connection)
    names = [*RESULT_TOPICS, *views]
    unknown = [name for name in only or () if name not in names]
    if unknown:
        raise NameUnknown(unknown[0], names)
    chosen = [name for name in names if only is None or name in only]
    state, exported = State(root), []
    await _write_schemas(connection, root, chosen)
    for name in chosen:
        if name in RESULT_TOPICS:
            exported.append(await export_topic(config, root, state, PUBLIC_EVENTS[name], say))
        else:
            exported.append(await export_view(connection, root, state, name, views[name], since, say))
    return exported


async def _write_schemas(connection: asyncpg.Connection, root: Path, names: list[str]) -> None:
    for source in await dictionary(connection):
        name = source.name.removeprefix("analytics.")
        if name in names:
            write_json(root / name / SCHEMA, {**source.as_dict(), "partitioned_by": "day"})
