"""What nodes share that make of a tensor [rows, ...] one of as many rows, in the slots of their stage's device."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from nodes.infer.declared_shapes import shape_and_dtype
from streamflow import Batch, DeviceTensor, In, InputError, Message, Node, OnDevice, Out
from streamflow.device.contract import DeviceArray, Queue
from streamflow.device.slots import Slot, SlotRing
from streamflow.wire.arrays import Array


class RowFunction(Node):
    """`y = f(x)`: a subclass says what it needs on the device (`_load`), and what is done there (`_work`).

    It is batched over data of all streams, of which each is a row. Between stages that work on one device data stay
    there. Raises InputError for a type whose dimensions are not all known.
    """

    stateful = False

    def __init__(
        self,
        subject: str,
        input: str,
        output: str,
        sizes: Mapping[str, int] | None,
        rows_max: int,
        rate_hz: float | str | None,
    ) -> None:
        """`subject`: which node it is, in errors."""
        self._subject = subject
        self.batch: Batch = Batch(rows_max)
        self.input = In(input, on_device=True)
        self.output = Out(output, rate_hz=rate_hz, on_device=True)
        self._shapes = [
            shape_and_dtype(f"{type(self).__name__}({what})", port.type, sizes or {})
            for what, port in (("input", self.input), ("output", self.output))
        ]

    async def open(self) -> None:
        context = self.context
        rows_max = (context.batch or self.batch).size_max
        x, y = (((rows_max, *shape), dtype) for shape, dtype in self._shapes)
        queue = context.device.queue(context.device_priority)
        try:
            self._load(queue)
            self._ring = SlotRing(context.device, {"x": x}, {"y": y}, priority=context.device_priority, compute=queue)
            self._resident = context.resident("output", *self._shapes[1])
            await self._try(self._ring, rows_max)
        except BaseException:
            queue.close()
            self.close()
            raise

    def close(self) -> None:
        if hasattr(self, "_ring"):
            self._ring.close()

    def process_batch(self, messages: Sequence[Message]) -> OnDevice:
        return self._given([message.array for message in messages])

    def _given(self, arrays: Sequence[Array | DeviceTensor]) -> OnDevice:
        ring, rows, rows_max = self._ring, len(arrays), (self.context.batch or self.batch).size_max
        if rows > rows_max:
            raise InputError(self._subject, f"a batch of {rows}", f"at most {rows_max}", "say batch=Batch(...)")
        with ring.loan() as slot:
            ring.put(slot, "x", arrays)
            stays = None if self._resident is None else self._resident.take_all(rows)
            if stays is not None:
                ring.keep(slot, "y", stays)
            return OnDevice(ring.submit(slot, self._work, rows), lambda: _results(slot, rows, stays))

    def _load(self, queue: Queue) -> None:
        """Have what the work needs where it is needed; `queue`: in which the work will be done."""

    async def _try(self, ring: SlotRing, rows_max: int) -> None:
        """Do for the first time what takes longer then, before there are data."""

    @abstractmethod
    def _work(self, x: DeviceArray, y: DeviceArray) -> None:
        """Write the results of the rows `x` to `y`, in work of the queue."""


def hint_of(found: Sequence[int], declared: Sequence[int], cast: str) -> str:
    """What to change in a function whose result is of the wrong shape, or, with `cast`, of the wrong dtype alone."""
    if tuple(found) == tuple(declared):
        return cast
    if len(found) < len(declared) or found[0] != declared[0]:
        return "its first axis is the batch's: a row for each datum"
    return "output= says what is made of a datum"


def _results(slot: Slot, rows: int, stays: Sequence[DeviceTensor] | None) -> Sequence[Array] | Sequence[DeviceTensor]:
    """What stays on the device, or copies: the slot is filled again before they are sent."""
    slot.let_go()
    return list(slot.outputs["y"][:rows].copy()) if stays is None else stays
