"""Boxes out of the raw maps of a batch, by NumPy or CuPy, without a loop over boxes: FastestDet's decoding, then
non-maximum suppression.

Greedy suppression is what this comes to: a box is kept unless a better one that is kept overlaps it. Begun with all
and done again and again, the rule is right for one more box of each chain, in which every box decides about the next,
each time; so a fixed number of times is right for all chains up to that length, and each is a few small kernels.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from nodes.kernels.activations import sigmoid

CHAIN_LENGTH_MAX: Final = 16  # longer ones than 3 were not seen on recordings
COLUMNS: Final = 6  # x1, y1, x2, y2, score, class


def detections(raw: Any, xp: Any, *, score_limit: float, overlap_limit: float, count: int) -> Any:
    """float32[n, count, 6] of maps float32[n, 5 + classes, rows, columns]: x1, y1, x2, y2 relative to the frame, score,
    class; the best first, of what is suppressed or below `score_limit` the score is 0.

    `count`: cells that are looked at, those with the best scores. Decoding is `boxes.decode_fastestdet`'s.
    """
    maps, features, rows, columns = raw.shape
    cells = raw.reshape(maps, features, rows * columns)
    classes = cells[:, 5:]
    score = xp.power(xp.maximum(cells[:, 0], 0), 0.6) * xp.power(xp.maximum(classes.max(axis=1), 0), 0.4)
    best = xp.argsort(-score, axis=-1, kind="stable")[:, :count]
    score = xp.take_along_axis(score, best, axis=1)
    kind = xp.take_along_axis(classes.argmax(axis=1), best, axis=1)
    x, y, width, height = (xp.take_along_axis(cells[:, nth], best, axis=1) for nth in range(1, 5))
    center_x = (best % columns + xp.tanh(x)) / columns
    center_y = (best // columns + xp.tanh(y)) / rows
    half_width, half_height = sigmoid(width) / 2, sigmoid(height) / 2
    found = xp.zeros((maps, count, COLUMNS), xp.float32)
    sides = center_x - half_width, center_y - half_height, center_x + half_width, center_y + half_height
    for nth, side in enumerate((*sides, score, kind)):
        found[:, : best.shape[1], nth] = side
    kept = keep(found[:, :, :4], found[:, :, 4] > score_limit, overlap_limit, xp)
    found[:, :, 4] *= kept
    return found


def keep(boxes: Any, is_box: Any, overlap_limit: float, xp: Any) -> Any:
    """bool[n, count]: which of `boxes` [n, count, 4], the best first, greedy suppression keeps; `is_box`: of those that
    are any."""
    count = boxes.shape[1]
    is_better = xp.arange(count)[None, :] < xp.arange(count)[:, None]
    goes_for = (_overlaps(boxes, xp) > overlap_limit) & is_better
    kept = is_box
    for _ in range(CHAIN_LENGTH_MAX):
        kept = is_box & ~(goes_for & kept[:, None, :]).any(axis=2)
    return kept


def _overlaps(boxes: Any, xp: Any) -> Any:
    """Intersection over union of each with each, [n, count, count]; 0 where both are empty."""
    one, other = boxes[:, :, None, :], boxes[:, None, :, :]
    sides = xp.maximum(xp.minimum(one[..., 2:], other[..., 2:]) - xp.maximum(one[..., :2], other[..., :2]), 0)
    shared = sides[..., 0] * sides[..., 1]
    own = xp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    area = own[..., 0] * own[..., 1]
    union = area[:, :, None] + area[:, None, :] - shared
    return shared / xp.where(union > 0, union, np.float32(1))
