"""How the data of an output are shown: the guess by its type, what somebody asked for, and whether that can be.

It changes nothing in what is kept. A guess is only made where the type is plain; what is asked for is refused where no
datum of the type could be shown so, which would otherwise be found out in front of an empty panel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from nodes.mcap_files.schemas import View
from streamflow.core.ports import ELLIPSIS, Dimension, PortType, TensorType

AUDIO_HZ_MIN: Final = 4000  # a signal of two dimensions at most that is sampled as fast is taken for sound
IMU_COLUMNS: Final = 6  # acceleration x y z, angular velocity x y z, as `nodes.ingest.ImuMotion` has them


class Pixels(NamedTuple):
    """How an encoding has them in memory."""

    dtype: str
    colour_count: int


ENCODINGS: Final = {
    "mono8": Pixels("uint8", 1),
    "mono16": Pixels("uint16", 1),
    "bgr8": Pixels("uint8", 3),
    "rgb8": Pixels("uint8", 3),
    "bgra8": Pixels("uint8", 4),
}
GUESSED: Final = ("mono8", "mono16", "bgr8", "bgra8")  # as the camera, file and synthetic sources of this project send
COLOUR_COUNTS: Final = (1, 3, 4)
_SOUND: Final = frozenset(("float16", "float32", "float64", "int16"))
_SIGNALS: Final = frozenset(("float32", "float64", "int16"))  # what is taken for sound or motion unasked
_NUMBERS: Final = _SOUND | {"int8", "int32", "int64"}
_EXPECTED: Final = {
    View.IMAGE: "uint8[height, width], with 1, 3 or 4 colours last where it has any, or uint16[height, width]",
    View.AUDIO: "float16, float32, float64 or int16[time] or [channels, time] with a sampling rate",
    View.IMU: f"numbers in {IMU_COLUMNS} columns, acceleration x y z and angular velocity x y z",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """`encoding`: of an image's pixels, where somebody has said it."""

    view: View
    encoding: str = ""

    @classmethod
    def asked(cls, word: str) -> Shown:
        """`image`, `audio`, `imu`, `tensor`, or an image by its encoding: `rgb8`."""
        return cls(View.IMAGE, word) if word in ENCODINGS else cls(View[word.upper()])

    def lacks(self, port_type: PortType) -> str:
        """What data of that type would have to be; nothing where they, or some of them, can be shown so."""
        if self.view is View.TENSOR:
            return ""
        tensors = list(port_type.tensors.values())
        if len(tensors) == 1 and self._fits(tensors[0], port_type.rate_hz):
            return ""
        if self.encoding:
            dtype, count = ENCODINGS[self.encoding]
            return f"{dtype}[height, width{f', {count}' if count > 1 else ''}]"
        return _EXPECTED[self.view]

    def _fits(self, tensor: TensorType, rate_hz: float | None) -> bool:
        rank = len(tensor.dimensions) if tensor.has_fixed_rank else None
        if self.view is View.IMAGE:
            encodings = [self.encoding] if self.encoding else GUESSED
            return any(_has_pixels(tensor, ENCODINGS[name]) for name in encodings)
        if self.view is View.AUDIO:
            return _may_be(tensor, _SOUND) and rank in (None, 1, 2) and bool(rate_hz)
        last = tensor.dimensions[-1] if tensor.dimensions else 0
        return _may_be(tensor, _NUMBERS) and (last == IMU_COLUMNS or (isinstance(last, str) and rank != 1))


def view_of(output: str, node: str, port_type: PortType) -> View:
    """How the data of `output` (`stage.port`) are best shown, by a guess."""
    if len(port_type.tensors) != 1:
        return View.TENSOR
    (tensor,) = port_type.tensors.values()
    dtypes, dimensions, rate_hz = tensor.dtypes, tensor.dimensions, port_type.rate_hz or 0.0
    if not tensor.has_fixed_rank:
        return View.TENSOR
    if dtypes == {"uint8"} and (len(dimensions) == 2 or (len(dimensions) == 3 and dimensions[2] in COLOUR_COUNTS)):
        return View.IMAGE
    is_signal = dtypes <= _SIGNALS and bool(dtypes)
    if is_signal and len(dimensions) <= 2 and rate_hz >= AUDIO_HZ_MIN:
        return View.AUDIO
    is_motion = "imu" in f"{output} {node}".lower() and bool(dimensions) and dimensions[-1] == IMU_COLUMNS
    return View.IMU if is_signal and is_motion else View.TENSOR


def encoding_of(dtype: str, shape: Sequence[int], encoding: str = "") -> str:
    """Of an image as it lies in memory, where it can be shown; of `encoding`, where that was said."""
    if len(shape) not in (2, 3):
        return ""
    found = Pixels(dtype, shape[2] if len(shape) == 3 else 1)
    return next((name for name in ([encoding] if encoding else GUESSED) if ENCODINGS[name] == found), "")


def _may_be(tensor: TensorType, dtypes: frozenset[str]) -> bool:
    return not tensor.dtypes or bool(tensor.dtypes & dtypes)


def _has_pixels(tensor: TensorType, pixels: Pixels) -> bool:
    dimensions = tensor.dimensions
    if not _may_be(tensor, frozenset((pixels.dtype,))):
        return False
    if ELLIPSIS in dimensions:
        return True
    if len(dimensions) == 3:
        return _are_colours(dimensions, pixels.colour_count)
    return len(dimensions) == 2 and pixels.colour_count == 1


def _are_colours(dimensions: Sequence[Dimension], count: int) -> bool:
    """The last one; where its size is not known, unless the first looks like it, as in [3, height, width]."""
    first, last = dimensions[0], dimensions[2]
    return last == count or (isinstance(last, str) and first not in COLOUR_COUNTS)
