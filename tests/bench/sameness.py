"""What the other side of a comparison is given: the very requests that a standard run makes, and where to make them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from agents.stages import STAGES
from agents.starting import state_of
from app.model.wire import schema_of
from db import sql
from schemas.answers import ANSWER_OF
from schemas.codes import Stage
from schemas.settings import model_choice
from tests.bench.arena import Arena
from tests.bench.processes import BenchError

STANDARD_STAGES = (Stage.STRATEGY, Stage.GENERATION, Stage.VERIFIER, Stage.EVALUATION)


@dataclass(frozen=True)
class Call:
    """One of the four requests, as its words; and the answer a run recorded for it."""

    stage: str
    model: str
    effort: str
    system: str
    user: str
    name: str
    schema: dict[str, Any]
    prompt_key: str
    input_sha256: str


@dataclass(frozen=True)
class Assignment:
    """Everything the other side needs."""

    database_url: str
    kafka: str
    base_url: str
    api_key: str
    in_flight: int
    calls: list[Call]

    def write(self, path: Path) -> Path:
        path.write_bytes(orjson.dumps(asdict(self)))
        return path


def read_assignment(path: Path) -> Assignment:
    """What `write` wrote."""
    raw = orjson.loads(path.read_bytes())
    return Assignment(**{**raw, "calls": [Call(**call) for call in raw["calls"]]})


async def assignment(arena: Arena, in_flight: int) -> Assignment:
    """The requests of one standard run that went through, folded from what it recorded."""
    run_id: UUID | None = await arena.pool.fetchval(
        "SELECT id FROM draft_pipeline_run WHERE status = 'COMPLETED' LIMIT 1"
    )
    if run_id is None:
        raise BenchError("no run has completed yet")
    config = arena.config
    return Assignment(
        database_url=config.database_url or "",
        kafka=config.kafka_bootstrap_servers or "",
        base_url=config.openai_base_url or "",
        api_key=config.openai_api_key or "",
        in_flight=in_flight,
        calls=await _calls(arena, run_id),
    )


async def _calls(arena: Arena, run_id: UUID) -> list[Call]:
    row = await sql.run.run_with_context.row(arena.pool, run_id=run_id)
    artifacts = {each["stage"]: each for each in await sql.run.artifacts_of.rows(arena.pool, run_id=run_id)}
    if row is None:
        raise BenchError("the run has no context")
    state, calls = state_of(row), []
    for stage in STANDARD_STAGES:
        ask, choice = STAGES[stage].ask(state), model_choice(state.snapshot.settings, stage, frozenset({"gpt-5.2"}))
        artifact = artifacts[stage.value]
        calls.append(
            Call(
                stage.value, choice.model, choice.effort, ask.system, ask.user, ask.answer.__name__,
                schema_of(ask.answer), ask.prompt_key, artifact["input_sha256"],
            )
        )  # fmt: skip
        answer = ANSWER_OF[stage].model_validate_json(orjson.dumps(artifact["payload"]))
        state = STAGES[stage].decide(state, answer)
    return calls
