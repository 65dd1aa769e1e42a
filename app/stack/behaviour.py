"""How a stand-in misbehaves: a JSON file that may be changed while it runs. A broken file changes nothing."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson


class BehaviourFile:
    """The file's content, read again when it changed: a change holds from the next request on (a stat() costs 2 µs)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._content: Mapping[str, Any] = {}
        self.injected: Counter[str] = Counter()

    def current(self) -> Mapping[str, Any]:
        """What the file says now; `{}` when there is none."""
        try:
            stat = os.stat(self._path)  # noqa: PTH116  (once a request; half the cost of Path.stat)
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            content = self._content if seen == self._seen else orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            seen, content = None, {}
        except (OSError, ValueError):
            return self._content
        if seen != self._seen and isinstance(content, dict):
            self._seen, self._content = seen, content
            self.injected.clear()
        return self._content

    def draw(self, settings: Mapping[str, Any], kinds: Sequence[str], scope: str = "") -> str | None:
        """Which fault to inject now, by the shares `p<kind>` in `settings`; none once `times` were injected."""
        chance = random.random()
        for kind in kinds:
            chance -= float(settings.get(f"p{kind}", 0) or 0)
            if chance < 0:
                times = settings.get("times")
                if times is not None and self.injected[scope] >= int(times):
                    return None
                self.injected[scope] += 1
                return kind
        return None


def latency_s(settings: Mapping[str, Any]) -> float:
    """Seconds to wait before the answer: `latency_ms`, or anything up to `latency_ms_max` beyond it."""
    low = float(settings.get("latency_ms", 0) or 0)
    high = float(settings.get("latency_ms_max", low) or low)
    return random.uniform(low, max(low, high)) / 1000
