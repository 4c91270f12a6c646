"""Heart beats in one ECG lead: where the QRS complexes are, found as the signal comes.

Method: P. S. Hamilton, W. J. Tompkins, "Quantitative investigation of QRS detection rules using the MIT/BIH
arrhythmia database", IEEE Trans. Biomed. Eng. 33(12), 1986, and P. Hamilton, "Open source ECG analysis",
Computers in Cardiology 29, 2002: band-pass, slope, magnitude, moving mean; then rules on the peaks of that.

Theory of operation. `BeatFinder` turns samples into the mean magnitude of the band-passed slope, in hops of a
fixed length, so that it does the same arithmetic however the samples are cut into chunks, and picks its peaks.
`BeatRules` takes those one by one and knows no samples: it compares each with what recent beats and recent noise
looked like. Every length
is in seconds and every threshold is relative, so that neither the sampling rate nor the unit, gain or polarity
of the lead matters.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HOP_S = 0.05  # the slope is computed this much at a time
BAND_HZ = (8.0, 16.0)  # where QRS complexes stand out most from T waves, baseline wander and muscle
KERNEL_S = 0.25  # length of the band-pass
MEAN_S = 0.08  # the moving mean of the slope's magnitude: about the width of a QRS complex
BLANKING_S = 0.2  # of two peaks closer than this the smaller is ignored: no heart beats so fast
FIDUCIAL_S = 0.1  # the beat is put on the largest excursion this near to the peak of the slope
BASELINE_S = 0.2  # the excursion is measured from the median of the signal this near

HISTORY = 8  # beats, noise peaks and intervals that the thresholds remember
THRESHOLD = 0.3125  # where between noise and beats it lies
LEARNING_S = 3.0  # the first thresholds are those of the first so many seconds
T_WAVE_S = 0.36  # a peak this soon after a beat, of less than half its slope, is the T wave
SEARCH_BACK_INTERVALS = 1.5  # after so many mean intervals without a beat, half the threshold is enough
FORGETTING_S = 3.0  # without any beat, the memory of how large they were halves in this time
BEAT_TO_NOISE_MIN = 4.0  # but not to less than this much above the noise: an unplugged lead has no beats


@dataclass(frozen=True, slots=True)
class Beat:
    """A peak of the slope: its `height`, and `sample` and `amplitude` of the largest excursion from the baseline."""

    sample: int
    amplitude: float
    height: float


class BeatFinder:
    """Feed it the samples of one lead in chunks of any size, then `finish`; both return the beats found by it.

    A beat is returned at most `DELAY_S` after it happened; or, when it was too small to be sure of at first,
    `SEARCH_BACK_INTERVALS` median intervals (at most `FORGETTING_S`) after the beat before it; or, in the first
    `LEARNING_S`, at the end of those. Only after beats have become several times smaller is it later: each
    `FORGETTING_S` halves what they are compared with.
    """

    DELAY_S = KERNEL_S / 2 + MEAN_S / 2 + BLANKING_S + FIDUCIAL_S + 2 * HOP_S  # 0.565 s

    def __init__(self, rate_hz: float, start: int = 0) -> None:
        self._rate_hz = rate_hz
        self._kernel = slope_kernel(rate_hz)
        self._mean_size = self._size(MEAN_S) | 1  # odd, as the kernel: a centre that is a sample
        self._rules = BeatRules(rate_hz, start)
        self.restart(start)

    def restart(self, start: int) -> None:
        """The signal goes on at sample `start` after an interruption; call `finish` before. What was learned stays."""
        self.next_sample = start
        """The index of the sample after the newest one that was fed."""
        self._value = np.nan  # the newest
        self._unused = np.empty(0)  # less than a hop
        self._recent: Floats | None = None  # the newest samples that were used, `_recent_size` of them
        self._slope = np.zeros(self._mean_size - 1)  # its newest magnitudes
        self._feature = np.zeros(2)  # the newest mean magnitudes of the slope
        self._pending: tuple[int, float] | None = None  # the last peak: sample, height; a larger one may follow
        self._first = start
        self._used_to = start
        self._rules.restart(start)

    def feed(self, samples: Floats) -> list[Beat]:
        """`samples` float64[time], any length; what is not finite repeats the value before it (first: 0)."""
        if not len(samples):
            return []
        held = hold(samples, 0.0 if np.isnan(self._value) else self._value)
        self._value = float(held[-1])
        self.next_sample += len(held)
        return self._use(held)

    def finish(self) -> list[Beat]:
        """The beats in what was fed that were still waited with. Call `restart` to go on."""
        if self.next_sample == self._first:
            return []
        beats = self._use(np.full(self._size(self.DELAY_S + HOP_S), self._value))
        return beats + self._rules.finish(self.next_sample)

    def _use(self, samples: Floats) -> list[Beat]:
        waiting = np.concatenate([self._unused, samples])
        hop = self._size(HOP_S)
        beats: list[Beat] = []
        used = 0
        while len(waiting) - used >= hop:
            beats += self._hop(waiting[used : used + hop])
            used += hop
        self._unused = waiting[used:]
        return beats

    def _hop(self, samples: Floats) -> list[Beat]:
        if self._recent is None:
            # As if the first value had always been there: a start is no slope.
            self._recent = np.full(self._size(2 * self.DELAY_S + BASELINE_S), samples[0])
        self._recent = np.concatenate([self._recent[len(samples) :], samples])
        self._used_to += len(samples)
        window = self._recent[-(len(samples) + len(self._kernel) - 1) :]
        slope = np.convolve(window - window[0], self._kernel, "valid")  # a constant gives 0, and not its rounding
        self._slope = np.concatenate([self._slope[-(self._mean_size - 1) :], np.abs(slope)])
        mean = np.convolve(self._slope, np.full(self._mean_size, 1 / self._mean_size), "valid")
        self._feature = np.concatenate([self._feature[-2:], mean])
        return self._judge_peaks()

    def _judge_peaks(self) -> list[Beat]:
        left, middle, right = self._feature[:-2], self._feature[1:-1], self._feature[2:]
        # `middle` ends one before the newest; the newest feature is about a sample this far before the newest one.
        newest = self._used_to - 1 - (len(self._kernel) - 1) // 2 - (self._mean_size - 1) // 2
        first = newest - len(middle)
        beats: list[Beat] = []
        for index in np.flatnonzero((left < middle) & (middle >= right)):
            beats += self._follow(first + int(index), float(middle[index]))
        if self._pending is not None and newest - self._pending[0] > self._size(BLANKING_S):
            beats += self._rules.judge(self._beat_at(*self._pending))
            self._pending = None
        return beats + self._rules.advance(newest - self._size(BLANKING_S))

    def _follow(self, sample: int, height: float) -> list[Beat]:
        """A peak of the slope's mean; judged is the one before it, if that is far enough away."""
        if self._pending is not None and sample - self._pending[0] <= self._size(BLANKING_S):
            if height > self._pending[1]:
                self._pending = sample, height
            return []
        judged = [] if self._pending is None else self._rules.judge(self._beat_at(*self._pending))
        self._pending = sample, height
        return judged

    def _beat_at(self, sample: int, height: float) -> Beat:
        """The largest excursion near `sample`, which lies within the recent samples."""
        assert self._recent is not None
        at = len(self._recent) - (self._used_to - sample)
        baseline = float(np.median(self._recent[max(0, at - self._size(BASELINE_S)) : at + self._size(BASELINE_S)]))
        low = max(0, at - self._size(FIDUCIAL_S))
        near = self._recent[low : at + self._size(FIDUCIAL_S) + 1] - baseline
        index = int(np.argmax(np.abs(near)))
        found = min(max(sample + low - at + index, self._first), self.next_sample - 1)
        return Beat(found, float(near[index]), height)

    def _size(self, seconds: float) -> int:
        return max(1, round(seconds * self._rate_hz))


