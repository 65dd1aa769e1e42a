"""How often somebody may ask: token buckets in this process. Several web processes have as many buckets."""

import time
from collections import OrderedDict
from collections.abc import Callable

from schemas.limits import RATE_KEYS_MAX


class Limiter:
    """One bucket per key, full at first. The key that was used least recently is forgotten when there are too many."""

    def __init__(self, now: Callable[[], float] = time.monotonic, keys_max: int = RATE_KEYS_MAX) -> None:
        self._now, self._keys_max = now, keys_max
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, per_minute: int) -> float:
        """Take one; 0 when it may go on, else the seconds until there is one again."""
        now, rate = self._now(), per_minute / 60.0
        left, at = self._buckets.pop(key, (float(per_minute), now))
        left = min(float(per_minute), left + (now - at) * rate)
        allowed = left >= 1.0
        self._buckets[key] = (left - 1.0 if allowed else left, now)
        while len(self._buckets) > self._keys_max:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / rate
