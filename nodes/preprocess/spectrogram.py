"""Short-time spectra of a signal, a frame at a time."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from nodes.kernels.spectrum import SpectrumScale, WindowName, spectrum, window_weights
from nodes.preprocess.cutting import CuttingNode, dimensions
from streamflow import In, InputError, Out


class Spectrogram(CuttingNode):
    """A spectrum of `size // 2 + 1` bins for every window of `size` samples, every `hop` (default: half a window).

    Along the last axis unless told (`axis=0` for the [time, columns] of tables); bins stand where samples stood.
    Bin k is at k · rate / size Hz. `scale` is magnitude, power or decibel: see nodes.kernels.spectrum. Frames
    run on across chunks; each is a message with the event time of its newest sample, `sample` and `gap` as in
    CuttingNode.
    """

    def __init__(
        self,
        size: int,
        hop: int | None = None,
        window: WindowName = "hann",
        scale: SpectrumScale = "magnitude",
        axis: int = -1,
    ) -> None:
        if size < 2:
            raise InputError("Spectrogram(size)", f"{size}", "at least 2 samples")
        super().__init__(size, size // 2 if hop is None else hop, axis)
        if scale not in get_args(SpectrumScale):
            raise InputError("Spectrogram(scale)", repr(scale), f"one of {', '.join(get_args(SpectrumScale))}")
        try:
            self._weights = window_weights(window, size)
        except ValueError as error:
            raise InputError("Spectrogram(window)", str(error)) from None
        self.scale: SpectrumScale = scale
        self.samples = In(f"float32|float64[{dimensions(axis, 'time')}]")
        self.spectra = Out(f"float32|float64[{dimensions(axis, size // 2 + 1)}]")

    def result(self, window: npt.NDArray[Any]) -> npt.NDArray[Any]:
        spectra = spectrum(np.moveaxis(window, self.axis, -1), self._weights, self.scale)
        return np.moveaxis(spectra, -1, self.axis)
