"""`topics create` and `topics check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.shell import OK, PROBLEM, AsJson, EnvFile, emit, run, show_table

if TYPE_CHECKING:
    from app.config import Config
    from app.kafka.topics import TopicState

group = typer.Typer(name="topics", help="Create or check the Kafka topics.", no_args_is_help=True)

_REPLICATION_DEFAULT: Final = 3


@group.command(epilog="Example: draft-pipeline topics create --replication-factor 3")
def create(
    replication_factor: Annotated[
        int | None, typer.Option(min=1, help="Copies of each partition. [default: 3, or as many as there are brokers]")
    ] = None,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Create what is missing; says what differs on a topic that exists, and never changes one."""

    async def work(config: Config) -> int:
        from app.kafka.topics import check_topics, create_topics

        created = await create_topics(config, replication_factor or await _replication(config))
        states = [state for state in await check_topics(config) if state.partitions or state.name not in created]
        return _show(states, created, as_json, fail=False)

    run(env_file, "kafka", work)


@group.command(epilog="Example: draft-pipeline topics check --json")
def check(env_file: EnvFile = None, as_json: AsJson = False) -> None:
    """Compare the topics with what this version expects; exit code 1 when one is missing or set up differently."""

    async def work(config: Config) -> int:
        from app.kafka.topics import check_topics

        return _show(await check_topics(config), [], as_json, fail=True)

    run(env_file, "kafka", work)


async def _replication(config: Config) -> int:
    """Three copies, or one on each broker of a smaller cluster."""
    from aiokafka.admin import AIOKafkaAdminClient

    from app.config import kafka_kwargs

    admin = AIOKafkaAdminClient(**kafka_kwargs(config))
    try:
        await admin.start()
        return min(_REPLICATION_DEFAULT, len((await admin.describe_cluster())["brokers"]))
    finally:
        await admin.close()


def _show(states: list[TopicState], created: list[str], as_json: bool, *, fail: bool) -> int:
    if as_json:
        emit([{**vars(state), "created": state.name in created} for state in states])
    else:
        rows = [(state.name, state.partitions or "-", _remark(state, created)) for state in states]
        show_table(("topic", "partitions#", ""), rows)
    return PROBLEM if fail and any(_wrong(state) for state in states) else OK


def _remark(state: TopicState, created: list[str]) -> str:
    return "; ".join((["created"] if state.name in created else []) + list(state.differences)) or "as expected"


def _wrong(state: TopicState) -> bool:
    """More or fewer partitions than the default are a choice; everything else is a mistake."""
    return any(" partitions, default " not in difference for difference in state.differences)
