"""Images of a batch into what a network takes, by NumPy or CuPy: the same numbers as one by one on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from nodes.kernels.image import taps_of


class NetworkInput:
    """uint8[n, h, w, c] → float32[n, c, height, width]: resized by area as `resize_area` does it, then times `scale`.

    For images of one size, by one array module. The first call puts the taps where the images are.
    """

    def __init__(self, height: int, width: int, scale: float) -> None:
        self._size = height, width
        self._scale = np.float32(scale)
        self._taps: list[list[tuple[Any, Any]]] = []

    def __call__(self, images: Any, xp: Any) -> Any:
        return xp.multiply(self._resized(images, xp).transpose(0, 3, 1, 2), self._scale)

    def _resized(self, images: Any, xp: Any) -> Any:
        count, rows, columns, channels = images.shape
        height, width = self._size
        if (rows, columns) == self._size:
            return images
        if rows % height == 0 and columns % width == 0:
            return _block_means(images, rows // height, columns // width, xp)
        if not self._taps:
            plans = taps_of(columns, width, channels), taps_of(rows, height, 1)
            self._taps = [[(xp.asarray(at), xp.asarray(weight)) for at, weight in plan] for plan in plans]
        along_rows, along_columns = self._taps
        lines = images.reshape(count, rows, columns * channels)
        total = _weighted(lines, along_rows, 2, xp)
        total = _weighted(total, [(at, weight[:, None]) for at, weight in along_columns], 1, xp)
        return xp.rint(total).astype(xp.uint8).reshape(count, height, width, channels)


def _block_means(images: Any, down: int, across: int, xp: Any) -> Any:
    """Means of down × across pixels, rounded as OpenCV's fast path does."""
    count, rows, columns, channels = images.shape
    blocks = images.reshape(count, rows // down, down, columns // across, across, channels)
    sums = blocks.sum(axis=(2, 4), dtype=xp.int32)
    if down == across == 2:
        return ((sums + 2) >> 2).astype(xp.uint8)
    return xp.rint(sums.astype(xp.float32) * np.float32(1.0 / (down * across))).astype(xp.uint8)


def _weighted(lines: Any, taps: list[tuple[Any, Any]], axis: int, xp: Any) -> Any:
    """In float32 and in the order of the taps, each product rounded before it is added: else bytes would differ."""
    total: Any = None
    for at, weight in taps:
        term = lines.take(at, axis=axis).astype(xp.float32, copy=False)
        term *= weight
        if total is None:
            total = term
        else:
            total += term
    return total
