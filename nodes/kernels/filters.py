"""Rational resampling of a stream with a linear-phase anti-alias filter, exact at chunk boundaries.

The filter is a Kaiser-windowed sinc (Oppenheim & Schafer, Discrete-Time Signal Processing, §7.5) run in
polyphase form (Crochiere & Rabiner, Multirate DSP, 1983): with `up` and `down` in lowest terms, result m is
sum over n of x[n] · h[m · down − n · up + half], so it stands at sample m · down / up of the input; the
filter's delay is a delay of computing, never of the signal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FACTOR_LIMIT = 4096  # `up` and `down`: finer ratios are rounded; the filter has about 50 coefficients per unit
BLOCK_SIZE = 4096  # results computed at once: bounds the memory of a long chunk, and keeps it in cache


@dataclass(frozen=True, slots=True)
class Resampling:
    """`phases` float64[up, taps]: row p holds h[p], h[p + up], ... reversed; `half`: the filter's delay · up."""

    up: int
    down: int
    half: int
    phases: npt.NDArray[np.float64]

    @property
    def taps(self) -> int:
        return int(self.phases.shape[1])

    def source(self, index: int) -> float:
        """Where on the input's axis, in samples, result `index` stands."""
        return index * self.down / self.up

    def first_at(self, sample: int) -> int:
        """The first result that stands at `sample` or behind it."""
        return -(-sample * self.up // self.down)


def nearest_ratio(rate_in_hz: float, rate_out_hz: float) -> Fraction:
    """up / down, the nearest ratio whose terms are at most FACTOR_LIMIT. Raises ValueError where there is none."""
    ratio = Fraction(rate_out_hz) / Fraction(rate_in_hz)
    if max(ratio, 1 / ratio) > FACTOR_LIMIT:
        raise ValueError(f"the rates are more than {FACTOR_LIMIT} times apart")
    if ratio > 1:
        return 1 / (1 / ratio).limit_denominator(FACTOR_LIMIT)
    return ratio.limit_denominator(FACTOR_LIMIT)


def design(ratio: Fraction, passband: float, attenuation_db: float) -> Resampling:
    """Pass up to `passband` (a share of the lower Nyquist frequency), stop from that frequency on.

    Every phase sums to 1, so that a constant stays the same constant.
    """
    up, down = ratio.numerator, ratio.denominator
    widest = max(up, down)
    if widest == 1:
        return Resampling(1, 1, 0, np.ones((1, 1)))
    transition = np.pi * (1.0 - passband) / widest  # radians per sample at the rate `up` times the input's
    half = int(np.ceil((attenuation_db - 7.95) / (2.285 * transition) / 2.0))
    cutoff = (1.0 + passband) / 2.0 / widest  # share of that rate's Nyquist frequency
    at = np.arange(-half, half + 1)
    prototype = np.sinc(cutoff * at) * np.kaiser(2 * half + 1, _kaiser_beta(attenuation_db))
    taps = -(-(2 * half + 1) // up)
    phases = np.zeros((taps, up))
    phases.reshape(-1)[: 2 * half + 1] = prototype
    phases = np.ascontiguousarray(phases[::-1].T)
    return Resampling(up, down, half, phases / phases.sum(axis=1, keepdims=True))


def _kaiser_beta(attenuation_db: float) -> float:
    if attenuation_db > 50.0:
        return 0.1102 * (attenuation_db - 8.7)
    above = max(attenuation_db - 21.0, 0.0)
    return 0.5842 * math.pow(above, 0.4) + 0.07886 * above


class Resampler:
    """One stream through a Resampling. Chunks are float[..., time]; beyond both ends the signal is zero.

    Indices are absolute: input from sample `first` on gives the results that stand in its span, and how the
    input was chunked changes no bit, because every result is one sum of products in float64.
    """

    def __init__(self, plan: Resampling, first: int = 0) -> None:
        self.plan = plan
        self.end = first  # index of the next input sample
        self.next = plan.first_at(first)  # index of the next result
        self._held: Array | None = None

    def push(self, chunk: Array) -> Array:
        """The results that need no sample behind `chunk`, in its dtype; often none."""
        held = self._extended(chunk)
        self.end += chunk.shape[-1]
        return self._results(held, (self.end * self.plan.up - 1 - self.plan.half) // self.plan.down, chunk.dtype)

    def flush(self, dtype: npt.DTypeLike) -> Array | None:
        """The results that waited for samples that will not come; None where there were no samples at all."""
        if self._held is None:
            return None
        missing = self.plan.half // self.plan.up + 1
        held = np.pad(self._held, [(0, 0)] * (self._held.ndim - 1) + [(0, missing)])
        last = (self.end * self.plan.up - 1) // self.plan.down
        self.end += missing
        return self._results(held, last, dtype)

    def _extended(self, chunk: Array) -> Array:
        held = self._held
        if held is None:
            held = np.zeros((*chunk.shape[:-1], self.plan.taps - 1))
        return np.concatenate((held, chunk), axis=-1, dtype=np.float64)

    def _results(self, held: Array, last: int, dtype: npt.DTypeLike) -> Array:
        """Results self.next to `last` from `held`, which ends at sample self.end; keeps what later ones need."""
        plan, start = self.plan, self.end - held.shape[-1]
        count = max(last + 1 - self.next, 0)
        out = np.empty((*held.shape[:-1], count), dtype)
        windows = np.lib.stride_tricks.sliding_window_view(held, plan.taps, axis=-1) if count else held
        for begin in range(0, count, BLOCK_SIZE):
            end = min(begin + BLOCK_SIZE, count)
            newest, phase = np.divmod(np.arange(self.next + begin, self.next + end) * plan.down + plan.half, plan.up)
            products = windows[..., newest - (plan.taps - 1) - start, :] * plan.phases[phase]
            out[..., begin:end] = products.sum(axis=-1)
        self.next += count
        needed = (self.next * plan.down + plan.half) // plan.up - (plan.taps - 1)
        self._held = held[..., max(needed - start, 0) :].copy()
        return out
