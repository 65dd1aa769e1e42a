"""The four fates of an event. Nothing raises past the rim."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """Its effect is committed."""


@dataclass(frozen=True)
class Dropped:
    """It needs no effect, for `reason`."""

    reason: str


@dataclass(frozen=True)
class Retry:
    """Not now: try again in `after_s` seconds, in place; nothing is acknowledged. Not counted as an attempt."""

    after_s: float
    reason: str


@dataclass(frozen=True)
class Dead:
    """It can never be used: a dead letter with `code`; `error` names a field or class, never a value."""

    code: str
    error: str


Fate = Done | Dropped | Retry | Dead
DONE = Done()
