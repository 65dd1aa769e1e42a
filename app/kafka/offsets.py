"""Acks in offset order. Faust commits past an event in flight when acks come out of order (a gap of exactly one)."""

from collections import OrderedDict
from collections.abc import Callable

Ack = Callable[[], None]


class OrderedAcks:
    """One partition in one assignment: an offset is acked when it and all lower ones are done. Pure."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, Ack | None] = OrderedDict()
        self._acks: dict[int, Ack] = {}

    def start(self, offset: int, ack: Ack) -> None:
        """Offsets are started in the order of the partition."""
        self._open[offset] = None
        self._acks[offset] = ack

    def finish(self, offset: int) -> int:
        """Mark `offset` done and ack what is now complete from the front; returns how many were acked."""
        if offset not in self._open:
            return 0
        self._open[offset] = self._acks.pop(offset)
        acked = 0
        while self._open:
            first, ack = next(iter(self._open.items()))
            if ack is None:
                break
            del self._open[first]
            ack()
            acked += 1
        return acked

    def __len__(self) -> int:
        return len(self._open)


class AssignmentAcks:
    """The ordered acks of every partition. A new generation begins anew, from the committed offset."""

    def __init__(self) -> None:
        self._partitions: dict[int, tuple[int, OrderedAcks]] = {}

    def of(self, partition: int, generation: int) -> OrderedAcks:
        held = self._partitions.get(partition)
        if held is None or held[0] != generation:
            held = self._partitions[partition] = (generation, OrderedAcks())
        return held[1]

    def finish(self, partition: int, generation: int, offset: int) -> None:
        """Mark an offset done, if its generation still is the current one; an older one's acks are worth nothing."""
        held = self._partitions.get(partition)
        if held is not None and held[0] == generation:
            held[1].finish(offset)
