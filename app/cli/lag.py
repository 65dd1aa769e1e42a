"""`lag`: what waits on Kafka and before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shell import OK, AsJson, EnvFile, connection_to, emit, run, show_table

if TYPE_CHECKING:
    from app.config import Config
    from app.kafka.lagging import PartitionLag

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline lag --all --json", rich_help_panel="Look")
def lag(
    every: Annotated[bool, typer.Option("--all", help="Also partitions without lag.")] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Records not yet consumed, by group, topic and partition, and what waits in the outbox beside them."""

    async def work(config: Config) -> int:
        from app.kafka.lagging import group_reader, watermarks_of
        from db import sql

        config.require(frozenset({"DATABASE_URL"}))
        async with connection_to(config.database_url) as connection, group_reader(config) as reader:
            partitions = await reader.lags(await watermarks_of(connection))
            waiting = dict(await sql.ops.left_to_do.one(connection))
        lost = [each.partition for each in partitions if each.lost]
        if as_json:
            rows = [{name: value for name, value in vars(each).items() if name != "lost"} for each in partitions]
            emit({"partitions": rows, "watermarks_beyond_end": lost, "waiting": waiting})
            return OK
        groups = dict.fromkeys(each.group for each in partitions)
        totals = [_total(name, [each for each in partitions if each.group == name]) for name in groups]
        show_table(("group", "lag#", "state", "members#"), totals)
        chosen = [each for each in partitions if each.lag or every]
        if chosen:
            print()
            columns = ("topic", "partition#", "committed#", "end#", "lag#", "member")
            show_table(columns, [(e.topic, e.partition, e.committed, e.end, e.lag, e.member) for e in chosen])
        if lost:
            print(
                f"\ninbound-message {', '.join(map(str, lost))}: the watermark of ingest is beyond the end; see doctor"
            )
        print("\n" + ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in waiting.items()))
        return OK

    run(env_file, "kafka", work)


def _total(group: str, rows: list[PartitionLag]) -> tuple[str, int, str, int]:
    state = {"Dead": "never consumed", "Empty": "nobody consumes"}.get(rows[0].state, rows[0].state.lower())
    return group, sum(row.lag for row in rows), state, len({row.member for row in rows} - {"-"})
