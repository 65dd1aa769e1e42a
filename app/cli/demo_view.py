"""What the demo shows: every message in one word, live, and a summary at the end."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from agents.policy import Reason
from app.cli.shell import console, show_table
from schemas.codes import Action, DraftStatus, Gate, MeetingOutcome, Mode, RevisionOutcome

if TYPE_CHECKING:
    import asyncpg

Row = Mapping[str, Any]

# In the order of the table; what is not listed comes after, by name.
ORDER: Final = (
    "sent at once",
    "revised, then sent",
    "scheduled",
    "asks a person: hard block",
    "asks a person: not improved by revision",
    "asks a person: improved, not enough",
    "asks a person: below threshold",
    "evaluated for the legacy system",
    "superseded by a newer message or answer",
    "part of a burst, answered with the last",
    "answered by a person",
    "machine mail",
    "opt-out",
    "after an opt-out",
    "recorded only",
    "dead letter",
)
IN_WORK: Final = "in work"

_BY_DISPOSITION: Final = {
    Gate.OUTBOUND: "answered by a person",
    Gate.MACHINE_MAIL: "machine mail",
    Gate.OPT_OUT: "opt-out",
    Gate.SUPPRESSED: "after an opt-out",
    Gate.MODE_OFF: "recorded only",
    Gate.JOINED: "part of a burst, answered with the last",
    Gate.WAITING: IN_WORK,
}
_BY_STATUS: Final[dict[str | None, str]] = {
    None: IN_WORK,
    DraftStatus.SCHEDULED: "scheduled",
    DraftStatus.SUPERSEDED: "superseded by a newer message or answer",
    DraftStatus.SUPPRESSED: "superseded by a newer message or answer",
    DraftStatus.UNKNOWN: "may have been sent",
}


_MEETINGS: Final = {
    MeetingOutcome.BOOKED: "booked",
    MeetingOutcome.CLARIFICATION: "asked back",
    MeetingOutcome.TASK_CREATED: "left to a person",
    MeetingOutcome.ERROR: "failed",
}


def outcome_of(row: Row) -> str:
    """What became of one message, in words."""
    if row["disposition"] != Gate.RUN:
        return _BY_DISPOSITION[row["disposition"]]
    status = row["draft_status"]
    if status == DraftStatus.SENT:
        return "revised, then sent" if row["revised"] else "sent at once"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if row["action"] == Action.NONE and row["mode"] == Mode.LEGACY_AUTO_REPLY:
        return "evaluated for the legacy system"
    return f"asks a person: {_why(row)}" if row["action"] == Action.NEEDS_REVIEW else IN_WORK


def _why(row: Row) -> str:
    if row["hard_blocks"]:
        return "hard block"
    if row["revision_outcome"] == RevisionOutcome.NOT_IMPROVED:
        return "not improved by revision"
    if row["revision_outcome"] == RevisionOutcome.APPLIED and row["reason"] == Reason.BELOW_THRESHOLD:
        return "improved, not enough"
    return str(row["reason"] or "unknown").replace("_", " ")


@dataclass(frozen=True)
class Picture:
    """All outcomes at one moment. Dead letters belong to no workspace."""

    rows: Sequence[Row]
    dead_letters: int

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """By outcome and workspace."""
        found = Counter((outcome_of(row), row["workspace_id"]) for row in self.rows)
        found["dead letter", ""] = self.dead_letters
        return found

    @property
    def outcomes(self) -> list[str]:
        """Those that occur, in the order of the table."""
        present = {outcome for (outcome, _), count in self.counts.items() if count}
        known = [outcome for outcome in ORDER if outcome in present]
        return known + sorted(present - set(ORDER) - {IN_WORK}) + ([IN_WORK] if IN_WORK in present else [])

    @property
    def line(self) -> str:
        """For where no table can move."""
        totals = {
            outcome: sum(self.counts[key] for key in self.counts if key[0] == outcome) for outcome in self.outcomes
        }
        return ", ".join(f"{outcome} {count}" for outcome, count in totals.items()) or "nothing yet"


def live_table(picture: Picture, workspaces: Sequence[str], sent: int, total: int) -> Table:
    """Outcomes by workspace, while it goes on."""
    table = Table(title=f"{sent} of {total} messages sent", title_justify="left", box=None, header_style="bold")
    table.add_column("outcome", no_wrap=True)
    for workspace in (*workspaces, "all"):
        table.add_column(workspace, justify="right")
    for row in table_rows(picture, workspaces):
        table.add_row(*row, style="dim" if row[0] == IN_WORK else None)
    return table


def table_rows(picture: Picture, workspaces: Sequence[str]) -> list[list[str]]:
    """One line an outcome: the count of each workspace, and of all."""
    counts, rows = picture.counts, []
    for outcome in picture.outcomes:
        each = [counts[outcome, workspace] for workspace in workspaces]
        total = sum(count for (name, _), count in counts.items() if name == outcome)
        rows.append([outcome, *(str(count or "") for count in each), str(total)])
    return rows


def summary(
    picture: Picture, workspaces: Sequence[str], spent: Sequence[asyncpg.Record], lag: int, seconds: float
) -> None:
    """Outcomes, confidence before and after revision, tokens, cost, latency and lag."""
    show_table(("outcome", *(f"{each}#" for each in workspaces), "all#"), table_rows(picture, workspaces))
    console().print()
    by_workspace = {row["workspace_id"]: dict(row) for row in spent}
    heads = ("workspace", "revised#", "confidence before#", "after#", "calls#", "tokens in#", "out#", "USD#")
    more = ("decided in, median#", "95 %#")
    show_table((*heads, *more), [_figures(each, picture.rows, by_workspace.get(each)) for each in workspaces])
    print(f"\n{meetings(picture.rows)}. Lag at the end: {lag} records. Messages took {seconds:.1f} s in all.")


def meetings(rows: Sequence[Row]) -> str:
    """How many messages were about a meeting, and what became of those."""
    about = sum(bool(row["meeting"]) for row in rows)
    ends = Counter(MeetingOutcome(row["meeting_outcome"]) for row in rows if row["meeting_outcome"])
    told = ", ".join(f"{ends[outcome]} {words}" for outcome, words in _MEETINGS.items() if ends[outcome])
    return f"{about} of them about a meeting" + (f": {told}" if told else "")


def _figures(workspace: str, rows: Sequence[Row], spent: Row | None) -> tuple[object, ...]:
    own = [row for row in rows if row["workspace_id"] == workspace]
    revised = [row for row in own if row["revised"]]
    latencies = sorted(row["latency_s"] for row in own if row["latency_s"] is not None)
    money = (spent["calls"], spent["input_tokens"], spent["output_tokens"]) if spent else (0, 0, 0)
    cost = f"{spent['cost_usd']:.4f}" if spent and spent["cost_usd"] is not None else "-"
    before, after = _mean([row["before"] for row in revised]), _mean([row["after"] for row in revised])
    times = (_seconds(percentile(latencies, 0.5)), _seconds(percentile(latencies, 0.95)))
    return workspace, len(revised), before, after, *money, cost, *times


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.3f}" if values else "-"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    if not ordered:
        return None
    rank = math.ceil(round(share * len(ordered), 9))  # a product such as 0.07 * 100 is a little more than 7
    return ordered[max(rank, 1) - 1]
