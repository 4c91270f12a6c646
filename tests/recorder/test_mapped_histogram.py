"""A histogram in a file counts as the core's does."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamflow.core.statistics import Histogram, bucket_index
from streamflow.recorder.layout import BUCKET_COUNT, VALUE_LIMIT
from streamflow.recorder.reader import Recording
from streamflow.recorder.shape import Shape
from streamflow.recorder.writer import Recorder

SHAPE = Shape(stage="a", stage_index=0, ring_capacity=2)
DURATIONS = st.lists(st.one_of(st.integers(-5, 300), st.integers(0, VALUE_LIMIT - 1)), max_size=50)


def mapped(values: list[int]) -> Histogram:
    recorder = Recorder.in_memory(SHAPE)
    for value in values:
        recorder.service.record(value)
    return Recording.over(recorder.buffer).histogram("service")


def direct(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def parts(histogram: Histogram) -> tuple[object, ...]:
    return histogram.count, histogram.min, histogram.max, histogram.sum, histogram.counts


@given(DURATIONS)
@example([0])
@example([127, 128])
@example([VALUE_LIMIT - 1, 0])
@settings(max_examples=60)
def test_it_equals_the_core_histogram_of_the_same_values(values: list[int]) -> None:
    assert parts(mapped(values)) == parts(direct(values))


@given(DURATIONS, DURATIONS)
@settings(max_examples=60)
def test_merging_two_gives_the_histogram_of_the_union(first: list[int], second: list[int]) -> None:
    merged = mapped(first)
    merged.merge(mapped(second))
    assert parts(merged) == parts(mapped(first + second))


@given(st.integers(0, VALUE_LIMIT - 1), st.integers(0, VALUE_LIMIT - 1))
@settings(max_examples=100)
def test_a_quantile_is_wrong_by_two_percent_at_most(value: int, larger: int) -> None:
    assert abs(mapped([value, VALUE_LIMIT - 1, 0]).quantile(0.5) - value) <= 0.02 * value


@given(st.lists(st.integers(0, 1 << 70), min_size=1, max_size=20))
@example([1 << 63, 1 << 63, 5])
@settings(max_examples=40)
def test_what_is_longer_than_the_last_bucket_is_counted_there_and_its_maximum_is_kept(values: list[int]) -> None:
    histogram = mapped(values)
    assert histogram.count == len(values)
    assert histogram.max == min(max(values), (1 << 63) - 1)
    assert histogram.min == min(min(values), (1 << 63) - 1)
    assert histogram.quantile(1.0) <= histogram.max


def test_the_last_bucket_is_that_of_the_largest_value() -> None:
    assert bucket_index(VALUE_LIMIT - 1) == BUCKET_COUNT - 1
    assert bucket_index(VALUE_LIMIT) == BUCKET_COUNT
