"""How far a partition is done. Faust's own bookkeeping commits past an event in flight when acks come out of order, and
takes records of an earlier assignment for gaps; so nothing of it is used.

What the fetch loop hands over is noted here, in its thread, before anybody can lose it. A commit goes up to the lowest
offset that is not done, and to the consumer's position when all is done: transaction markers take offsets too.
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping


class Progress:
    """One partition in one assignment. `position`: the next offset that the fetch loop will read; `end`: of what is
    committed there, as the last fetch told it; `compared`: the end when watermarks were last compared with it."""

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self.position = 0
        self.end: int | None = None
        self.compared: int | None = None

    def handed_over(self, offsets: Iterable[int], position: int) -> None:
        """Records in the order of the partition. One that comes again, after a seek, is open again."""
        for offset in offsets:
            if self._open and offset <= self._open[-1]:
                self._open = deque(sorted({*self._open, offset}))
            else:
                self._open.append(offset)
            self._done.discard(offset)
        self.position = position

    def done(self, offset: int) -> None:
        self._done.add(offset)
        while self._open and self._open[0] in self._done:
            self._done.discard(self._open.popleft())

    @property
    def settled(self) -> bool:
        """Whether everything that was handed over is done."""
        return not self._open

    @property
    def committable(self) -> int:
        """Everything below is done."""
        return self._open[0] if self._open else self.position


class Assignment:
    """The progress of every partition that one member owns. A new generation begins anew, from the committed offset."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # the fetch loop has a thread of its own
        self._generation = -1
        self._partitions: dict[int, Progress] = {}

    def handed_over(
        self, generation: int, partition: int, offsets: Iterable[int], position: int, end: int | None = None
    ) -> None:
        with self._lock:
            if generation != self._generation:
                self._generation, self._partitions = generation, {}
            progress = self._partitions.setdefault(partition, Progress())
            progress.handed_over(offsets, position)
            progress.end = end

    def done(self, generation: int, partition: int, offset: int) -> None:
        """Mark an offset done. What an earlier generation did is done, but will be read again, and counts then."""
        with self._lock:
            if generation == self._generation and partition in self._partitions:
                self._partitions[partition].done(offset)

    def committable(self) -> dict[int, int]:
        """Up to where each partition is done."""
        with self._lock:
            return {partition: progress.committable for partition, progress in self._partitions.items()}

    def settled(self) -> dict[int, int]:
        """The position of each partition of which nothing is outstanding."""
        with self._lock:
            return {number: progress.position for number, progress in self._partitions.items() if progress.settled}

    def not_compared(self) -> dict[int, tuple[int, int]]:
        """Up to where it is done, and the end, of each partition whose end is new to this assignment or went back: the
        topic may be another than the one that watermarks were written for."""
        with self._lock:
            return {
                number: (min(progress.committable, progress.position), progress.end)
                for number, progress in self._partitions.items()
                if progress.end is not None and (progress.compared is None or progress.end < progress.compared)
            }

    def compared(self, ends: Mapping[int, int]) -> None:
        """The watermarks were compared with these ends."""
        with self._lock:
            for partition, end in ends.items():
                if partition in self._partitions:
                    self._partitions[partition].compared = end
