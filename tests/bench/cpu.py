"""CPU of everything that shares the machine: the worker, the broker, the database with all its processes, the model."""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.stack.local import LocalStack

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process and its children that live, in seconds. A worker has a child for ingest."""
    return sum(map(_own_cpu_s, family(pid)))


def rss_mb(pid: int) -> float:
    """Resident memory of a process and its children in MB; what they share is counted for each."""
    return sum(map(_own_rss_mb, family(pid)))


def family(pid: int) -> list[int]:
    """A process and its children, the process first."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _own_cpu_s(pid: int) -> float:
    """All threads of one process (proc(5), stat, fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def _own_rss_mb(pid: int) -> float:
    """One process (proc(5), status, VmRSS)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


@dataclass(frozen=True)
class Moment:
    """The machine's CPU at a moment, in seconds: all that ran, what we and our ended children used, and the clock."""

    busy_s: float
    ours_s: float
    at_s: float

    @classmethod
    def now(cls) -> Moment:
        """Busy: user, nice, system, irq and softirq of the first line of /proc/stat (proc(5))."""
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        busy = sum(int(fields[index]) for index in (0, 1, 2, 5, 6)) / _TICKS_A_SECOND
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(busy, sum(each.ru_utime + each.ru_stime for each in used), time.monotonic())

    def others_cpus(self, later: Moment) -> float:
        """CPUs that processes which are not the bench's used between the two, on average."""
        others = (later.busy_s - self.busy_s) - (later.ours_s - self.ours_s)
        return max(others / (later.at_s - self.at_s), 0.0)


def stack_cpu_s(stack: LocalStack) -> dict[str, float]:
    """CPU seconds of each part. The database is one process a connection; one that ended takes its share with it."""
    parts = {"broker": stack.kafka.pid, "database": stack.postgres.pid, "scripted model": stack.model.pid}
    return {name: cpu_s(pid) for name, pid in parts.items() if pid is not None}
