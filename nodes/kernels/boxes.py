"""Boxes out of a detector's raw map: FastestDet's decoding, intersection over union, non-maximum suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.kernels.activations import sigmoid

Floats = NDArray[np.float32]


def decode_fastestdet(raw: Any, score_limit: float) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Boxes float32[n, 4] (x1, y1, x2, y2, relative to the frame), scores float32[n], classes int64[n].

    `raw` is float32[5 + classes, rows, columns]: objectness, dx, dy, width, height, and a score per class. Cells
    above `score_limit` are kept, row by row. Source: dog-qiuqiu/FastestDet, its README and `deploy` example.
    """
    objectness, classes = raw[0], raw[5:]
    score = np.power(np.maximum(objectness, 0), 0.6) * np.power(np.maximum(classes.max(axis=0), 0), 0.4)
    row, column = np.nonzero(score > score_limit)
    x, y, width, height = raw[1:5, row, column]
    center_x = (column + np.tanh(x)) / raw.shape[2]
    center_y = (row + np.tanh(y)) / raw.shape[1]
    half_width, half_height = sigmoid(width) / 2, sigmoid(height) / 2
    box = np.stack(
        [center_x - half_width, center_y - half_height, center_x + half_width, center_y + half_height], axis=1
    )
    kind = classes[:, row, column].argmax(axis=0).astype(np.int64)
    return box.astype(np.float32), score[row, column].astype(np.float32), kind


def overlap_of(box: Any, boxes: Any) -> Any:
    """Intersection over union of `box` [4] with each of `boxes` [n, 4] (x1, y1, x2, y2); 0 where both are empty."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    union = _area(box[np.newaxis]) + _area(boxes) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _area(boxes: Any) -> Any:
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)


def suppress(boxes: Any, scores: Any, overlap_limit: float) -> NDArray[np.intp]:
    """Indices of the boxes that greedy non-maximum suppression keeps, best score first (equal ones: in order).

    A box goes when it overlaps a better one that is kept by more than `overlap_limit` (intersection over union).
    """
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[overlap_of(boxes[best], boxes[left]) <= overlap_limit]
    return np.asarray(kept, dtype=np.intp)
