"""Rows of boxes with scores, as a device leaves them, into boxes with names."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from nodes.kernels.box_batch import COLUMNS
from nodes.postprocess.detections import frame_scale, names_of, read_names
from streamflow import In, Message, Node, Out


class NamedBoxes(Node):
    """What `Detections` gives, of float32[count, 6]: x1, y1, x2, y2 relative to the frame, score, class; a row whose
    score is 0 is none.

    names, size: as for `Detections`. Raises InputError: the names file is missing, empty or no text.
    """

    rows = In(f"float32[count, {COLUMNS}]")
    objects = Out(box="float32[n, 4]", score="float32[n]", name="str[n]", **{"class": "int64[n]"})

    def __init__(self, names: str | os.PathLike[str] | None = None, size: tuple[int, int] | None = None) -> None:
        self._names_path = None if names is None else os.fspath(names)
        self._names: list[str] = []
        self._size = size

    def inspect(self) -> None:
        if self._names_path is not None:
            self._names = read_names(self._names_path)

    def process(self, message: Message) -> dict[str, Any]:
        found = message.array[message.array[:, 4] > 0]
        kind = found[:, 5].astype(np.int64)
        box = found[:, :4] * frame_scale(message, self._size)
        return {"box": box, "score": found[:, 4].copy(), "class": kind, "name": names_of(kind, self._names)}
