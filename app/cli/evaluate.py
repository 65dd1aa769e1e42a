"""`evaluate`: labelled cases through the real flow, judged."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.shell import OK, PROBLEM, AsJson, EnvFile, WrongUse, emit, run, show_table

if TYPE_CHECKING:
    from app.cli.evaluating import Behave
    from app.cli.judging import Report
    from app.config import Config

    Judge = Callable[[Config, Behave | None], Coroutine[Any, Any, int]]

group = typer.Typer()

Cases = Annotated[
    Path, typer.Argument(metavar="CASES.jsonl", exists=True, dir_okay=False, help="Labelled cases, one a line.")
]
Stack = Annotated[
    Path | None,
    typer.Option("--stack", metavar="DIR", help="The folder of `up`: its scripted model plays the cases."),
]


@group.command(epilog="Example: draft-pipeline evaluate tests/judgement/cases.jsonl --local", rich_help_panel="Judge")
def evaluate(
    cases: Cases,
    local: Annotated[bool, typer.Option("--local", help="Start a system of our own with the scripted model.")] = False,
    stack: Stack = None,
    model: Annotated[str | None, typer.Option(help="Ask this model at every stage.")] = None,
    only: Annotated[str | None, typer.Option(metavar="TEXT", help="Cases whose id or group holds it.")] = None,
    min_sent: Annotated[float, typer.Option(min=0, max=1, help="Share of `send` cases that must be sent.")] = 0.9,
    max_review_sent: Annotated[float, typer.Option(min=0, max=1, help="Share of `review` cases that may be.")] = 0.0,
    timeout: Annotated[float, typer.Option(help="Seconds for all cases.")] = 300.0,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Send labelled cases through the running system, in workspaces ws-evaluate-... that deliver to nobody.

    Exit code 1 when a bound does not hold; a `never` case that was sent always fails. A case that says what the model
    answers needs the scripted model (--local or --stack) and is skipped with any other.
    """
    import asyncio

    from app.cli.cases import read_cases
    from app.cli.evaluating import chosen
    from app.cli.evaluating import evaluate as send_and_judge
    from app.cli.judging import Bounds

    if local and (stack is not None or env_file is not None):
        raise WrongUse("--local starts a system of its own: give neither --stack nor --env-file")
    file, bounds = chosen(read_cases(cases), only), Bounds(min_sent, max_review_sent)

    async def judge(config: Config, behave: Behave | None) -> int:
        found = await send_and_judge(config, file, bounds, behave=behave, model=model, timeout_s=timeout)
        emit(found.as_json()) if as_json else _tell(found)
        return OK if found.ok else PROBLEM

    if local:
        raise typer.Exit(asyncio.run(_alone(judge)))
    run(env_file, "kafka", lambda config: _running(config, stack, judge))


async def _alone(judge: Judge) -> int:
    """With a system of our own, which ends with it."""
    from app.cli.evaluating import local_system

    async with local_system() as (config, behave):
        return await judge(config, behave)


async def _running(config: Config, stack: Path | None, judge: Judge) -> int:
    """With the system that runs; `stack` is the folder of its scripted model, if it has one."""
    from app.cli.evaluating import behaviour_of

    config.require(frozenset({"DATABASE_URL"}))
    if stack is None:
        return await judge(config, None)
    with behaviour_of(stack) as behave:
        return await judge(config, behave)


def _tell(found: Report) -> None:
    from app.cli.judging import LABELS, OUTCOMES

    rows = [(label, *(found.confusion[label][name] or "" for name in OUTCOMES)) for label in LABELS]
    show_table(("should", *(f"{name}#" for name in OUTCOMES)), rows, title="what became of the cases")
    print()
    groups = [(name, each["cases"], each["right"], each["sent"]) for name, each in sorted(found.groups.items())]
    show_table(("group", "cases#", "right#", "sent#"), groups)
    print()
    show_table(("deciding code", "cases#"), list(found.reasons.items()))
    if found.wrong:
        print()
        wrong = [
            (each.label, each.outcome, each.id, ", ".join(each.missing), ", ".join(each.codes), each.draft_id)
            for each in found.wrong
        ]
        show_table(("should", "was", "case", "code missing", "codes", "draft"), wrong, title="not as labelled")
    median, p95 = found.latency_s["median"], found.latency_s["p95"]
    times = f"decided in {median:.1f} s (median), {p95:.1f} s (95 %)" if median is not None and p95 is not None else ""
    print(f"\n{sum(each['cases'] for each in found.groups.values())} cases, {found.cost_usd:.4f} USD, {times}")
    for words in found.failures:
        print(f"NOT GOOD ENOUGH: {words}")
    if found.ok:
        print("every bound holds")
