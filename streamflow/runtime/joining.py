"""Data that are handled together: what stands for a row of them, and what a join holds back meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Set

from streamflow.core.message import Message, Origin
from streamflow.core.verdict import Kind
from streamflow.recorder import layout
from streamflow.runtime.logbook import JOINED, Logbook


class HeldInJoin:
    """Data that a join holds back, so that they are known to be lost if the process dies."""

    def __init__(self, logbook: Logbook, edges: Set[str]) -> None:
        """`edges`: those that lead into the join."""
        self._logbook = logbook
        self._paths = 0
        for edge in edges:
            self._paths |= logbook.edge_mask(edge)
        named = zip(logbook.recorder.outputs, logbook.recorder.shape.out_edges, strict=True)
        self._output = next(output for output, (name, _) in named if name == JOINED)
        self._held: dict[int, tuple[Message, int]] = {}

    def hold(self, message: Message) -> None:
        slot = self._output.accept(self._logbook.ids(message), 0, 0, self._logbook.place_in_hand)
        self._held[id(message)] = message, slot
        self._logbook.commit()
        self._logbook.put_down()

    def begin(self, row: Mapping[str, Message]) -> None:
        """These are in service next: they show as out, by the number of that service, until they are released."""
        turn = self._logbook.recorder.turn + 1
        for message in row.values():
            self._output.transmitted(self._held[id(message)][1], turn, 0)

    def release(self, message: Message) -> None:
        _, slot = self._held.pop(id(message))
        self._output.release(slot)

    def lose_all(self) -> None:
        """The stage has failed."""
        for message, slot in self._held.values():
            self._logbook.note(Kind.LOST, message, self._paths)
            self._logbook.recorder.add(layout.LOST)
            self._output.release(slot)
        self._held.clear()
        self._logbook.recorder.idle()


def together(row: Mapping[str, Message]) -> Message:
    """What stands for a row of joined data: the first's name, the oldest origin's time, the origins of all."""
    first = next(iter(row.values()))
    origins = tuple(dict.fromkeys(origin for part in row.values() for origin in part.all_origins()))
    if len(origins) == 1:
        return first
    oldest = min(origin.event_time_ns for origin in origins)
    return first.replace(event_time_ns=min(first.event_time_ns, oldest), origins=origins)


def merged(row: Mapping[str, Message]) -> list[Origin]:
    """Origins of the pieces that end because others of the same datum go on in their place."""
    found = []
    seen: set[Origin] = set()
    for origin in (origin for part in row.values() for origin in part.all_origins()):
        if origin in seen:
            found.append(origin)
        seen.add(origin)
    return found
