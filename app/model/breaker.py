"""A circuit breaker per model.

CLOSED      calls go; `BREAKER_FAILURES` outages in a row open it
OPEN        work waits for `BREAKER_OPEN_S`, doubled each time it opens again, at most `OPEN_S_MAX`, less some jitter
HALF_OPEN   one probe goes; its success closes the breaker and wakes everybody, its outage opens it again

`Circuit` is the state machine and knows neither clock nor asyncio. `Breaker` adds both. A probe slot is a lease:
whoever took it and never calls (cancelled, superseded) loses it after `PROBE_S_MAX`. Outcomes of calls that began
before the breaker last opened tell nothing about now and are ignored.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from schemas.limits import BREAKER_FAILURES, BREAKER_OPEN_S, MODEL_CALL_S_MAX

log = structlog.get_logger()

OPEN_S_MAX: Final = 30.0
PROBE_S_MAX: Final = 5.0
JITTER_SHARE: Final = 0.25
GROWTH: Final = 2.0


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Verdict(StrEnum):
    """What a call told about its model. UNKNOWN: it was cancelled before it told anything."""

    UP = "up"
    OUTAGE = "outage"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Ticket:
    """A call under way. `period` is the number of times the breaker had opened when the call began."""

    model: str
    period: int
    probe: bool


@dataclass
class Circuit:
    """One model's breaker. `now` is a monotonic time in seconds, `chance` a number in 0..1 that the jitter uses."""

    open_s: float = BREAKER_OPEN_S
    failures_max: int = BREAKER_FAILURES
    state: State = State.CLOSED
    failures: int = 0
    openings: int = 0
    period: int = 0
    until: float = 0.0  # OPEN: when a probe may go. HALF_OPEN: when the probe's slot is free again

    def admit(self, now: float) -> float:
        """0 when a call may go now (in OPEN and HALF_OPEN that is the probe), else the seconds to wait at most."""
        if self.state is State.CLOSED:
            return 0.0
        if now < self.until:
            return self.until - now
        self.state, self.until = State.HALF_OPEN, now + PROBE_S_MAX
        return 0.0

    def begin(self, now: float, model: str) -> Ticket:
        """A call starts. The probe's slot is now held for as long as a call can take."""
        probe = self.state is State.HALF_OPEN
        if probe:
            self.until = now + MODEL_CALL_S_MAX
        return Ticket(model, self.period, probe)

    def end(self, ticket: Ticket, verdict: Verdict, now: float, chance: float, retry_after_s: float = 0.0) -> bool:
        """A call ended. True when waiters should look again. `retry_after_s` is what the server asked for."""
        if ticket.period != self.period:
            return False
        match verdict:
            case Verdict.UP:
                self.failures = self.openings = 0
                changed = self.state is not State.CLOSED
                self.state = State.CLOSED
                return changed
            case Verdict.OUTAGE:
                self.failures += 1
                if self.state is State.HALF_OPEN or (self.state is State.CLOSED and self.failures >= self.failures_max):
                    self._open(now, chance, retry_after_s)
                return False
            case Verdict.UNKNOWN:
                if ticket.probe and self.state is State.HALF_OPEN:
                    self.until = now
                    return True
                return False

    def _open(self, now: float, chance: float, retry_after_s: float) -> None:
        grown_s = min(self.open_s * GROWTH**self.openings, OPEN_S_MAX) * (1 - JITTER_SHARE * chance)
        self.until = now + min(max(grown_s, retry_after_s), OPEN_S_MAX)
        self.state = State.OPEN
        self.failures = 0
        self.openings += 1
        self.period += 1


class Breaker:
    """The circuits of all models of this process. Not thread-safe; one event loop."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        *,
        open_s: float = BREAKER_OPEN_S,
        failures_max: int = BREAKER_FAILURES,
    ) -> None:
        self._clock, self._chance = clock, chance
        self._open_s, self._failures_max = open_s, failures_max
        self._circuits: dict[str, Circuit] = {}
        self._changed: dict[str, asyncio.Event] = {}

    async def available(self, model: str) -> None:
        """Return when a call may go. A cancelled waiter never holds the probe: nothing is awaited once it has it."""
        while wait_s := self._circuit(model).admit(self._clock()):
            changed = self._changed.setdefault(model, asyncio.Event())
            try:
                async with asyncio.timeout(wait_s):
                    await changed.wait()
            except TimeoutError:
                continue

    def is_down(self, model: str) -> bool:
        """True while the breaker is open or trying."""
        circuit = self._circuits.get(model)
        return circuit is not None and circuit.state is not State.CLOSED

    def states(self) -> dict[str, State]:
        """The state by model, for metrics and the overview."""
        return {model: circuit.state for model, circuit in self._circuits.items()}

    def openings(self) -> dict[str, int]:
        """How often each model's breaker opened since the start."""
        return {model: circuit.period for model, circuit in self._circuits.items()}

    def begin(self, model: str) -> Ticket:
        return self._circuit(model).begin(self._clock(), model)

    def end(self, ticket: Ticket, verdict: Verdict, retry_after_s: float | None = None) -> None:
        circuit, now = self._circuit(ticket.model), self._clock()
        before = circuit.state
        woken = circuit.end(ticket, verdict, now, self._chance(), retry_after_s or 0.0)
        if circuit.state is not before and circuit.state is State.OPEN:
            log.warning("breaker_opened", model=ticket.model, delay_s=round(circuit.until - now, 1))
        elif circuit.state is not before:
            log.info("breaker_closed", model=ticket.model)
        if woken:
            waiting = self._changed.pop(ticket.model, None)
            if waiting is not None:
                waiting.set()

    def _circuit(self, model: str) -> Circuit:
        circuit = self._circuits.get(model)
        if circuit is None:
            circuit = self._circuits[model] = Circuit(self._open_s, self._failures_max)
        return circuit
