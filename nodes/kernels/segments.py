"""Stretches of a probability stream in which something is heard, settled one chunk at a time.

The rule is that of Silero VAD's `get_speech_timestamps` (snakers4/silero-vad, `utils_vad.py`, MIT), which sees
the whole signal; here each segment is given out at the first chunk after which nothing that can still come
would change it. All positions are sample indices, `end` is exclusive.

Theory of operation. An open segment becomes *kept* once it is longer than `min_speech` wherever it ends. A
closed one waits until the next kept segment shows whether they share a gap, or until the gap is so wide that
none can reach into it. Where the silence that closes a segment is at least as long as two pads, as in Silero's
default settings, that is at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SegmentRule:
    """Probability `threshold` opens a segment; below `release` for `min_silence` samples closes it where that began.

    Segments of `min_speech` samples or less are dropped; the others grow by `pad` at both ends, and neighbours
    closer than two pads share the gap. Lengths are in samples; all but `chunk` need not be whole.
    """

    threshold: float
    release: float
    chunk: int
    min_silence: float
    min_speech: float
    pad: float


@dataclass(frozen=True, slots=True)
class Segment:
    start: int
    end: int


@dataclass(slots=True)
class Segmenter:
    """Feed it chunks in order with `hear`, then `finish`; both return the segments that are settled by it."""

    rule: SegmentRule
    heard_to: int | None = None  # the sample after the newest one heard
    _start: int | None = None  # of the open segment, without its pad
    _quiet_from: int | None = None  # where the open segment may turn out to have ended
    _kept_start: int | None = None  # of the open segment, with its pad, once it is certain to be kept
    _waiting: Segment | None = None  # closed and kept; its end has no pad yet
    _end_before: int | None = None  # end, without pad, of the last kept segment
    _settled: list[Segment] = field(default_factory=list)

    def hear(self, sample: int, probability: float, length: int) -> list[Segment]:
        """A chunk of which `length` samples are signal; `sample`, its first, is not before `heard_to`.

        What was skipped in between counts as chunks of silence. A probability of NaN is neither speech nor silence.
        """
        skipped_from = self.heard_to
        if skipped_from is not None and sample > skipped_from:
            self._advance(skipped_from, 0.0)
            self._advance(max(skipped_from, sample - self.rule.chunk), 0.0)
        self._advance(sample, probability)
        self.heard_to = sample + length
        self._keep_open_if_certain(self.heard_to)
        self._settle_if_alone(self.heard_to)
        return self._taken()

    def finish(self) -> list[Segment]:
        """The signal ended at `heard_to`. Afterwards the segmenter is as new."""
        if self.heard_to is not None:
            self._close(self.heard_to)
            self._settle(self.rule.pad, self.heard_to)
        self.heard_to = self._end_before = None
        return self._taken()

    def _advance(self, sample: int, probability: float) -> None:
        if probability >= self.rule.threshold:
            self._quiet_from = None
            if self._start is None:
                self._start = sample
        elif probability < self.rule.release and self._start is not None:
            if self._quiet_from is None:
                self._quiet_from = sample
            if sample - self._quiet_from >= self.rule.min_silence:
                self._close(self._quiet_from)

    def _keep_open_if_certain(self, heard_to: int) -> None:
        if self._start is not None:
            earliest_end = heard_to if self._quiet_from is None else self._quiet_from
            if earliest_end - self._start > self.rule.min_speech:
                self._keep(self._start)

    def _settle_if_alone(self, heard_to: int) -> None:
        nearest_start = heard_to if self._start is None else self._start
        if self._waiting is not None and nearest_start - self._waiting.end >= 2 * self.rule.pad:
            self._settle(self.rule.pad)

    def _keep(self, start: int) -> None:
        """The open segment will not be dropped: its start is final, and so is the end of the one before it."""
        if self._kept_start is not None:
            return
        gap = None if self._end_before is None else start - self._end_before
        share = self.rule.pad if gap is None or gap >= 2 * self.rule.pad else gap // 2
        self._kept_start = int(max(0, start - share))
        self._settle(share)

    def _close(self, end: int) -> None:
        if self._start is not None and end - self._start > self.rule.min_speech:
            self._keep(self._start)
            assert self._kept_start is not None
            self._waiting = Segment(self._kept_start, end)
            self._end_before = end
        self._start = self._quiet_from = self._kept_start = None

    def _settle(self, pad: float, limit: int | None = None) -> None:
        if self._waiting is not None:
            end = int(self._waiting.end + pad)
            self._settled.append(Segment(self._waiting.start, end if limit is None else min(end, limit)))
            self._waiting = None

    def _taken(self) -> list[Segment]:
        taken, self._settled = self._settled, []
        return taken
