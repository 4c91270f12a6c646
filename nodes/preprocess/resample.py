"""From one sampling rate to another without aliases, as the samples come."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nodes.kernels.filters import Resampler, Resampling, design, nearest_ratio
from nodes.kernels.streams import PerStream
from nodes.preprocess.cutting import dimensions
from nodes.preprocess.sample_time import SampleTime, first_sample, real_samples
from streamflow import In, InputError, Message, Node, Out, Output
from streamflow.core.message import Attribute

EXACT = 1e-9  # a rate that is met this closely is the one that was asked for: 30 ms in a year


class Resample(Node):
    """float[..., time] at `rate_in_hz` → the same at `rate_out_hz`, with a linear-phase anti-alias filter.

    It passes up to `passband` of the lower of the two Nyquist frequencies and stops from there on, by
    `attenuation_db`. A ratio with terms above 4096 is rounded to the nearest, and the port carries the rate
    that results. N samples give ceil(N · out / in); the first result stands exactly at the first sample. A
    result comes `delay_s` after its place in the signal, when the filter has seen what follows; its event time
    is that of its place. Chunk boundaries change no bit. Behind a gap in `sample` the signal starts afresh, and
    the first result there has the attribute `gap`, the number of results missing.
    """

    retimes = True

    def __init__(
        self,
        rate_in_hz: float,
        rate_out_hz: float,
        *,
        axis: int = -1,
        passband: float = 0.8,
        attenuation_db: float = 80.0,
    ) -> None:
        for name, rate in (("rate_in_hz", rate_in_hz), ("rate_out_hz", rate_out_hz)):
            if not (math.isfinite(rate) and rate > 0):
                raise InputError(f"Resample({name})", f"{rate:g}", "a rate above 0 Hz")
        if not 0.1 <= passband <= 0.99:
            raise InputError("Resample(passband)", f"{passband:g}", "0.1 to 0.99 of the lower Nyquist frequency")
        if not 30.0 <= attenuation_db <= 160.0:
            raise InputError("Resample(attenuation_db)", f"{attenuation_db:g}", "30 to 160 dB")
        try:
            self.ratio = nearest_ratio(rate_in_hz, rate_out_hz)
        except ValueError as error:
            raise InputError("Resample", f"{rate_in_hz:g} to {rate_out_hz:g} Hz", str(error)) from None
        reached_hz = float(self.ratio) * rate_in_hz
        if abs(reached_hz / rate_out_hz - 1.0) < EXACT:
            reached_hz = rate_out_hz
        self.axis = axis
        self.rate_in_hz = float(rate_in_hz)
        self.rate_out_hz = float(reached_hz)
        self._band = (passband, attenuation_db)
        self.samples = In(f"float32|float64[{dimensions(axis, 'time')}]", rate_hz=rate_in_hz)
        self.resampled = Out(f"float32|float64[{dimensions(axis, 'resampled')}]", rate_hz=reached_hz)

    def open(self) -> None:
        self._plan = design(self.ratio, *self._band)
        self._streams = PerStream(lambda: _Stream(self._plan, self.rate_in_hz))

    @property
    def delay_s(self) -> float:
        """How much signal behind a result's place the filter looks at; known once open."""
        return self._plan.half / self._plan.up / self.rate_in_hz

    def process(self, message: Message) -> list[Output]:
        stream = self._streams[message.stream]
        signal = np.moveaxis(message.array, self.axis, -1)
        signal = signal[..., : real_samples(message, signal.shape[-1])]
        sample = first_sample(message)
        results = []
        if sample is not None and sample != stream.end:
            results += self._outputs(stream, stream.flush())
            stream.restart(sample)
        stream.saw(message, signal.shape[-1])
        return results + self._outputs(stream, stream.resampler.push(signal))

    def flush(self) -> list[Output]:
        tails = [(name, self._streams[name]) for name in self._streams]
        return [replace(output, stream=name) for name, own in tails for output in self._outputs(own, own.flush())]

    def _outputs(self, stream: _Stream, results: npt.NDArray[Any] | None) -> list[Output]:
        if results is None or not results.shape[-1]:
            return []
        newest = stream.resampler.next - 1
        event_time_ns, attributes = stream.time.before_newest(stream.end - 1 - self._plan.source(newest))
        attributes["sample"] = newest + 1 - results.shape[-1]
        if stream.gap or "gap" in stream.inherited:
            attributes["gap"] = stream.gap
        if "valid" in stream.inherited:
            attributes["valid"] = results.shape[-1]
        stream.gap = 0
        return [Output(np.moveaxis(results, -1, self.axis), event_time_ns=event_time_ns, attributes=attributes)]


class _Stream:
    """One stream's filter and clock."""

    def __init__(self, plan: Resampling, rate_hz: float) -> None:
        self.resampler = Resampler(plan)
        self.time = SampleTime(rate_hz)
        self.end = 0  # index of the next input sample
        self.gap = 0
        self.inherited: dict[str, Attribute] = {}
        self._dtype = np.dtype(np.float32)
        self._follows = False

    def saw(self, message: Message, count: int) -> None:
        self.time.saw(message, count, follows=self._follows)
        self.end += count
        self.inherited = dict(message.attributes)
        self._dtype = message.array.dtype
        self._follows = True

    def flush(self) -> npt.NDArray[Any] | None:
        return self.resampler.flush(self._dtype)

    def restart(self, sample: int) -> None:
        plan = self.resampler.plan
        if self._follows:
            self.gap += plan.first_at(sample) - plan.first_at(self.end)
        self.resampler = Resampler(plan, sample)
        self.end = sample
        self._follows = False
