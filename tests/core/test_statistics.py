"""Histograms of durations: what is lost by rounding, and what is not lost by merging."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.statistics import Histogram

DURATIONS = st.lists(st.integers(0, 1 << 50), max_size=50)
RELATIVE_ERROR_LIMIT = 0.02


def histogram(values: list[int]) -> Histogram:
    found = Histogram()
    for value in values:
        found.record(value)
    return found


def parts(found: Histogram) -> tuple[object, ...]:
    return found.count, found.min, found.max, found.sum, found.counts


def test_an_empty_histogram_has_quantile_zero() -> None:
    assert Histogram().quantile(0.5) == 0
    assert Histogram().summary_ms() == {"p50": 0, "p90": 0, "p99": 0, "p999": 0, "max": 0}


def test_a_negative_duration_counts_as_zero() -> None:
    found = histogram([-5])
    assert (found.count, found.sum, found.min, found.max) == (1, 0, 0, 0)


def test_small_values_are_exact() -> None:
    assert [histogram([value]).quantile(0.5) for value in range(128)] == list(range(128))


def test_the_report_tells_quantiles_in_milliseconds() -> None:
    summary = histogram([1_000_000] * 99 + [50_000_000]).summary_ms()
    assert summary["p50"] == pytest.approx(1, rel=RELATIVE_ERROR_LIMIT)
    assert summary["p99"] == pytest.approx(1, rel=RELATIVE_ERROR_LIMIT)
    assert summary["p999"] == summary["max"] == 50


@given(st.lists(st.integers(0, 1 << 60), min_size=1, max_size=60), st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999, 1.0]))
def test_a_quantile_is_within_two_percent_of_the_value_of_that_rank(values: list[int], share: float) -> None:
    rank = max(1, -(-int(share * len(values) * 1_000_000) // 1_000_000))
    exact = sorted(values)[rank - 1]
    assert abs(histogram(values).quantile(share) - exact) <= exact * RELATIVE_ERROR_LIMIT


@given(DURATIONS, DURATIONS)
def test_merging_two_gives_the_histogram_of_the_union(a: list[int], b: list[int]) -> None:
    merged = histogram(a)
    merged.merge(histogram(b))
    assert parts(merged) == parts(histogram(a + b))
    assert merged.count == len(a) + len(b)


@given(DURATIONS, DURATIONS)
def test_what_is_left_out_again_was_never_there(values: list[int], others: list[int]) -> None:
    left = histogram(values + others).without(others)
    assert left.counts == histogram(values).counts
    assert (left.count, left.sum) == (len(values), sum(values))
    assert left.max <= max(values, default=0) * (1 + 2 * RELATIVE_ERROR_LIMIT)


@given(DURATIONS, st.lists(st.floats(0, 1), max_size=5))
def test_quantiles_together_are_those_one_by_one(values: list[int], shares: list[float]) -> None:
    found = histogram(values)
    shares.sort()
    assert found.quantiles(*shares) == [found.quantile(share) for share in shares]
