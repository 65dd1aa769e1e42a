"""Dying at a named point, for tests. A module of its own: the ingest process needs it, and none of what drafts."""

import os
import signal
from collections.abc import Callable


def crash_point(environment: str | None) -> Callable[[str], None]:
    """`DRAFT_PIPELINE_CRASH_AT=point:n` kills this process at the n-th passing of a named point, for tests."""
    if not environment:
        return lambda name: None
    point, _, count = environment.partition(":")
    left = [int(count or 1)]

    def passing(name: str) -> None:
        if name == point:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return passing
