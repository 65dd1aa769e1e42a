"""Milliseconds to check a draft of 1,500 characters against the claims of a context of 10,000, all rules on the text."""

from __future__ import annotations

import statistics
import time
from typing import Final

from agents.hard_blocks import ContextClaims, check_text
from agents.hard_blocks.strangers import suspects
from schemas.context import DraftRunContextPack, DraftRunSnapshot
from tests.bench.figures import Figure
from tests.unit.test_hard_blocks import snapshot

ROW: Final = "hard_blocks"
AIM_MS: Final = 2.0
DRAFT_CHARS: Final = 1_500
CONTEXT_CHARS: Final = 10_000
ROUNDS: Final = 2_000
ROUNDS_QUICK: Final = 100
_FACT: Final = (
    "It costs 10 EUR, 15% less; see https://acme.com/p, or call +49 30 1234567 on November 3, 2027 at 10:00. "
)
_PROSE: Final = (
    "We would like to know a little more about what you plan, so that nobody has to wait for an answer. "
    "Maria Huber and Otto Berg of our team are glad to help. "
)


async def measure(quick: bool) -> list[Figure]:
    run = snapshot(((_FACT + _PROSE * 6) * 20)[:CONTEXT_CHARS])
    text = (_FACT * 2 + _PROSE * 12)[:DRAFT_CHARS]
    started = time.process_time()
    context = ContextClaims.from_snapshot(run)
    built_ms = (time.process_time() - started) * 1000
    rounds_ms = sorted(_check_ms(text, run, context) for _ in range(ROUNDS_QUICK if quick else ROUNDS))
    return [
        Figure(
            row=ROW,
            name="hard blocks",
            definition="median ms for all rules on a draft of 1,500 characters, names of other leads included",
            value=statistics.median(rounds_ms),
            unit="ms",
            aim=AIM_MS,
            at_most=True,
            sides={"ms, 99 %": rounds_ms[int(len(rounds_ms) * 0.99)], "ms to read the context, once a run": built_ms},
            note="in one process, without the look-up in the database, which most drafts do not need",
        )
    ]


def _check_ms(text: str, run: DraftRunSnapshot, context: ContextClaims) -> float:
    started = time.process_time()
    blocks = check_text(text, run, context=context, language="en", scheduling=True)
    suspects(text, blocks, run, DraftRunContextPack())
    return (time.process_time() - started) * 1000
