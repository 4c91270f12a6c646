"""A function of arrays, written once for NumPy and CuPy, on whatever device its stage has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nodes.infer.row_function import RowFunction
from streamflow.core.latency_profile import powers_of_two
from streamflow.device.contract import DeviceArray, Queue
from streamflow.device.slots import SlotRing
from streamflow.wire.arrays import Array


class CupyFunction(RowFunction):
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
        subject = f"CupyFunction({getattr(f, '__qualname__', f)})"
        super().__init__(subject, input, output, sizes, rows_max, rate_hz)
        self._f = f
        self._example = None if example is None else {"x": example}

    def device_report(self) -> dict[str, Any]:
        return self._ring.told()

    def _load(self, queue: Queue) -> None:
        self._xp = self.context.device.xp

    async def _try(self, ring: SlotRing, rows_max: int) -> None:
        buckets = (self.context.batch or self.batch).buckets or powers_of_two(rows_max)
        await ring.measure(self._work, buckets, self._example)

    def _work(self, x: DeviceArray, y: DeviceArray) -> None:
        y[...] = self._f(x, self._xp)
