"""Sounds that only a memory tells apart: within one chunk a chirp is a tone, and whether it rises or falls is not seen.

A signal is a row of sounds, each of some seconds, one after the other; it follows from its seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from nodes.kernels.synthetic import TAU, chirp

Array = np.ndarray[Any, Any]

RATE_HZ, CHUNK = 8000.0, 256  # 32 ms, in which a chirp moves by a line of the spectrum or two
SOUNDS: Final = ("noise", "tone", "rising", "falling")
LOWEST_HZ, HIGHEST_HZ = 300.0, 3700.0
SWEEP_HZ = (800.0, 2000.0)
"""How far a chirp goes, at least and at most."""
LENGTH_S = (0.8, 1.6)
NOISE = 0.05
"""Of the sensor, a standard deviation."""


@dataclass(frozen=True, slots=True)
class Sound:
    kind: int
    """Its index in SOUNDS."""
    size: int
    """In samples."""
    start_hz: float
    end_hz: float
    amplitude: float


def random_sound(random: np.random.Generator, rate_hz: float, chunk: int) -> Sound:
    """Of whole chunks."""
    kind = int(random.integers(len(SOUNDS)))
    size = round(random.uniform(*LENGTH_S) * rate_hz / chunk) * chunk
    sweep_hz = random.uniform(*SWEEP_HZ)
    low_hz = random.uniform(LOWEST_HZ, HIGHEST_HZ - sweep_hz)
    ends = {"rising": (low_hz, low_hz + sweep_hz), "falling": (low_hz + sweep_hz, low_hz)}
    steady_hz = random.uniform(LOWEST_HZ, HIGHEST_HZ)
    start_hz, end_hz = ends.get(SOUNDS[kind], (steady_hz, steady_hz))
    return Sound(kind, size, start_hz, end_hz, random.uniform(0.3, 1.0))


def chunks(seed: int | tuple[int, ...], rate_hz: float, chunk: int) -> Iterator[tuple[Array, int, int]]:
    """For ever: float32[chunk], the index of its sound in SOUNDS, and how many chunks of that were before it."""
    random = np.random.default_rng(seed)
    while True:
        sound = random_sound(random, rate_hz, chunk)
        if SOUNDS[sound.kind] == "noise":
            samples = random.normal(0.0, 0.5 * sound.amplitude, sound.size)
        else:
            time_s = np.arange(sound.size) / rate_hz
            phase, _ = chirp(time_s, sound.start_hz, sound.end_hz, sound.size / rate_hz)
            samples = sound.amplitude * np.sin(phase + random.uniform(0.0, TAU))
        samples = (samples + random.normal(0.0, NOISE, sound.size)).astype(np.float32)
        for nth, one in enumerate(samples.reshape(-1, chunk)):
            yield one, sound.kind, nth
