"""Samples of an ECG in, one message a heart beat out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nodes.kernels.beats import Beat, BeatFinder
from streamflow import In, InputError, Message, Node, Out

RATE_HZ_MIN = 100  # QRS complexes reach to 40 Hz


def _check_rate(rate_hz: float) -> None:
    if not rate_hz >= RATE_HZ_MIN:
        raise InputError("BeatDetector rate_hz", f"{rate_hz:g}", f"{RATE_HZ_MIN} or more")


class BeatDetector(Node):
    """QRS complexes of one ECG lead, found as the samples come, in chunks of any size: the cuts change nothing.

    Input: [channels, time] at `rate_hz` (100 Hz or more; None is the rate that the signal's source tells), in any
    unit, gain and polarity; `lead` is the channel.
    Output, one message a beat: `sample` int64, of the largest excursion in the complex (the R wave); `time_s`
    float64, sample / rate_hz; `amplitude` float32, of that excursion from the baseline, in the unit of the input
    and with its sign; `rr_s` float64, since the beat before it, NaN for the first.

    Delay: 0.57 s and one chunk at most, for nearly all beats. The first 3 s are learned from, and their beats
    come at the end of them; a beat much smaller than those before it comes when 1.5 usual intervals, at most
    3 s, have passed without one. Nothing found is ever taken back. The rules are those of Hamilton and Tompkins
    (see `nodes.kernels.beats`); a signal of noise alone gives false beats, as it does there.

    The attribute `sample` says where a chunk begins (without it, samples are counted) and `valid` how many of
    its samples are signal. At a jump the signal is taken as interrupted: no beat is put into the gap, no interval
    reaches over it, and what was learned is kept. A value that is not finite repeats the one before it.
    """

    beats = Out(sample="int64[]", time_s="float64[]", amplitude="float32[]", rr_s="float64[]")

    def __init__(self, rate_hz: float | None = None, lead: int = 0) -> None:
        if rate_hz is not None:
            _check_rate(rate_hz)
        if lead < 0:
            raise InputError("BeatDetector lead", str(lead), "the index of a channel, from 0")
        self._given_rate_hz = rate_hz
        self._rate_hz = 0.0
        self._lead = lead
        self.signal = In("float32|float64[channels, time]", rate_hz=rate_hz)
        self._finder: BeatFinder | None = None
        self._beat_before: int | None = None

    def open(self) -> None:
        rate_hz = self._given_rate_hz or self.context.rate_hz("signal")
        if rate_hz is None:
            hint = "BeatDetector(rate_hz=...)"
            raise InputError("BeatDetector", "a signal of unknown sampling rate", "one that its source tells", hint)
        _check_rate(rate_hz)
        self._rate_hz = rate_hz

    def process(self, message: Message) -> Iterator[dict[str, Any]]:
        signal = np.asarray(message.array)
        if self._lead >= len(signal):
            raise InputError("BeatDetector lead", str(self._lead), f"below the {len(signal)} channels that arrive")
        expected = 0 if self._finder is None else self._finder.next_sample
        sample = int(message.attributes.get("sample", expected))
        if self._finder is None:
            self._finder = BeatFinder(self._rate_hz, sample)
        elif sample != expected:
            yield from self._results(self._finder.finish())
            self._finder.restart(sample)
            self._beat_before = None
        valid = int(message.attributes.get("valid", signal.shape[1]))
        yield from self._results(self._finder.feed(signal[self._lead, :valid].astype(np.float64)))

    def flush(self) -> Iterator[dict[str, Any]]:
        return self._results([] if self._finder is None else self._finder.finish())

    def _results(self, beats: list[Beat]) -> Iterator[dict[str, Any]]:
        for beat in beats:
            interval = np.nan if self._beat_before is None else (beat.sample - self._beat_before) / self._rate_hz
            self._beat_before = beat.sample
            yield {
                "sample": np.int64(beat.sample),
                "time_s": np.float64(beat.sample / self._rate_hz),
                "amplitude": np.float32(beat.amplitude),
                "rr_s": np.float64(interval),
            }
