"""A function of arrays, written once for NumPy and CuPy, on whatever device its stage has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nodes.infer.row_function import RowFunction, hint_of
from streamflow import InputError
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
    nothing, and no host array goes into it; what it allocates on the way comes from the device's pool. What it returns
    is of just the shape and dtype that were declared: nothing is spread over the rows, or cast.
    Between stages that work on one device data stay there.

    When the stage opens `f` is called with zeros, or with `example`, a datum, for each size of batches (the batch's
    `buckets`, else powers of two), dozens of times each, to find out what is quicker: to launch it, or to replay it as
    a graph of that size. So it is to do nothing but compute: what it counts, prints or writes down it does then too,
    and where a graph is replayed, which repeats what `f` gave to the device, it is not called for the data at all. The
    report tells what was found, `stages.NAME.launches`.

    Raises InputError for a type whose dimensions are not all known, and for a result that is not as declared: when the
    stage opens, if it is so with zeros, else when it comes.
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
        result = self._f(x, self._xp)
        if type(result) is not type(y) or result.shape != y.shape or result.dtype != y.dtype:
            self._require_like(result, x, y)
        y[...] = result

    def _require_like(self, result: Any, x: DeviceArray, y: DeviceArray) -> None:
        """Copied all the same it would be spread, or cast, without a word."""
        xp = self._xp
        if not isinstance(result, xp.ndarray):
            kind = type(result)
            found = "nothing" if result is None else f"a {kind.__module__}.{kind.__qualname__}".replace("builtins.", "")
            hint = "does it return what it has made?" if result is None else "make it with xp"
            expected = f"an array of {xp.__name__}, {_told(y)}"
            raise InputError(self._subject, f"{found} came of {_told(x)}", expected, hint)
        if result.shape != y.shape or result.dtype != y.dtype:
            cast = f"add .astype(xp.{y.dtype})" if np.can_cast(result.dtype, y.dtype, "same_kind") else ""
            hint = hint_of(result.shape, y.shape, cast)
            raise InputError(self._subject, f"{_told(result)} came of {_told(x)}", f"{_told(y)}, as declared", hint)


def _told(array: DeviceArray) -> str:
    return f"{array.dtype}{list(array.shape)}"
