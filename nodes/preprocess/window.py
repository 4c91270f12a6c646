"""Windows that may overlap, for what looks at a span of signal at a time."""

from __future__ import annotations

from nodes.preprocess.cutting import CuttingNode, dimensions
from streamflow import Out


class Window(CuttingNode):
    """Windows of `size` samples every `hop` samples (default: every `size`), along the last axis unless told.

    Takes [time], [channels, time] or more; where the incoming chunks ended is invisible. What is too little
    for a window at the end is not sent. See CuttingNode for event times, `sample` and `gap`.
    """

    def __init__(self, size: int, hop: int | None = None, axis: int = -1) -> None:
        super().__init__(size, size if hop is None else hop, axis)
        self.windows = Out(f"any[{dimensions(axis, size)}]", rate_hz="samples")
