"""Chunks of one size from chunks of any size: sources deliver what suits them, models want what suits them."""

from __future__ import annotations

from dataclasses import replace

from nodes.preprocess.cutting import CuttingNode, dimensions
from streamflow import Out, Output


class Rechunk(CuttingNode):
    """Chunks of `size` samples along `axis`, one behind the other; where the incoming chunks ended is invisible.

    With `pad` the remainder at the end is sent too, filled up with zeros, and its attribute `valid` says how
    many samples are real. See CuttingNode for event times, `sample` and `gap`.
    """

    def __init__(self, size: int, axis: int = -1, *, pad: bool = False) -> None:
        super().__init__(size, size, axis)
        self.pad = pad
        self.chunks = Out(f"any[{dimensions(axis, size)}]", rate_hz="samples")

    def flush(self) -> list[Output]:
        if not self.pad:
            return []
        remainders = [(name, self._streams[name], self._streams[name].cutter.flush()) for name in self._streams]
        return [replace(self._output(own, cut), stream=name) for name, own, cut in remainders if cut is not None]
