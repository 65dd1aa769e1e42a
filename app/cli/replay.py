"""`replay`: another threshold or policy over the recorded past. Nothing is asked, nothing is changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.shell import OK, AsJson, EnvFile, Problem, WrongUse, connection_to, emit, run, say, show_table

if TYPE_CHECKING:
    import asyncpg

    from app.config import Config

group = typer.Typer()

TELL_ROWS: Final = 5_000
FLIPS_SHOWN_MAX: Final = 20


@dataclass(frozen=True)
class Tried:
    """The policy that is tried. `rules` None: those that each run pinned."""

    threshold: float
    rules: dict[str, Any] | None


@dataclass(frozen=True)
class Replayed:
    """One draft: what became of it, and what would have."""

    draft_id: str
    workspace_id: str
    was: str
    would: str
    confidence: float | None
    iteration: int


@group.command(epilog="Example: draft-pipeline replay --threshold 0.85 --since 30d", rich_help_panel="Judge")
def replay(
    threshold: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="The threshold to try.")] = None,
    policy: Annotated[int | None, typer.Option(metavar="REVISION", help="A policy revision to try, rules too.")] = None,
    workspace: Annotated[str | None, typer.Option("--workspace", metavar="ID", help="Only this one.")] = None,
    since: Annotated[str, typer.Option(help="How far back: 24h, 30d, or a date.")] = "30d",
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Decide recorded drafts again under another policy: what would have been sent, what asked a person. Read only."""
    from app.cli.since import moment_of

    if (threshold is None) == (policy is None):
        raise WrongUse("give one of --threshold and --policy")
    begin = moment_of(since)

    async def work(config: Config) -> int:
        async with connection_to(config.database_url) as connection, connection.transaction(readonly=True):
            tried = await _tried(connection, threshold, policy)
            found = [each async for each in replayed(connection, tried, workspace, begin)]
        if as_json:
            flips = [asdict(each) for each in found if each.was != each.would]
            emit({"threshold": tried.threshold, "workspaces": table(found), "changed": flips})
        else:
            _tell(found)
        return OK

    run(env_file, "database", work)


async def _tried(connection: asyncpg.Connection, threshold: float | None, revision: int | None) -> Tried:
    from db import sql

    if threshold is not None:
        return Tried(threshold, None)
    row = await sql.admin.policy_by_revision.row(connection, revision=revision)
    if row is None:
        raise Problem(f"policy revision {revision} is unknown; `draft-pipeline policy list` shows all")
    return Tried(row["auto_send_threshold"], row["rules"])


async def replayed(
    connection: asyncpg.Connection, tried: Tried, workspace: str | None, since: datetime
) -> AsyncIterator[Replayed]:
    """Every decided draft since then, newest last."""
    from agents.replaying import redecide
    from db import sql

    count = 0
    async for row in connection.cursor(sql.ops.drafts_to_replay.text, workspace, since):
        count += 1
        if count % TELL_ROWS == 0:
            say(f"replay: {count} drafts")
        recorded = recorded_of(dict(row), tried)
        would, iteration = redecide(recorded, tried.threshold)
        yield Replayed(
            draft_id=str(row["id"]),
            workspace_id=row["workspace_id"],
            was="send" if recorded.sent else "review",
            would=would.value,
            confidence=recorded.confidences.get(iteration),
            iteration=iteration,
        )


def recorded_of(row: Mapping[str, Any], tried: Tried) -> Any:
    """The record as it is decided again. Hard blocks are those on record, or checked anew where rules are tried and
    the run's context is still kept."""
    from agents.replaying import Recorded
    from schemas.codes import Action, RevisionOutcome

    chosen = row["chosen_iteration"]
    confidences = {int(iteration): float(value) for iteration, value in (row["confidences"] or {}).items()}
    texts = {0: row["original_content"], chosen: row["content"]}
    rules = {0 if chosen == 0 else chosen: [block["rule"] for block in row["hard_blocks"]]}
    if tried.rules is not None and row["snapshot"] is not None:
        rules = {
            iteration: _rules(text, row, tried.rules, rules.get(iteration, ())) for iteration, text in texts.items()
        }
    off = (RevisionOutcome.DISABLED_GLOBALLY, RevisionOutcome.DISABLED_FOR_WORKSPACE)
    return Recorded(
        sent=row["auto_send_action"] in (Action.SEND_IMMEDIATE, Action.SEND_DELAYED),
        reasons=frozenset(row["reasons"] or [row["auto_send_reason"]]),
        confidences=confidences,
        blocked=frozenset(iteration for iteration, found in rules.items() if found),
        revision_possible=row["revision_outcome"] not in off,
    )


def _rules(text: str | None, row: Mapping[str, Any], rules: dict[str, Any], recorded: Sequence[str]) -> list[str]:
    """The rules that forbid a text under other policy rules; what only the database knows stays as recorded."""
    from agents.hard_blocks import Rule, check_text, codes, pack_texts
    from schemas.context import DraftRunContextPack, DraftRunSnapshot
    from schemas.settings import under_policy

    snapshot = DraftRunSnapshot.model_validate(row["snapshot"])
    under = snapshot.model_copy(update={"settings": under_policy(snapshot.settings, rules)})
    pack = DraftRunContextPack.model_validate(row["context_pack"])
    stated = {"language": row["language"], "scheduling": row["scheduling"]}
    blocks = check_text(text or "", under, pack_texts(pack), **stated)
    return codes(blocks) + [rule for rule in recorded if rule == Rule.OTHER_LEAD]


def table(found: Sequence[Replayed]) -> list[dict[str, Any]]:
    """Per workspace: drafts, how many were and would be sent, and which way they would turn."""
    rows = []
    for workspace in sorted({each.workspace_id for each in found}):
        own = [(each.was, each.would) for each in found if each.workspace_id == workspace]
        rows.append(
            {
                "workspace_id": workspace,
                "drafts": len(own),
                "were_sent": sum(was == "send" for was, _ in own),
                "would_be_sent": sum(would == "send" for _, would in own),
                "send_to_review": own.count(("send", "review")),
                "review_to_send": own.count(("review", "send")),
                "would_be_revised": sum(would == "would_revise" for _, would in own),
            }
        )
    return rows


def _tell(found: Sequence[Replayed]) -> None:
    if not found:
        print("no decided draft of AI_AUTO_SEND in that time")
        return
    heads = ("workspace", "drafts#", "sent#", "would be#", "send to review#", "review to send#", "would be revised#")
    show_table(heads, [tuple(row.values()) for row in table(found)])
    flips = [each for each in found if each.was != each.would]
    if flips:
        rows = [(each.draft_id, each.workspace_id, each.was, each.would, each.confidence) for each in flips]
        print()
        shown = rows[:FLIPS_SHOWN_MAX]
        show_table(("draft", "workspace", "was", "would be", "confidence#"), shown, title="what would turn")
        if len(rows) > len(shown):
            print(f"... and {len(rows) - len(shown)} more; --json lists all")
