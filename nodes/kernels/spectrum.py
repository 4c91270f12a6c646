"""Short-time spectra, scaled so that the numbers mean something: the amplitude or the power of a sine."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

WindowName = Literal["hann", "hamming", "blackman", "rectangular"]
SpectrumScale = Literal["magnitude", "power", "decibel"]

DECIBEL_FLOOR = 1e-12  # power that counts as nothing: -120 dB, below the noise of 16-bit sound

# Sums of cosines (Harris, Proc. IEEE 66(1), 1978), each periodic in `size`, as a DFT wants them.
_COSINES: dict[str, tuple[float, ...]] = {
    "rectangular": (1.0,),
    "hann": (0.5, -0.5),
    "hamming": (0.54, -0.46),
    "blackman": (0.42, -0.5, 0.08),
}


def window_weights(name: WindowName, size: int) -> npt.NDArray[np.float64]:
    """float64[size]. Raises ValueError for a name that is none of `WindowName`."""
    if name not in _COSINES:
        raise ValueError(f"'{name}' is no window, expected one of {', '.join(get_args(WindowName))}")
    turn = 2.0 * np.pi * np.arange(size) / size
    weights = np.zeros(size)
    for order, factor in enumerate(_COSINES[name]):
        weights += factor * np.cos(order * turn)
    return weights


def spectrum(frames: Array, weights: npt.NDArray[np.float64], scale: SpectrumScale) -> Array:
    """float[..., size] → same dtype [..., size // 2 + 1], one-sided.

    For a sine of amplitude A at a bin's centre: magnitude A; power A² / 2 (its mean square; at 0 Hz A²);
    decibel 10 log10(power), never below that of DECIBEL_FLOOR.
    """
    size = frames.shape[-1]
    magnitudes: Array = np.abs(np.fft.rfft(frames * weights)) / weights.sum()
    inner = slice(1, (size + 1) // 2)  # 0 Hz, and half the sampling rate where there is one, have no mirror image
    magnitudes[..., inner] *= 2.0
    if scale == "magnitude":
        return magnitudes.astype(frames.dtype, copy=False)
    powers: Array = np.square(magnitudes)
    powers[..., inner] /= 2.0
    if scale == "decibel":
        powers = 10.0 * np.log10(np.maximum(powers, DECIBEL_FLOOR))
    return powers.astype(frames.dtype, copy=False)
