"""When a sample inside a chunk was taken: between the event times of chunks that follow each other."""

from __future__ import annotations

from streamflow import Message
from streamflow.core.message import Attribute


class SampleTime:
    """Event times of single samples of one stream.

    A chunk that directly follows another has its samples spread evenly between the two event times, which is
    right at any `--speed`; the first chunk, and one behind a gap, goes by the port's rate. With neither, all
    samples of a chunk have its event time.
    """

    def __init__(self, rate_hz: float | None) -> None:
        self._rate_hz = rate_hz
        self._newest: Message | None = None
        self._period_ns = 1e9 / rate_hz if rate_hz else 0.0

    def saw(self, message: Message, sample_count: int, *, follows: bool) -> None:
        """`message` came with `sample_count` new samples; `follows`: nothing is missing before it."""
        if follows and self._newest is not None and sample_count:
            self._period_ns = (message.event_time_ns - self._newest.event_time_ns) / sample_count
        elif self._rate_hz:
            self._period_ns = 1e9 / self._rate_hz
        self._newest = message

    def before_newest(self, sample_count: float) -> tuple[int, dict[str, Attribute]]:
        """Event time, and the attribute `time_s` if there is one, so many samples before the newest one seen."""
        assert self._newest is not None  # `saw` comes first
        event_time_ns = self._newest.event_time_ns - round(sample_count * self._period_ns)
        time_s = self._newest.attributes.get("time_s")
        if not sample_count or not isinstance(time_s, int | float):
            return event_time_ns, {}
        period_s = 1.0 / self._rate_hz if self._rate_hz else self._period_ns * 1e-9
        return event_time_ns, {"time_s": time_s - sample_count * period_s}


def real_samples(message: Message, present: int) -> int:
    """How many samples of a chunk are real: the attribute `valid` says so where a source padded its last one."""
    valid = message.attributes.get("valid")
    return min(int(valid), present) if isinstance(valid, int) else present


def first_sample(message: Message) -> int | None:
    """The index in the recording of a chunk's first sample, where its source numbers them."""
    sample = message.attributes.get("sample")
    return sample if isinstance(sample, int) else None
