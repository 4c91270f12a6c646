"""Image resizing that gives OpenCV's INTER_AREA bytes without OpenCV, and pixel values into what networks take.

Detectors are trained and scored on `cv2.resize(..., INTER_AREA)`, and a pixel that rounds differently moves a
box. So the arithmetic follows OpenCV's generic path to the bit: float32, first along rows, then along
columns, terms added in the order of the pixels, rounded half to even. An axis that grows is interpolated
linearly between pixel centres, where OpenCV's own area mode would repeat pixels.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PLAN_LIMIT = 64  # sizes whose taps are kept; a pipeline has a handful, a plan is a few hundred kB at most

# For each tap: the source position and the weight of every position of the result (weight 0: no such tap).
Taps = tuple[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]], ...]


def resize_area(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """uint8[h, w, c] → uint8[height, width, c]: pixel-area averages where an axis shrinks, else linear.

    Where neither axis grows the result is that of OpenCV 4's INTER_AREA, bit for bit (resize.cpp:
    computeResizeAreaTab, ResizeArea_Invoker and, for whole factors, ResizeAreaFast_Invoker).
    Raises ValueError for another dtype or rank, and for an empty image or result.
    """
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ValueError(f"{image.dtype}{list(image.shape)} is no uint8[height, width, channels] image")
    rows, columns, channels = image.shape
    if min(rows, columns, channels, height, width) < 1:
        raise ValueError(f"{rows}×{columns}×{channels} cannot become {height}×{width}: a size is 0")
    if (rows, columns) == (height, width):
        return image.copy()
    if rows % height == 0 and columns % width == 0:
        return _block_means(image, rows // height, columns // width)
    lines = image.reshape(rows, columns * channels)
    along_rows = _weighted(lines, taps_of(columns, width, channels), axis=1)
    total = _weighted(along_rows, taps_of(rows, height, 1), axis=0)
    np.rint(total, out=total)
    return total.astype(np.uint8).reshape(height, width, channels)


def to_network_input(
    image: npt.NDArray[np.uint8],
    scale: npt.NDArray[np.float32],
    offset: npt.NDArray[np.float32] | None,
    *,
    channels_first: bool,
) -> npt.NDArray[np.float32]:
    """uint8[h, w, c] → float32[c, h, w] (or [h, w, c]): image · scale + offset, per channel; contiguous.

    `scale`, `offset`: float32[c] or float32[1].
    """
    if channels_first:
        image = np.ascontiguousarray(image.transpose(2, 0, 1))  # bytes are moved at a quarter of floats' cost
        scale, offset = scale[:, None, None], None if offset is None else offset[:, None, None]
    out: npt.NDArray[np.float32] = np.multiply(image, scale)
    return out if offset is None else np.add(out, offset, out=out)


def _block_means(image: npt.NDArray[np.uint8], down: int, across: int) -> npt.NDArray[np.uint8]:
    """Means of down × across pixels: whole-number sums, as OpenCV's fast path rounds them."""
    rows, columns, channels = image.shape
    blocks = image.reshape(rows // down, down, columns // across, across, channels)
    sums = blocks.sum(axis=(1, 3), dtype=np.int32)
    if down == across == 2:
        means: Array = (sums + 2) >> 2
    else:
        means = np.rint(sums.astype(np.float32) * np.float32(1.0 / (down * across)))
    return means.astype(np.uint8)


def _weighted(lines: Array, taps: Taps, axis: int) -> npt.NDArray[np.float32]:
    """Sum over taps of lines[position] · weight along `axis`, in float32 and in the order of the taps."""
    total: npt.NDArray[np.float32] | None = None
    for positions, weights in taps:
        term = lines.take(positions, axis=axis).astype(np.float32, copy=False)
        term *= weights if axis == 1 else weights[:, None]
        total = term if total is None else np.add(total, term, out=total)
    assert total is not None  # every plan has a tap
    return total


@lru_cache(PLAN_LIMIT)
def taps_of(size: int, result_size: int, channels: int) -> Taps:
    """Of an axis; positions and weights are repeated for interleaved channels."""
    reach = _linear_reach(size, result_size) if result_size > size else _area_reach(size, result_size)
    taps = []
    for tap in range(max(map(len, reach))):
        terms = [entry[tap] if tap < len(entry) else (entry[-1][0], 0.0) for entry in reach]
        positions = np.array([position for position, _ in terms], np.intp)
        weights = np.array([weight for _, weight in terms], np.float32)
        interleaved = positions[:, None] * channels + np.arange(channels)
        taps.append((interleaved.ravel(), weights.repeat(channels)))
    return tuple(taps)


def _area_reach(size: int, result_size: int) -> list[list[tuple[int, float]]]:
    """(source position, weight) of each pixel that a cell of the result covers (computeResizeAreaTab)."""
    scale = 1.0 / (result_size / size)
    reach = []
    for index in range(result_size):
        start, end = index * scale, index * scale + scale
        cell = min(scale, size - start)
        last = min(math.floor(end), size - 1)
        first = min(math.ceil(start), last)
        entry = [(first - 1, (first - start) / cell)] if first - start > 1e-3 else []
        entry += [(position, 1.0 / cell) for position in range(first, last)]
        if end - last > 1e-3:
            entry.append((last, min(end - last, 1.0, cell) / cell))
        reach.append(entry)
    return reach


def _linear_reach(size: int, result_size: int) -> list[list[tuple[int, float]]]:
    """The two nearest pixel centres of each pixel of the result; beyond the border the border pixel."""
    reach = []
    for index in range(result_size):
        centre = min(max((index + 0.5) * size / result_size - 0.5, 0.0), size - 1.0)
        left = min(int(centre), size - 1)
        right = min(left + 1, size - 1)
        reach.append([(left, 1.0 - (centre - left)), (right, centre - left)])
    return reach