@dataclass(slots=True)
class BeatRules:
    """Peaks in order through `judge`, the time that has passed without one through `advance`: beats come back.

    Samples are counted at `rate_hz` from `start`. Times that are compared are whole numbers of samples.
    """

    rate_hz: float
    start: int = 0
    _heights: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))  # of the last beats
    _noise: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))  # of the last peaks that were none
    _intervals: deque[int] = field(default_factory=lambda: deque(maxlen=HISTORY))
    _last: Beat | None = None
    _since: int = 0  # the last beat, or the start
    _forgotten_at: int = 0
    _passed: deque[Beat] = field(default_factory=lambda: deque(maxlen=64))  # peaks since then that were no beat

    def restart(self, start: int) -> None:
        self.start = self._since = self._forgotten_at = start
        self._last = None
        self._passed.clear()

    def judge(self, peak: Beat) -> list[Beat]:
        if not self._heights:
            self._passed.append(peak)
            return []
        beats = self._search_back(peak.sample)
        if self._is_t_wave(peak):
            return beats
        if peak.height > self._threshold(1.0):
            return [*beats, self._accept(peak)]
        self._noise.append(peak.height)
        self._passed.append(peak)
        return beats

    def advance(self, now: int) -> list[Beat]:
        """Every peak up to sample `now` was judged."""
        if not self._heights:
            return self._learn(now) if now - self.start >= LEARNING_S * self.rate_hz else []
        if now - max(self._since, self._forgotten_at) >= FORGETTING_S * self.rate_hz:
            self._forget(now)
        return self._search_back(now)

    def finish(self, now: int) -> list[Beat]:
        return self._search_back(now) if self._heights else self._learn(now)

    def _learn(self, now: int) -> list[Beat]:
        """Take the median of the largest peaks of each second for beats, what is below half of it for noise."""
        tops: dict[int, float] = {}
        for peak in self._passed:
            second = int((peak.sample - self.start) / self.rate_hz)
            tops[second] = max(peak.height, tops.get(second, 0.0))
        height = median(tops.values()) if tops else 0.0
        peaks = list(self._passed)
        self.restart(now)
        if height > 0:
            self._heights.append(height)
            self._noise.extend(peak.height for peak in peaks if peak.height < height / 2)
            return [beat for peak in peaks for beat in self.judge(peak)]
        return []

    def _threshold(self, share: float) -> float:
        noise = median(self._noise) if self._noise else 0.0
        return noise + share * THRESHOLD * (median(self._heights) - noise)

    def _is_t_wave(self, peak: Beat) -> bool:
        last = self._last
        return (
            last is not None
            and peak.sample - last.sample < T_WAVE_S * self.rate_hz
            and peak.height < min(last.height, 2 * median(self._heights)) / 2
        )

    def _search_back(self, now: int) -> list[Beat]:
        """Beats that were too small at first, in a gap too long to have none."""
        beats = []
        while self._passed and now - self._since > self._patience():
            earliest = self._since + (0 if self._last is None else T_WAVE_S * self.rate_hz)
            best = max(self._passed, key=lambda peak: (peak.sample >= earliest, peak.height))
            if best.sample < earliest or best.height <= self._threshold(0.5):
                break
            beats.append(self._accept(best))
        return beats

    def _patience(self) -> float:
        interval = median(self._intervals) if self._intervals else self.rate_hz
        return min(SEARCH_BACK_INTERVALS * interval, FORGETTING_S * self.rate_hz)

    def _accept(self, beat: Beat) -> Beat:
        if self._last is not None:
            self._intervals.append(beat.sample - self._last.sample)
        self._heights.append(beat.height)
        self._last = beat
        self._since = beat.sample
        self._passed = deque((peak for peak in self._passed if peak.sample > beat.sample), self._passed.maxlen)
        return beat

    def _forget(self, now: int) -> None:
        """Beats may have become small: half of what was remembered, but no less than what noise could not be."""
        self._forgotten_at = now
        floor = BEAT_TO_NOISE_MIN * (median(self._noise) if self._noise else 0.0)
        if median(self._heights) > floor:
            kept = [max(height / 2, floor) for height in self._heights]
            self._heights.clear()
            self._heights.extend(kept)


def slope_kernel(rate_hz: float) -> Floats:
    """An odd number of taps float64: band-pass `BAND_HZ` (windowed sinc, Hamming), then the slope per second."""
    half = max(1, round(KERNEL_S / 2 * rate_hz))
    time = np.arange(-half, half + 1) / rate_hz
    low, high = BAND_HZ
    window = np.hamming(len(time))
    band = (2 * high * np.sinc(2 * high * time) - 2 * low * np.sinc(2 * low * time)) * window / rate_hz
    band -= window * band.sum() / window.sum()  # nothing of a constant passes
    return np.convolve(band, [rate_hz / 2, 0.0, -rate_hz / 2])


def hold(samples: Floats, before: float) -> Floats:
    """`samples` float64[time] with every value that is not finite replaced by the last finite one, first `before`."""
    finite = np.isfinite(samples)
    if finite.all():
        return samples
    extended = np.concatenate([[before], samples])
    newest = np.maximum.accumulate(np.where(np.concatenate([[True], finite]), np.arange(len(extended)), 0))
    return extended[newest][1:]
