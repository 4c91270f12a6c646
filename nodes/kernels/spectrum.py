"""Short-time spectra, scaled so that the numbers mean something: the amplitude or the power of a sine."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

WindowName = Literal["hann", "hamming", "blackman", "rectangular"]
SpectrumScale = Literal["magnitude", "power", "decibel"]

DECIBEL_FLOOR = 1e-12  # power that counts as nothing: -120 dB, below the noise of 16-bit sound
SHARE_FLOOR = 1e-20  # so that silence has a shape
SHAPE_FLOOR = 1e-6  # a mean power that counts as nothing

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


def spectral_shape(frames: Any, xp: Any = np) -> Any:
    """float32[rows, size] → float32[rows, 3] of `xp`, NumPy or CuPy: what a spectrum looks like in three numbers.

    Where its power lies (-2 at 0 Hz to 2 at half the sampling rate), how far it is spread about that (from -1), and how
    loud it is (0 where the mean power behind a Hann window is 1, -1 at a thousandth). Lines count more than noise:
    powers are squared for the first two. Half the sampling rate itself is left out.
    """
    size = frames.shape[-1]
    hann = 0.5 - 0.5 * xp.cos(2 * np.pi / size * xp.arange(size, dtype=frames.dtype))
    powers = xp.square(xp.abs(xp.fft.rfft(frames * hann, axis=-1)[:, : size // 2]))
    places = xp.arange(size // 2, dtype=powers.dtype) / (size // 2)
    shares = xp.square(powers)
    shares = shares / (shares.sum(axis=-1, keepdims=True) + SHARE_FLOOR)
    centre = (shares * places).sum(axis=-1)
    spread = xp.sqrt((shares * xp.square(places - centre[:, None])).sum(axis=-1))
    loudness = xp.log10(powers.mean(axis=-1) / size + SHAPE_FLOOR) / 3
    return xp.stack([4 * (centre - 0.5), 6 * spread - 1, loudness], axis=-1).astype(frames.dtype)
