"""`tail`: a topic, for people."""

from __future__ import annotations

import json
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.shell import OK, AsJson, EnvFile, Problem, WrongUse, on_screen, run

if TYPE_CHECKING:
    from app.config import Config
    from app.tailing import Line, Start

group = typer.Typer()

_TEXTS: Final = ("inbound-message", "dead-letter")
# First what one looks for; the rest follows in the order of the event.
_FIRST: Final = (
    "workspace_id",
    "lead_id",
    "draft_id",
    "status",
    "outcome",
    "action",
    "reason",
    "confidence",
    "threshold",
)
_LEFT_OUT: Final = frozenset({"schema_version", "event_id", "occurred_at"})


@group.command(
    epilog="Example: draft-pipeline tail draft-outcome --from 15m --where status=sent", rich_help_panel="Analyse"
)
def tail(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="A topic of ours; a wrong name lists them.")],
    start: Annotated[
        str, typer.Option("--from", metavar="WHERE", help="earliest, latest, an offset, -N, 15m (ago), or a time.")
    ] = "latest",
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="FIELD=VALUE", help="Only these; may be repeated.")
    ] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Only this one.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop at the present end instead of waiting for more.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Texts too, which are personal data; without it they are masked.")
    ] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the records of a topic as they come, until Ctrl-C. Reads only: no consumer group is touched."""
    from app.tailing import read_start
    from schemas.topics import TOPICS

    if topic not in TOPICS:
        raise WrongUse(f"no topic is called {topic}; they are {', '.join(TOPICS)}")
    try:
        begin = read_start(start, datetime.now(UTC))
    except ValueError:
        raise WrongUse(
            f"--from {start!r} is no place; it looks like earliest, 1234, -20, 15m or 2026-11-02T08:00Z"
        ) from None
    wanted = dict(_pair(each) for each in where or ())

    async def work(config: Config) -> int:
        from app.kafka.topics import missing_topics

        if await missing_topics(config, [topic]):
            raise Problem(f"topic {topic} is missing: run `draft-pipeline topics create`")
        await _print_lines(config, topic, begin, wanted, partition, limit, follow=not once, raw=raw, as_json=as_json)
        return OK

    try:
        run(env_file, "kafka", work)
    except KeyboardInterrupt:
        raise typer.Exit(OK) from None


async def _print_lines(
    config: Config,
    topic: str,
    begin: Start,
    wanted: dict[str, str],
    partition: int | None,
    limit: int | None,
    *,
    follow: bool,
    raw: bool,
    as_json: bool,
) -> None:
    from app.tailing import tail as lines_of

    shown = 0
    masked = topic in _TEXTS and not raw
    async with aclosing(lines_of(config, topic, begin, partition=partition, follow=follow)) as lines:
        async for line in lines:
            if not line.holds(wanted):
                continue
            print(on_screen(_as_json(line, masked=masked) if as_json else _pretty(line, masked=masked)), flush=True)
            shown += 1
            if shown == limit:
                return


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise WrongUse(f"--where {text!r} is no FIELD=VALUE")
    return name, value


def _content(line: Line, *, masked: bool) -> Any:
    """The record's fields; what may hold a text is described instead."""
    from app.cli.letters import described

    if masked:
        return described(line.value)
    return line.fields or (line.value.decode("utf-8", "replace") if line.value is not None else None)


def _as_json(line: Line, *, masked: bool) -> str:
    place = {"partition": line.partition, "offset": line.offset, "at": line.at.isoformat()}
    key = line.key.decode("utf-8", "replace") if line.key is not None else None
    value = _content(line, masked=masked)
    return json.dumps({**place, "key": key, "headers": line.headers, "value": value}, ensure_ascii=False)


def _pretty(line: Line, *, masked: bool) -> str:
    """Time and place, then `field=value`, the fields that say most first; what is null is left out."""
    head = f"{line.at:%Y-%m-%d %H:%M:%S}.{line.at.microsecond // 1000:03d}Z {line.partition}:{line.offset}"
    content = _content(line, masked=masked)
    if not isinstance(content, dict):
        return f"{head}  {content}"
    if reason := line.headers.get("dlq_reason"):
        content = {"dlq_reason": reason, "dlq_error": line.headers.get("dlq_error", ""), **content}
    names = [*(name for name in _FIRST if name in content), *(name for name in content if name not in _FIRST)]
    told = [f"{name}={_value(content[name])}" for name in names if name not in _LEFT_OUT and content[name] is not None]
    return f"{head}  {' '.join(told)}"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if set(value) & set(' \n\t"=') else value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
