"""Pixel values as a network was trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from nodes.kernels.image import to_network_input
from streamflow import In, InputError, Message, Node, Out

Layout = Literal["chw", "hwc"]


class Normalise(Node):
    """(image · scale − mean) / std as float32, channels first unless told: uint8[h, w, c] → float32[c, h, w].

    `mean` and `std` are one number, or one for each channel, in units of image · scale.
    """

    def __init__(
        self,
        scale: float = 1 / 255,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        layout: Layout = "chw",
    ) -> None:
        means, stds = np.atleast_1d(np.asarray(mean, np.float64)), np.atleast_1d(np.asarray(std, np.float64))
        if not np.all(np.isfinite(stds) & (stds != 0)):
            raise InputError("Normalise(std)", f"{std}", "numbers other than 0")
        sizes = {array.size for array in (means, stds)} - {1}
        if len(sizes) > 1:
            raise InputError("Normalise(mean, std)", f"{means.size} and {stds.size} values", "one per channel")
        if layout not in get_args(Layout):
            raise InputError("Normalise(layout)", repr(layout), f"one of {', '.join(get_args(Layout))}")
        channels: int | str = sizes.pop() if sizes else "channels"
        self._scale = (scale / stds).astype(np.float32)
        offset = (-means / stds).astype(np.float32)
        self._offset = offset if np.any(offset) else None
        self._channels_first = layout == "chw"
        shape = f"{channels}, height, width" if self._channels_first else f"height, width, {channels}"
        self.image = In(f"uint8[height, width, {channels}]")
        self.normalised = Out(f"float32[{shape}]")

    def process(self, message: Message) -> npt.NDArray[np.float32]:
        return to_network_input(message.array, self._scale, self._offset, channels_first=self._channels_first)
