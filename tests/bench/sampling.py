"""A sampling profiler for one process: every few milliseconds of CPU it notes the stack that used them.

Time in C (asyncpg, orjson, uvloop) counts for the Python function that called it. CPU of other threads is told by
thread. SIGUSR1 forgets what was noted, so that a warm-up can be left out; SIGUSR2 writes the file.
"""

from __future__ import annotations

import cProfile
import json
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

_INTERVAL_S: Final = 0.002
_QUERY_FILE: Final = "db/queries.py"
_DEPTH_MAX: Final = 80


class Sampler:
    """Collects until `write`: JSON with samples of whole stacks (leaf last) and the CPU seconds they stand for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stacks: Counter[str] = Counter()
        self._main_s = self._cpu_s = 0.0
        self._last_main_s = 0.0

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._note)
        signal.signal(signal.SIGUSR1, lambda number, frame: self._forget())
        signal.signal(signal.SIGUSR2, lambda number, frame: self.write())
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)
        self._forget()

    def _forget(self) -> None:
        self._stacks.clear()
        self._cpu_s, self._main_s = time.process_time(), time.thread_time()
        self._last_main_s = self._main_s

    def _note(self, number: int, frame: FrameType | None) -> None:
        """A sample is the main thread's when that used the CPU since the last one, else the other threads'."""
        main_s = time.thread_time()
        if main_s - self._last_main_s >= _INTERVAL_S / 2:
            self._stacks[_stack(frame)] += 1
        else:
            mine = threading.get_ident()
            for thread, other in sys._current_frames().items():
                if thread != mine:
                    self._stacks[f"other thread;{_stack(other)}"] += 1
        self._last_main_s = main_s

    def write(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        found = {
            "cpu_s": time.process_time() - self._cpu_s,
            "main_s": time.thread_time() - self._main_s,
            "stacks": dict(self._stacks),
        }
        draft = self._path.with_suffix(".part")
        draft.write_text(json.dumps(found))
        draft.rename(self._path)


def _stack(frame: FrameType | None) -> str:
    """`file:function` from the root to the leaf; a query's frame carries the query's name."""
    names: list[str] = []
    while frame is not None and len(names) < _DEPTH_MAX:
        code = frame.f_code
        name = f"{short(code.co_filename)}:{code.co_qualname}"
        if code.co_filename.endswith(_QUERY_FILE):
            name += f"[{getattr(frame.f_locals.get('self'), 'name', '')}]"
        names.append(name)
        frame = frame.f_back
    return ";".join(reversed(names))


def short(filename: str) -> str:
    return filename.rpartition("site-packages/")[2].rpartition("lib/python3.11/")[2].removeprefix(f"{Path.cwd()}/")


class CallCounter:
    """cProfile over the main thread: how often functions are called. Its times are inflated, its counts exact."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._profile = cProfile.Profile()

    def start(self) -> None:
        signal.signal(signal.SIGUSR1, lambda number, frame: self._profile.enable())
        signal.signal(signal.SIGUSR2, lambda number, frame: self.write())

    def write(self) -> None:
        self._profile.disable()
        draft = self._path.with_suffix(".part")
        self._profile.dump_stats(draft)
        draft.rename(self._path)
