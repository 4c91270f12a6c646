"""Signals whose truth is known in closed form, or by an integration far finer than any sensor's error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

GRAVITY_M_S2 = 9.80665  # standard gravity, CGPM 1901
TAU = 2.0 * np.pi


# ------------------------------------------------------------------------------------------------ oscillations


def tone(time_s: Array, frequency_hz: float) -> tuple[Array, Array]:
    """Phase (rad, from 0, not wrapped) and frequency (Hz) of a steady tone; float64[time] in and out."""
    return TAU * frequency_hz * time_s, np.full_like(time_s, frequency_hz)


def chirp(time_s: Array, start_hz: float, end_hz: float, sweep_s: float) -> tuple[Array, Array]:
    """Phase (rad, continuous) and frequency (Hz) of a linear sweep that starts anew every `sweep_s`.

    Within a sweep f(t) = start + (end - start) t / T; the phase is its integral, 2π (start t + (end - start) t² / 2T).
    """
    sweeps = np.floor(time_s / sweep_s)
    within = time_s - sweeps * sweep_s
    slope = (end_hz - start_hz) / sweep_s
    cycles_of_a_sweep = 0.5 * (start_hz + end_hz) * sweep_s
    cycles = sweeps * cycles_of_a_sweep + start_hz * within + 0.5 * slope * within**2
    return TAU * cycles, start_hz + slope * within


def is_on(time_s: Array, on_s: float, off_s: float) -> Array:
    """bool[time]: on for `on_s` from time 0, off for `off_s`, and so on."""
    return np.mod(time_s, on_s + off_s) < on_s


# ---------------------------------------------------------------------------------------------------- attitude


@dataclass(frozen=True, slots=True)
class Swing:
    """A smooth angular velocity: per body axis a sum of sines. float64[terms, 3] each: rad/s, Hz, rad."""

    amplitude_rad_s: Array
    frequency_hz: Array
    phase_rad: Array

    def rate_rad_s(self, time_s: Array) -> Array:
        """Angular velocity in the body frame, float64[time, 3]."""
        angles = TAU * self.frequency_hz * time_s[:, None, None] + self.phase_rad
        return np.asarray((self.amplitude_rad_s * np.sin(angles)).sum(axis=1))


def random_swing(seed: int, *, terms: int = 3, peak_rad_s: float = 2.0) -> Swing:
    """A motion between 0.1 and 1.5 Hz whose rate about any axis never exceeds `peak_rad_s`."""
    random = np.random.default_rng(seed)
    weights = random.uniform(0.5, 1.0, (terms, 3))
    return Swing(
        peak_rad_s * weights / weights.sum(axis=0),
        random.uniform(0.1, 1.5, (terms, 3)),
        random.uniform(0.0, TAU, (terms, 3)),
    )


def integrate_attitude(start: Array, rate_rad_s: Array, step_s: float) -> Array:
    """Attitude after each step, float64[steps, 4], from the body-frame angular velocity amid each, float64[steps, 3].

    Quaternions are w x y z, unit, and turn body vectors into earth vectors. Each step is the exact rotation at
    the mid-point rate, q ⊗ exp(ω Δt / 2): second order (Solà, Quaternion kinematics, 2017, midward integration).
    """
    half = 0.5 * step_s * rate_rad_s
    angle = np.linalg.norm(half, axis=1, keepdims=True)
    turns = np.concatenate([np.cos(angle), half * np.sinc(angle / np.pi)], axis=1)
    path = np.empty((len(turns), 4))
    attitude = start
    for i, turn in enumerate(turns):
        attitude = multiply(attitude, turn)
        attitude = attitude / np.sqrt(attitude @ attitude)
        path[i] = attitude
    return path


def multiply(left: Array, right: Array) -> Array:
    """Hamilton product of two quaternions w x y z, float64[4]."""
    a, b, c, d = left
    e, f, g, h = right
    return np.array(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


def gravity_in_body(attitude: Array) -> Array:
    """What an accelerometer at rest reads, R(q)ᵀ (0, 0, g), in m/s²: float64[n, 4] gives float64[n, 3].

    Earth's z points up; the reading is specific force, so a sensor that lies flat reads +g on z.
    """
    w, x, y, z = attitude.T
    return GRAVITY_M_S2 * np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], axis=1)


# ------------------------------------------------------------------------------------------------------ shapes

RECTANGLE, ELLIPSE = 0, 1


@dataclass(frozen=True, slots=True)
class Scene:
    """Shapes that drift straight and bounce off the frame's edges; lengths in pixels, one row per shape."""

    size: Array  # float64[n, 2], width and height
    start: Array  # float64[n, 2], of the top left corner
    speed: Array  # float64[n, 2], pixels/s
    kind: Array  # int64[n], RECTANGLE or ELLIPSE
    colour: Array  # uint8[n, 3], BGR


def random_scene(seed: int, count: int, width: int, height: int) -> Scene:
    """`count` shapes of a tenth to a third of the frame, each crossing it in two to ten seconds."""
    random = np.random.default_rng(seed)
    frame = np.array([width, height], dtype=np.float64)
    size = np.maximum(random.uniform(0.1, 0.33, (count, 2)) * frame, 1.0)
    direction = random.choice([-1.0, 1.0], (count, 2))
    return Scene(
        size,
        random.uniform(0.0, 1.0, (count, 2)) * (frame - size),
        direction * random.uniform(0.1, 0.5, (count, 2)) * frame,
        random.integers(0, 2, count),
        random.integers(64, 256, (count, 3)).astype(np.uint8),
    )


def boxes_at(scene: Scene, time_s: float, width: int, height: int) -> Array:
    """Where the shapes are: float32[n, 4], x1 y1 x2 y2 in pixels, always within the frame.

    Bouncing is a triangle wave of the free path, so any instant is found without the ones before it.
    """
    span = np.array([width, height]) - scene.size
    period = np.maximum(2.0 * span, 1e-9)
    free = np.mod(scene.start + scene.speed * time_s, period)
    corner = np.clip(np.where(free > span, period - free, free), 0.0, np.maximum(span, 0.0))
    return np.concatenate([corner, corner + scene.size], axis=1).astype(np.float32)


def draw(scene: Scene, boxes: Array, width: int, height: int) -> Array:
    """The frame, uint8[height, width, 3] in BGR: every pixel whose centre lies in a shape; later ones cover earlier."""
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    for (x1, y1, x2, y2), kind, colour in zip(boxes, scene.kind, scene.colour, strict=True):
        left, right = np.ceil([x1 - 0.5, x2 - 0.5]).astype(int)
        top, bottom = np.ceil([y1 - 0.5, y2 - 0.5]).astype(int)
        patch = frame[top:bottom, left:right]
        if kind == RECTANGLE:
            patch[...] = colour
            continue
        across = (np.arange(left, right) + 0.5 - (x1 + x2) / 2) / ((x2 - x1) / 2)
        down = (np.arange(top, bottom) + 0.5 - (y1 + y2) / 2) / ((y2 - y1) / 2)
        patch[across**2 + down[:, None] ** 2 <= 1.0] = colour
    return frame
