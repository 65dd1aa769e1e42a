"""`explain`: what was decided about a draft, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.shell import OK, AsJson, EnvFile, connection_to, emit, on_screen, run, show_fields, show_table, stamp

if TYPE_CHECKING:
    from app.config import Config

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline explain 5a3c1f6e-...", rich_help_panel="Look")
def explain(
    draft_id: Annotated[str, typer.Argument(metavar="DRAFT", help="The draft's id.")],
    text: Annotated[bool, typer.Option("--text", help="Also the texts and the model's own words.")] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Every gate with rule, value, comparison and what would have turned it; every stage with its calls."""
    from app.cli.runs import uuid_of

    identity = uuid_of(draft_id, "draft")

    async def work(config: Config) -> int:
        from app.cli.explaining import explain_draft

        async with connection_to(config.database_url) as connection:
            explained = await explain_draft(connection, identity, text=text)
        if as_json:
            emit(explained)
        else:
            _tell(explained)
        return OK

    run(env_file, "database", work)


def _tell(explained: dict[str, Any]) -> None:
    verdict = explained["verdict"]
    print(f"{verdict['action'] or 'undecided'}: {verdict['reason'] or 'no reason yet'} (draft is {verdict['status']})")
    print(f"nearest flip: {verdict['nearest_flip'] or '-'}\n")
    show_fields({name: value for name, value in explained["draft"].items() if value is not None})
    if not explained["context_kept"]:
        print("\nThe run and its context are past retention: what follows comes from the draft itself.")
    _heading("gates, in the order in which they are asked")
    columns = ("gate", "rule", "value", "comparison", "", "policy#", "nearest flip")
    show_table(columns, map(_gate_row, explained["gates"]))
    if explained["hard_blocks"]:
        _heading("hard blocks")
        rows = [
            (b["group"], b["rule"], f"{b['start']}..{b['end']}", b["who_can_pass"]) for b in explained["hard_blocks"]
        ]
        show_table(("group", "rule", "place in the text", "who can pass it"), rows)
    _heading("revision")
    show_fields(explained["revision"])
    _heading("stages")
    heads = ("stage", "iteration#", "status", "model", "calls#", "tokens in#", "out#", "ms#", "USD#", "figures")
    show_table(heads, map(_stage_row, explained["stages"]))
    _tell_rest(explained)


def _heading(text: str) -> None:
    print(f"\n{text}")


def _gate_row(gate: dict[str, Any]) -> tuple[object, ...]:
    mark = {True: "passed", False: "STOPPED", None: ""}[gate["passed"]]
    return (
        gate["gate"], gate["rule"], gate["value"], gate["comparison"], mark, gate["policy_revision"],
        gate["nearest_flip"],
    )  # fmt: skip


def _stage_row(stage: dict[str, Any]) -> tuple[object, ...]:
    calls = stage["calls"]

    def total(name: str) -> Any:
        values = [call[name] for call in calls if call[name] is not None]
        return sum(values) if values else None

    status = "answered" if stage["answered"] else calls[-1]["status"]
    figures = ", ".join(f"{name} {value}" for name, value in stage["figures"].items())
    sums = (total("input_tokens"), total("output_tokens"), total("latency_ms"), total("cost_usd"))
    return stage["stage"], stage["iteration"], status, stage["model"], len(calls), *sums, figures


def _tell_rest(explained: dict[str, Any]) -> None:
    for delivery in explained["deliveries"]:
        _heading(f"delivery {delivery['id']}: {delivery['status']} {delivery['reason'] or ''}".rstrip())
        kind = "automatic" if delivery["automatic"] else f"approved by {delivery['approved_by']}"
        print(f"{kind}, {delivery['attempts']} attempt(s), finished {stamp(delivery['finished_at'])}")
    for review in explained["reviews"]:
        _heading(f"review: {review['status']}, asked {stamp(review['created_at'])} because of {review['reason']}")
        for action in review["actions"] or ():
            print(f"{action['at']}  {action['action']} by {action['actor']} via {action['via']}: {action['result']}")
    if "text" in explained:
        _heading("text")
        print(on_screen(explained["text"]["content"] or "(none)"))
