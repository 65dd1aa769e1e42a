"""`erase-lead`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.shell import OK, PROBLEM, AsJson, EnvFile, Problem, WrongUse, actor, emit, pool_to, run, say

if TYPE_CHECKING:
    from app.config import Config
    from app.erasure import Erased
    from db.pool import Pool

group = typer.Typer()


@group.command(
    "erase-lead",
    epilog='Example: draft-pipeline erase-lead LEAD --workspace ws-1 --reason "request 4711"',
    rich_help_panel="Keep house",
)
def erase_lead(
    lead: Annotated[str, typer.Argument(metavar="LEAD", help="The lead's id, as on the topics.")],
    workspace: Annotated[str, typer.Option("--workspace", metavar="ID", help="Whose lead it is.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit, so it must not name the lead.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what there is, change nothing.")] = False,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove every text and address of one lead; hashed ids stay, so that replaying a topic brings nothing back.

    Pending drafts and scheduled sends of the lead end, Slack messages about them are written anew. It cannot be undone.
    Interrupted, or with something left (exit code 1), it is called again. A new message makes a new lead.
    """
    if not dry_run and not reason.strip():
        raise WrongUse("--reason is empty: say why, it is kept in the audit")

    async def work(config: Config) -> int:
        async with pool_to(config.database_url) as pool:
            if dry_run:
                return await _count(pool, workspace, lead, as_json=as_json)
            erased = await _erase(config, pool, workspace, lead, reason)
        if as_json:
            emit(asdict(erased))
        else:
            print(_summary(erased))
        return PROBLEM if erased.slack_left else OK

    run(env_file, "database", work)


async def _count(pool: Pool, workspace: str, lead: str, *, as_json: bool) -> int:
    from db import sql

    rows = dict(await sql.housekeeping.rows_of_lead.one(pool, workspace_id=workspace, lead_id=lead))
    if as_json:
        emit({"dry_run": True, **rows})
    else:
        print("dry run, would erase: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in rows.items()))
    return OK


async def _erase(config: Config, pool: Pool, workspace: str, lead: str, reason: str) -> Erased:
    from app.erasure import LeadUnknown, Request, StillUnderWay, erase_lead
    from app.slack.client import SlackClient

    slack = SlackClient(config) if config.slack_bot_token else None

    def link(draft_id: Any) -> str:
        return f"{config.public_url.rstrip('/')}/drafts/{draft_id}"

    try:
        request = Request(workspace, lead, actor(), "cli", reason)
        return await erase_lead(pool, request, slack, link, say=lambda text: say(f"erase-lead: {text}"))
    except LeadUnknown:
        raise Problem(f"workspace {workspace} has no such lead, and none of this id was erased") from None
    except StillUnderWay as waiting:
        raise Problem(
            f"{waiting.sends} sends and {waiting.events} events of this lead are still under way; nothing was erased:"
            " let a worker finish them, then call it again"
        ) from None
    finally:
        if slack is not None:
            await slack.close()


def _summary(erased: Erased) -> str:
    lines = [
        f"erased: {erased.messages} messages, {erased.runs} runs, {erased.drafts} drafts,"
        f" {erased.deliveries} deliveries, {erased.memory_entries} memory entries"
        if not erased.before
        else "was erased before; this call finished what was left",
        f"{erased.outbox_rows} published events deleted, {erased.slack_messages} Slack messages written anew",
        f"what stays is kept under {erased.erased_id}",
    ]
    if erased.slack_left:
        lines.append(f"{erased.slack_left} Slack messages still show a draft: set SLACK_BOT_TOKEN and call it again")
    return "\n".join(lines)
