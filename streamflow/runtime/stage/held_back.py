"""What a join or a batch holds back: data that were taken and wait for others, so that they are known to be lost if the
process dies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamflow.core.joins.contract import Reason
from streamflow.core.message import Message
from streamflow.recorder import layout
from streamflow.recorder.layout import NUMBER_BITS
from streamflow.runtime.accounts.logbook import Logbook
from streamflow.runtime.accounts.tables import HELD_BACK
from streamflow.runtime.stage.joining import Joined, merged


class HeldBack:
    """Of one stage. What is worked on is a row; of a batch each datum is one, for each has results of its own."""

    def __init__(self, logbook: Logbook, edges: Mapping[str, str]) -> None:
        """`edges`: by input, those that lead into the stage."""
        self._logbook = logbook
        self._edges = edges
        named = zip(logbook.recorder.outputs, logbook.recorder.shape.out_edges, strict=True)
        self._output = next(output for output, (name, _) in named if name == HELD_BACK)
        self._held: dict[int, tuple[Message, int, str]] = {}
        self._began_place = 0  # by which edge, and as which datum of it, what is in service came

    def hold(self, name: str, message: Message) -> None:
        slot = self._output.accept(self._logbook.ids(message), 0, 0, self._logbook.place_in_hand)
        self._held[id(message)] = message, slot, self._edges[name]
        self._logbook.commit()
        self._logbook.put_down()

    def leave_out(self, message: Message, reason: Reason | None) -> None:
        """As `Logbook.left_out`."""
        self._logbook.left_out(message, reason, self._held[id(message)][2], self._release)

    def begin(self, row: Joined) -> None:
        """It is in service next: its data show as out, by the number of that service, until they are released."""
        recorder = self._logbook.recorder
        recorder.set(layout.ROW_DATA_BEFORE, recorder.get(layout.ROW_DATA))
        recorder.set(layout.ROW_HEAD, recorder.head)
        turn = recorder.turn + 1
        for message in row.data:
            slot = self._held[id(message)][1]
            # It keeps the part of its place that says by which edge it came.
            self._began_place = self._output.place_of(slot)
            self._output.transmitted(slot, turn, self._began_place >> NUMBER_BITS)

    def hand_over(self, rows: Sequence[Joined], nth: int) -> None:
        """A device has these, the first of which was in service while they were made: all are held back from now on.

        `nth`: which of the batches that the device has of this stage, from 1.
        """
        self._logbook.idle()  # first of all: held back and in service it would be lost twice
        self._output.taken_back(self._held[id(rows[0].data[0])][1], self._began_place)  # else it may pass for another
        for row in rows:
            for message in row.data:
                self._output.mark(self._held[id(message)][1], nth)

    def end(self, row: Joined) -> None:
        """It was worked on, or shed."""
        for message in row.data:  # not before: what was held back and in service is lost together
            self._release(message)
        self._logbook.idle()

    def lose(self, row: Joined) -> None:
        """The stage failed while it worked on it."""

        def let_go() -> None:
            for message in row.data:
                self._release(message)

        self._logbook.lost_in_service(row.message, merged(row.data), len(row.data), let_go)

    def lose_all(self) -> None:
        """The stage has failed: what it held back is lost with it."""
        for message, _, edge in list(self._held.values()):
            self._logbook.lost_held_back(message, edge, self._release)

    def _release(self, message: Message) -> None:
        self._output.release(self._held.pop(id(message))[1])
