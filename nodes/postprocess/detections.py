"""Raw maps of a FastestDet detector in, boxes with score, class and name out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.kernels.boxes import decode_fastestdet, suppress
from streamflow import In, InputError, Message, Node, Out

BOX_FEATURES = 5  # objectness, dx, dy, width, height; the classes follow


class Detections(Node):
    """Objects in a frame, best score first: FastestDet's decoding, then non-maximum suppression over all classes.

    Input: float32[5 + classes, rows, columns], or that with leading dimensions of 1. Output, n may be 0: `box`
    float32[n, 4] as x1, y1, x2, y2; `score` float32[n]; `class` int64[n]; `name` str[n], which without `names`
    is the number of the class.

    score: cells above it are kept, p0^0.6 · max(class)^0.4. overlap: a box that overlaps a better one by more
    (intersection over union) is dropped. names: a text file, one class a line, as many as the model has; it
    makes the number of classes part of the input port.

    Boxes are in pixels of the original frame, not clipped to it: its size comes from the attributes
    `frame_width` and `frame_height`, else from `size` (width, height); without either they are relative, 0 to 1.

    Raises InputError: the names file is missing, empty or no text; a batch of several maps arrives.
    """

    objects = Out(box="float32[n, 4]", score="float32[n]", name="str[n]", **{"class": "int64[n]"})

    def __init__(
        self,
        names: str | os.PathLike[str] | None = None,
        score: float = 0.65,
        overlap: float = 0.45,
        size: tuple[int, int] | None = None,
    ) -> None:
        for parameter, value in (("score", score), ("overlap", overlap)):
            if not 0 <= value <= 1:
                raise InputError(f"Detections {parameter}", f"{value:g}", "0 to 1")
        if size is not None and min(size) < 1:
            raise InputError("Detections size", f"{size[0]} × {size[1]}", "a width and a height above 0")
        self._names_path = None if names is None else os.fspath(names)
        self._names: list[str] = []
        self._score = score
        self._overlap = overlap
        self._size = size
        self.raw = In("float32[..., features, rows, columns]")

    def inspect(self) -> None:
        if self._names_path is not None:
            self._names = read_names(self._names_path)
            self.raw = In(f"float32[..., {BOX_FEATURES + len(self._names)}, rows, columns]")

    def process(self, message: Message) -> dict[str, Any]:
        raw = np.asarray(message.array)
        if raw.size != np.prod(raw.shape[-3:]) or raw.shape[-3] <= BOX_FEATURES:
            expected = f"one map [{BOX_FEATURES} + classes, rows, columns]"
            raise InputError("Detections.raw", f"shape {list(raw.shape)} arrived", expected)
        box, score, kind = decode_fastestdet(raw.reshape(raw.shape[-3:]), self._score)
        kept = suppress(box, score, self._overlap)
        return {
            "box": box[kept] * frame_scale(message, self._size),
            "score": score[kept],
            "class": kind[kept],
            "name": names_of(kind[kept], self._names),
        }


def frame_scale(message: Message, size: tuple[int, int] | None) -> NDArray[np.float32]:
    """Of a relative box in pixels of the original frame: width, height, width, height."""
    width, height = size or (1, 1)
    width = int(message.attributes.get("frame_width", width))
    height = int(message.attributes.get("frame_height", height))
    return np.asarray([width, height, width, height], np.float32)


def names_of(kinds: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.str_]:
    """Without names they are the numbers."""
    return np.asarray([names[kind] if names else str(kind) for kind in kinds], dtype=np.str_)


def read_names(path: str) -> list[str]:
    """One name a line; blank lines at the end are none. Raises InputError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(path, error.strerror or str(error), "a text file of class names") from error
    except UnicodeDecodeError as error:
        raise InputError(path, "not UTF-8 text", "one class name a line") from error
    names = [line.strip() for line in text.rstrip().splitlines()]
    if not names:
        raise InputError(path, "no names in it", "one class name a line")
    return names
