"""Made-up sensors whose truth is known: each sends its signal, and on a second port `truth` what caused it.

Both carry the same event time and attributes, so a join by event time puts them side by side. The same seed
gives the same signal; it is paced like a recording, and without `duration_s` it never ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from nodes.kernels import synthetic as kernel
from streamflow import InputError, Node, Out

Array = np.ndarray[Any, Any]

ATTITUDE_SUBSTEPS = 8  # integration steps per sample; at 200 Hz the truth is then good to about 1e-7 rad


class _Synthetic(Node, ABC):
    """Samples at a fixed rate, some per message, for a while or for ever."""

    index_name = "sample"
    promises = False
    """Whether it says when its next message comes, so that no join waits for that: worth a message where it is slow."""

    def __init__(self, rate_hz: float, chunk: int, duration_s: float | None, seed: int) -> None:
        self._require(rate_hz > 0, f"rate_hz = {rate_hz:g}", "a rate above 0")
        self._require(chunk >= 1, f"chunk = {chunk}", "at least 1 sample per message")
        self._require(duration_s is None or duration_s > 0, f"duration_s = {duration_s}", "more than 0 s, or None")
        self.rate_hz = rate_hz
        self.chunk = chunk
        self.sample_limit = None if duration_s is None else round(duration_s * rate_hz)
        self.random = np.random.default_rng(seed)

    @abstractmethod
    def make(self, time_s: Array) -> tuple[Array, Mapping[str, Array]]:
        """The signal at these instants and the tensors of `truth`; called for each stretch of time in turn."""

    async def run(self) -> None:
        first = 0
        while self.sample_limit is None or first < self.sample_limit:
            time_s = np.arange(first, first + self.chunk) / self.rate_hz
            signal, truth = self.make(time_s)
            newest_s = float(time_s[-1])
            facts: dict[str, Any] = {self.index_name: first, "time_s": newest_s}
            if self.sample_limit is not None and self.sample_limit - first < self.chunk:
                facts["valid"] = self.sample_limit - first
            event_time_ns = await self.pace(round(newest_s * 1e9))
            await self.emit({"signal": signal, "truth": truth}, event_time_ns=event_time_ns, **facts)
            if self.promises:
                await self._promise(event_time_ns, newest_s)
            first += self.chunk

    async def _promise(self, event_time_ns: int, newest_s: float) -> None:
        """Nothing comes for a period, whatever the speed makes of it: the instant a period ago is due at once."""
        before_ns = await self.pace(round((newest_s - self.chunk / self.rate_hz) * 1e9))
        self.advance(2 * event_time_ns - before_ns - 1)  # either end of the period is rounded

    def _require(self, holds: bool, found: str, expected: str) -> None:
        if not holds:
            raise InputError(type(self).__name__, found, expected)

    def _noise(self, shape: tuple[int, ...], deviation: float) -> Array:
        return self.random.normal(0.0, deviation, shape) if deviation else np.zeros(shape)


class _Oscillation(_Synthetic):
    """`signal` float32[chunk] is amplitude · sin(phase) + noise; `truth`: phase (rad, 0 to 2π) and frequency (Hz)."""

    def __init__(
        self,
        rate_hz: float,
        chunk: int,
        amplitude: float,
        noise: float,
        duration_s: float | None,
        seed: int,
        highest_hz: float,
    ) -> None:
        super().__init__(rate_hz, chunk, duration_s, seed)
        self._require(noise >= 0, f"noise = {noise:g}", "a standard deviation of 0 or more")
        self._require(
            0 < highest_hz <= rate_hz / 2,
            f"a frequency of {highest_hz:g} Hz",
            f"one above 0 and up to {rate_hz / 2:g} Hz, half of rate_hz",
        )
        self.amplitude = amplitude
        self.noise = noise
        self.signal = Out(f"float32[{chunk}]", rate_hz=rate_hz)
        self.truth = Out(phase=f"float64[{chunk}]", frequency_hz=f"float64[{chunk}]", rate_hz=rate_hz)

    @abstractmethod
    def phase_and_frequency(self, time_s: Array) -> tuple[Array, Array]:
        """Phase (rad, unwrapped) and frequency (Hz) at these instants."""

    def make(self, time_s: Array) -> tuple[Array, Mapping[str, Array]]:
        phase, frequency_hz = self.phase_and_frequency(time_s)
        signal = self.amplitude * np.sin(phase) + self._noise(phase.shape, self.noise)
        return signal.astype(np.float32), {"phase": np.mod(phase, kernel.TAU), "frequency_hz": frequency_hz}


class Tone(_Oscillation):
    """A steady sine, such as a tuning fork before a microphone."""

    def __init__(
        self,
        frequency_hz: float = 440.0,
        rate_hz: float = 16000.0,
        chunk: int = 512,
        amplitude: float = 1.0,
        noise: float = 0.0,
        duration_s: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(rate_hz, chunk, amplitude, noise, duration_s, seed, frequency_hz)
        self.frequency_hz = frequency_hz

    def phase_and_frequency(self, time_s: Array) -> tuple[Array, Array]:
        return kernel.tone(time_s, self.frequency_hz)


class Chirp(_Oscillation):
    """A sine that glides from `start_hz` to `end_hz` within `sweep_s`, again and again, its phase unbroken."""

    def __init__(
        self,
        start_hz: float = 100.0,
        end_hz: float = 4000.0,
        sweep_s: float = 2.0,
        rate_hz: float = 16000.0,
        chunk: int = 512,
        amplitude: float = 1.0,
        noise: float = 0.0,
        duration_s: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(rate_hz, chunk, amplitude, noise, duration_s, seed, max(start_hz, end_hz))
        self._require(min(start_hz, end_hz) >= 0, f"a frequency of {min(start_hz, end_hz):g} Hz", "0 Hz or more")
        self._require(sweep_s > 0, f"sweep_s = {sweep_s:g}", "more than 0 s")
        self.start_hz = start_hz
        self.end_hz = end_hz
        self.sweep_s = sweep_s

    def phase_and_frequency(self, time_s: Array) -> tuple[Array, Array]:
        return kernel.chirp(time_s, self.start_hz, self.end_hz, self.sweep_s)


class Talk(_Synthetic):
    """A voice before a microphone, as plain as can be: a hum for `speech_s`, a pause of `pause_s`, and so on.

    `signal` float32[chunk]; `truth`: `speaking` bool[chunk].
    """

    def __init__(
        self,
        speech_s: float = 0.8,
        pause_s: float = 0.6,
        frequency_hz: float = 180.0,
        rate_hz: float = 16000.0,
        chunk: int = 512,
        amplitude: float = 0.5,
        noise: float = 0.005,
        duration_s: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(rate_hz, chunk, duration_s, seed)
        self._require(speech_s > 0 and pause_s >= 0, f"speech of {speech_s:g} s, {pause_s:g} s apart", "0 s or more")
        self._require(noise >= 0, f"noise = {noise:g}", "a standard deviation of 0 or more")
        self.speech_s = speech_s
        self.pause_s = pause_s
        self.frequency_hz = frequency_hz
        self.amplitude = amplitude
        self.noise = noise
        self.signal = Out(f"float32[{chunk}]", rate_hz=rate_hz)
        self.truth = Out(speaking=f"bool[{chunk}]", rate_hz=rate_hz)

    def make(self, time_s: Array) -> tuple[Array, Mapping[str, Array]]:
        speaking = kernel.is_on(time_s, self.speech_s, self.pause_s)
        phase, _ = kernel.tone(time_s, self.frequency_hz)
        signal = np.where(speaking, self.amplitude * np.sin(phase), 0.0) + self._noise(phase.shape, self.noise)
        return signal.astype(np.float32), {"speaking": speaking}


class Thermometer(_Synthetic):
    """The temperature of a room that warms and cools slowly: mean + swing · sin(2π t / period), t in recorded seconds.

    `signal` float32[chunk] in °C, with noise; `truth`: `celsius` and `per_minute`, its rate of change, float64[chunk].
    It says when its next reading comes: a join by event time does not wait for that.
    """

    promises = True

    def __init__(
        self,
        mean: float = 21.0,
        swing: float = 1.5,
        period_s: float = 600.0,
        rate_hz: float = 1.0,
        chunk: int = 1,
        noise: float = 0.0,
        duration_s: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(rate_hz, chunk, duration_s, seed)
        self._require(period_s > 0, f"period_s = {period_s:g}", "more than 0 s")
        self._require(noise >= 0, f"noise = {noise:g}", "a standard deviation of 0 or more")
        self.mean = mean
        self.swing = swing
        self.period_s = period_s
        self.noise = noise
        self.signal = Out(f"float32[{chunk}]", rate_hz=rate_hz)
        self.truth = Out(celsius=f"float64[{chunk}]", per_minute=f"float64[{chunk}]", rate_hz=rate_hz)

    def make(self, time_s: Array) -> tuple[Array, Mapping[str, Array]]:
        phase, _ = kernel.tone(time_s, 1 / self.period_s)
        celsius = self.mean + self.swing * np.sin(phase)
        per_minute = 60 * self.swing * kernel.TAU / self.period_s * np.cos(phase)
        signal = celsius + self._noise(phase.shape, self.noise)
        return signal.astype(np.float32), {"celsius": celsius, "per_minute": per_minute}


class ImuMotion(_Synthetic):
    """An inertial sensor that is swung about smoothly without being carried away.

    `signal` float32[chunk, 6]: accelerometer x y z (m/s², +g on z when it lies flat), gyroscope x y z (rad/s).
    `truth`: `attitude` float64[chunk, 4], the unit quaternion w x y z that turns body vectors into earth vectors
    (z up), identity at time 0; `rate_rad_s` float64[chunk, 3], the angular velocity without noise.
    """

    def __init__(
        self,
        rate_hz: float = 200.0,
        chunk: int = 1,
        peak_rad_s: float = 2.0,
        accelerometer_noise: float = 0.05,
        gyroscope_noise: float = 0.002,
        duration_s: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(rate_hz, chunk, duration_s, seed)
        self._require(peak_rad_s >= 0, f"peak_rad_s = {peak_rad_s:g}", "0 rad/s or more")
        quietest = min(accelerometer_noise, gyroscope_noise)
        self._require(quietest >= 0, f"a noise of {quietest:g}", "a standard deviation of 0 or more")
        self.swing = kernel.random_swing(seed, peak_rad_s=peak_rad_s)
        self.accelerometer_noise = accelerometer_noise
        self.gyroscope_noise = gyroscope_noise
        self.signal = Out(f"float32[{chunk}, 6]", rate_hz=rate_hz)
        self.truth = Out(attitude=f"float64[{chunk}, 4]", rate_rad_s=f"float64[{chunk}, 3]", rate_hz=rate_hz)
        self._attitude = np.array([1.0, 0.0, 0.0, 0.0])
        self._steps = 0

    def make(self, time_s: Array) -> tuple[Array, Mapping[str, Array]]:
        attitude = self._attitude_at(len(time_s))
        rate = self.swing.rate_rad_s(time_s)
        force = kernel.gravity_in_body(attitude) + self._noise(rate.shape, self.accelerometer_noise)
        turning = rate + self._noise(rate.shape, self.gyroscope_noise)
        signal = np.concatenate([force, turning], axis=1).astype(np.float32)
        return signal, {"attitude": attitude, "rate_rad_s": rate}

    def _attitude_at(self, count: int) -> Array:
        """Attitude at the next `count` samples; keeps the one a sample further on, where the next call starts."""
        step_s = 1.0 / (self.rate_hz * ATTITUDE_SUBSTEPS)
        steps = self._steps + np.arange(count * ATTITUDE_SUBSTEPS)
        path = kernel.integrate_attitude(self._attitude, self.swing.rate_rad_s((steps + 0.5) * step_s), step_s)
        after = path[ATTITUDE_SUBSTEPS - 1 :: ATTITUDE_SUBSTEPS]
        here = np.concatenate([self._attitude[None], after[:-1]])
        self._attitude = after[-1]
        self._steps += count * ATTITUDE_SUBSTEPS
        return here


class MovingShapes(_Synthetic):
    """A camera's view of coloured rectangles and ellipses that drift and bounce off the edges.

    `signal` uint8[height, width, 3] in BGR. `truth`: `boxes` float32[count, 4], x1 y1 x2 y2 in pixels of each whole
    shape, also where another covers it; `kind` int64[count], 0 rectangle, 1 ellipse, in the order of drawing.
    """

    index_name = "frame"

    def __init__(
        self,
        width: int = 320,
        height: int = 240,
        count: int = 3,
        rate_hz: float = 30.0,
        duration_s: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(rate_hz, 1, duration_s, seed)
        self._require(min(width, height) >= 8, f"a frame of {width} x {height}", "at least 8 x 8 pixels")
        self._require(count >= 0, f"count = {count}", "0 shapes or more")
        self.width = width
        self.height = height
        self.scene = kernel.random_scene(seed, count, width, height)
        self.signal = Out(f"uint8[{height}, {width}, 3]", rate_hz=rate_hz)
        self.truth = Out(boxes=f"float32[{count}, 4]", kind=f"int64[{count}]", rate_hz=rate_hz)

    def make(self, time_s: Array) -> tuple[Array, Mapping[str, Array]]:
        boxes = kernel.boxes_at(self.scene, float(time_s[0]), self.width, self.height)
        return kernel.draw(self.scene, boxes, self.width, self.height), {"boxes": boxes, "kind": self.scene.kind}
