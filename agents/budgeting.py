"""The monthly budget of a workspace: a call's worst case is reserved with its record, and settled with what it cost.

What a limit does, in this order: no revision, the cheaper model, a person. In doubt (no price, no answer from the
database) the call does not fit. A workspace without a limit comes here for nothing.
"""

import asyncio
from collections.abc import Sequence
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import structlog

from agents.persist import TRANSIENT
from agents.prompting import ask_sha256
from agents.state import Ask
from db import sql
from schemas.limits import BUDGET_S_MAX
from schemas.settings import ModelChoice

if TYPE_CHECKING:
    from agents.calling import ActiveRun

log = structlog.get_logger()

USD_STEP: Final = Decimal("0.00000001")


class OverBudget(Exception):
    """The call's worst case does not fit into what the workspace has left this month, or nobody can tell.

    `reason` is `over_budget` or `budget_unavailable`.
    """

    def __init__(self, reason: str = "over_budget") -> None:
        super().__init__(reason)
        self.reason = reason


def choices(run: "ActiveRun", preferred: ModelChoice, *, revision: bool) -> list[ModelChoice]:
    """What a call may be made with, the preferred first. Only a draft goes on with the cheaper model: a revision is
    skipped before."""
    cheaper = run.state.snapshot.settings.cheaper_model
    if revision or cheaper is None or cheaper not in run.rim.model.known_models:
        return [preferred]
    return [preferred, preferred.model_copy(update={"model": cheaper})]


def model_columns(ask: Ask, choice: ModelChoice) -> dict[str, str]:
    """What the record of a call says about its model."""
    sha256 = ask_sha256(ask, choice.model, choice.effort)
    return {"model": choice.model, "effort": choice.effort, "input_sha256": sha256}


async def record_within_budget(
    run: "ActiveRun", ask: Ask, candidates: Sequence[ModelChoice], columns: dict[str, Any], revision: bool
) -> ModelChoice | None:
    """Record the call with the first of `candidates` whose worst case fits; None when it may not be made at all.

    Raises OverBudget when none fits.
    """
    for choice in candidates:
        worst = run.rim.model.worst_case_usd(ask, choice)
        if worst is None:  # a model without a price fits into no budget
            continue
        row = await _reserve(run, {**columns, **model_columns(ask, choice)}, worst, revision)
        if row is None:
            return None
        if row["id"] is not None:
            return choice
    raise OverBudget


async def _reserve(
    run: "ActiveRun", columns: dict[str, Any], worst_usd: float, revision: bool
) -> asyncpg.Record | dict[str, None] | None:
    """The answer of the statement that reserves and records. Raises OverBudget when the budget cannot be asked while
    the database answers; when it does not, its error: then nothing can be written, and everything waits."""
    try:
        async with asyncio.timeout(BUDGET_S_MAX):
            return await sql.model_call.record_call_within_budget.row(
                run.rim.pool, worst_usd=usd(worst_usd), revision=revision, **columns
            )
    except asyncpg.UniqueViolationError:
        return None  # the call was made before
    except TimeoutError:
        async with asyncio.timeout(BUDGET_S_MAX):
            await run.rim.pool.fetchval("SELECT 1")
        code = "timeout"
    except asyncpg.PostgresError as error:
        if isinstance(error, TRANSIENT):
            raise
        code = error.sqlstate or ""
    log.error("budget_unavailable", run_id=str(run.run_id), workspace_id=run.workspace_id, code=code)
    raise OverBudget("budget_unavailable")


def usd(amount: float) -> Decimal:
    """As the database keeps it, rounded up."""
    return Decimal(str(amount)).quantize(USD_STEP, rounding=ROUND_UP)


def worst_case_usd(run: "ActiveRun", asks: Sequence[tuple[Ask, ModelChoice]]) -> Decimal | None:
    """The most that these calls can cost together; None where no limit holds. No price is more than any limit."""
    if not run.limited:
        return None
    each = [run.rim.model.worst_case_usd(ask, choice) for ask, choice in asks]
    return sum((usd(cost) if cost is not None else Decimal("Infinity") for cost in each), Decimal(0))


async def fits(run: "ActiveRun", worst: Decimal) -> bool:
    """Whether the month had room for `worst` just now: to tell why, never to allow."""
    row = await sql.model_call.budget_standing.one(run.rim.pool, workspace_id=run.workspace_id)
    used = (row["spent_usd"] or 0.0) + (row["reserved_usd"] or 0.0)
    return row["limit_usd"] is None or used + float(worst) <= row["limit_usd"]


async def settle_reservations(run: "ActiveRun", ask: Ask | None = None) -> None:
    """What the calls of a stage (of the whole run without `ask`) hold of the budget becomes what they cost.

    May fail: then it stays held, so that nothing is spent that is not there, and a sweep settles it.
    """
    if not run.limited:
        return
    try:
        await sql.model_call.settle_reservations.run(
            run.rim.pool,
            run_id=run.run_id,
            stage=ask.stage.value if ask is not None else None,
            iteration=ask.iteration if ask is not None else 0,
        )
    except (*TRANSIENT, asyncpg.PostgresError) as error:
        log.warning("budget_not_settled", run_id=str(run.run_id), error_class=type(error).__name__)
