"""How long a broker has been silent. A fetch loop turns on although the broker hangs: only answers tell.

A request without an answer is noted by node and kind when it is first made and forgotten when an answer to one of its
kind comes, so that a broker which beats hearts and fetches nothing is noticed too. Written in the consumer's thread,
read in ours; each step is one operation on a dictionary.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any


class Silence:
    """The unanswered requests of one consumer. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[tuple[Any, str], float] = {}
        self._known: Callable[[Any], bool] = lambda node: True

    def watch(self, client: Any) -> None:
        """Listen to what this aiokafka client sends and hears. Nodes that left the cluster owe no answer."""
        send = client.send

        async def heard(node: Any, request: Any, **more: Any) -> Any:
            place = (node, type(request).__name__)
            self.asked(place)
            try:
                answer = await send(node, request, **more)
            except asyncio.CancelledError:
                self.answered(place)  # nobody waits for it any more
                raise
            self.answered(place)
            return answer

        client.send = heard
        self._known = lambda node: client.cluster.broker_metadata(node) is not None

    def asked(self, place: tuple[Any, str]) -> None:
        self._since.setdefault(place, self._clock())

    def answered(self, place: tuple[Any, str]) -> None:
        self._since.pop(place, None)

    @property
    def seconds(self) -> float:
        """How long the oldest request has been waiting; 0 when none is."""
        waiting = [since for (node, _), since in list(self._since.items()) if self._known(node)]
        return max(self._clock() - min(waiting), 0.0) if waiting else 0.0
