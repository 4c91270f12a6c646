"""A function of arrays, written once for NumPy and CuPy, on whatever device its stage has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nodes.infer.declared_shapes import shape_and_dtype
from streamflow import Batch, DeviceTensor, In, Message, Node, OnDevice, Out
from streamflow.core.latency_profile import powers_of_two
from streamflow.device.slots import Slot, SlotRing
from streamflow.wire.arrays import Array


class CupyFunction(Node):
    """`f(x, xp) -> y` for a batch: `x` [rows, ...] and `y` [rows, ...] are arrays of `xp`, NumPy or CuPy.

    `p.add("spectra", CupyFunction(f, input="float32[512]", output="float32[257]"), device=["cuda:0", "host"])`. It runs
    where the stage's device is, and is batched over data of all streams: rows say nothing of each other. Dimensions
    are numbers, or names of which `sizes` has the number. `rows_max`: how many data may be in one batch, where the
    stage's `batch` does not say; buffers for them are allocated on the device once, when the stage opens. `f` waits for
    nothing, and no host array goes into it; what it allocates on the way comes from the device's pool.
    Between stages that work on one device data stay there.

    When the stage opens `f` is done some times with zeros, or with `example`, a datum, to find out for each size of
    batches (the batch's `buckets`, else powers of two) what is quicker: to launch it, or to replay it as a graph of
    that size. A graph repeats what `f` gave to the device: nothing in `f` may depend on how often it was called. The
    report tells what was found, `stages.NAME.launches`.

    Raises InputError for a type whose dimensions are not all known.
    """

    stateful = False

    def __init__(
        self,
        f: Callable[..., Any],
        *,
        input: str,
        output: str,
        sizes: Mapping[str, int] | None = None,
        rows_max: int = 32,
        rate_hz: float | str | None = None,
        example: Array | None = None,
    ) -> None:
        self._f = f
        self._example = None if example is None else {"x": example}
        self.batch: Batch = Batch(rows_max)
        self.input = In(input, on_device=True)
        self.output = Out(output, rate_hz=rate_hz, on_device=True)
        self._shapes = [
            shape_and_dtype(f"CupyFunction({what})", port.type, sizes or {})
            for what, port in (("input", self.input), ("output", self.output))
        ]

    async def open(self) -> None:
        device, batch = self.context.device, self.context.batch or self.batch
        self._xp = device.xp
        x, y = (((batch.size_max, *shape), dtype) for shape, dtype in self._shapes)
        self._ring = SlotRing(device, {"x": x}, {"y": y}, priority=self.context.device_priority)
        self._resident = self.context.resident("output", *self._shapes[1])
        await self._ring.measure(self._work, batch.buckets or powers_of_two(batch.size_max), self._example)

    def device_report(self) -> dict[str, Any]:
        return self._ring.told()

    def close(self) -> None:
        if hasattr(self, "_ring"):
            self._ring.close()

    def process_batch(self, messages: Sequence[Message]) -> OnDevice:
        slot = self._ring.take()
        assert slot is not None, "no more batches are in flight than there are slots"
        rows = len(messages)
        try:
            self._ring.put(slot, "x", [message.array for message in messages])
            stays = None if self._resident is None else self._resident.take_all(rows)
            if stays is not None:
                self._ring.keep(slot, "y", stays)
            return OnDevice(self._ring.submit(slot, self._work, rows), lambda: self._results(slot, rows, stays))
        finally:
            self._ring.give_back(slot)

    def _work(self, x: Any, y: Any) -> None:
        y[...] = self._f(x, self._xp)

    def _results(
        self, slot: Slot, rows: int, stays: Sequence[DeviceTensor] | None
    ) -> Sequence[Array] | Sequence[DeviceTensor]:
        """What stays on the device, or copies: the slot is filled again before they are sent."""
        slot.let_go()
        return list(slot.outputs["y"][:rows].copy()) if stays is None else stays
