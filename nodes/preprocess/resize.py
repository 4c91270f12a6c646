"""Images of the size that a network wants."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nodes.kernels.image import resize_area
from streamflow import In, InputError, Message, Node, Out


class Resize(Node):
    """Every image to `height` × `width` by area averaging, to the bit as OpenCV's INTER_AREA; aspect is not kept."""

    image = In("uint8[height, width, channels]")

    def __init__(self, height: int, width: int) -> None:
        for name, value in (("height", height), ("width", width)):
            if value < 1:
                raise InputError(f"Resize({name})", f"{value}", "at least 1 pixel")
        self.height = height
        self.width = width
        self.resized = Out(f"uint8[{height}, {width}, channels]")

    def process(self, message: Message) -> npt.NDArray[np.uint8]:
        return resize_area(message.array, self.height, self.width)
