"""How a path has gone, from second to second: sums, shares, and few steps of a long run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.course import (
    KINDS,
    LONG_STEPS,
    SHORT_STEPS,
    WHOLE_LIMIT,
    Course,
    coarse_edge,
    share_on_time,
    told_histogram,
)
from streamflow.core.statistics import Histogram, bucket_index, upper_edge
from streamflow.core.timebase import ms, s


def counts(**known: int) -> dict[str, int]:
    return dict.fromkeys(KINDS, 0) | known


def followed(each_second: list[dict[str, int]], latency_ns: int = 5 * ms) -> Course:
    """A course that is shown counts which grow by these, a second each, from 100 s on."""
    course, total, histogram = Course(), counts(), Histogram()
    course.begin(100 * s)
    for second, grown in enumerate(each_second, 1):
        total = {kind: total[kind] + grown.get(kind, 0) for kind in KINDS}
        for _ in range(grown.get("met", 0) + grown.get("missed", 0)):
            histogram.record(latency_ns)
        course.observe((100 + second) * s, total, histogram)
    return course


def test_the_last_ten_seconds_and_the_last_minute_are_sums_of_what_was_seen_in_them():
    course = followed([{"produced": 10, "met": 10}] * 100 + [{"produced": 10, "met": 4, "missed": 6}] * 5)
    recent = course.recent()
    assert recent["10s"]["span_s"] == SHORT_STEPS
    assert (recent["10s"]["met"], recent["10s"]["missed"], recent["10s"]["rate_hz"]) == (70, 30, 10.0)
    assert (recent["60s"]["met"], recent["60s"]["missed"]) == (570, 30)
    assert recent["steps"]["missed"][-6:] == [0, 6, 6, 6, 6, 6]
    assert len(recent["steps"]["end_s"]) == LONG_STEPS
    assert recent["steps"]["end_s"][-1] == 105.0


def test_latencies_of_the_last_ten_seconds_forget_what_was_before():
    course, histogram = Course(), Histogram()
    course.begin(s)
    for second in range(1, 40):
        histogram.record((900 if second < 20 else 7) * ms)
        course.observe((1 + second) * s, counts(produced=second, met=second), histogram)
    latency = course.recent()["10s"]["latency_ms"]
    assert abs(latency["max"] - 7) < 7 / 32
    assert abs(course.recent()["60s"]["latency_ms"]["max"] - 900) < 900 / 32


def test_looks_within_a_second_are_one_step():
    course = Course()
    course.begin(s)
    for tenth in range(1, 31):
        course.observe(s + tenth * s // 10, counts(produced=tenth, met=tenth), Histogram())
    assert course.recent()["steps"]["on_time"] == [10, 10, 10]


def test_what_comes_after_the_last_whole_second_is_told_at_the_end():
    course = followed([{"produced": 5, "met": 5}] * 3)
    course.observe(103 * s + 200 * ms, counts(produced=17, met=17), Histogram(), is_last=True)
    assert course.whole()["on_time"] == [5, 5, 5, 2]
    assert course.whole()["end_s"] == [1.0, 2.0, 3.0, 3.2]


@given(st.integers(0, 3 * WHOLE_LIMIT + 7))
def test_a_long_run_is_told_in_few_steps_that_count_every_datum(second_count: int):
    course = followed([{"produced": 3, "met": 1, "missed": 1, "shed": 1}] * second_count)
    whole = course.whole()
    assert len(whole["end_s"]) <= WHOLE_LIMIT + 1
    assert all(sum(whole[kind]) == second_count for kind in ("on_time", "missed", "failed"))
    assert whole["end_s"] == sorted(set(whole["end_s"]))
    assert whole["end_s"][-1:] == [float(second_count)] * bool(second_count)


@given(st.lists(st.integers(0, 1 << 40)))
def test_a_told_histogram_counts_every_value_below_an_edge_that_is_near_it(values: list[int]):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    told = told_histogram(histogram)
    assert sum(told["count"]) == len(values)
    assert told["le_ms"] == sorted(told["le_ms"])
    for value in values:
        assert value < coarse_edge(upper_edge(bucket_index(value)) + 1) <= value * 1.15 + 2


def test_the_share_on_time_counts_what_was_given_up():
    assert share_on_time(counts(produced=10, met=6, absorbed=2, shed=1, missed=1)) == 0.8
    assert share_on_time(counts(produced=3)) is None
