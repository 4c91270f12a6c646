"""Rows on their way from a file to what is emitted: order of time, missing values, time steps, chunks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Set

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.ingest.tables import NanRule, Rows, in_chunks, in_order, joined, timed_rows, with_dt, without_nan
from streamflow import InputError

RATE_HZ = 10.0

values = st.lists(st.one_of(st.just(float("nan")), st.integers(-9, 9).map(float)), min_size=1, max_size=30)
cuts = st.sets(st.integers(1, 29))


def blocks(numbers: list[float], cut_at: Set[int] = frozenset(), time_s: list[float] | None = None) -> list[Rows]:
    """The numbers as one-column rows, read in blocks that end at `cut_at`."""
    column = np.array(numbers, np.float64)
    stamps = np.arange(len(column)) / RATE_HZ if time_s is None else np.array(time_s)
    whole = timed_rows(0, {"x": column}, stamps)
    edges = [0, *sorted(cut for cut in cut_at if cut < len(whole)), len(whole)]
    return [whole[a:b] for a, b in itertools.pairwise(edges)]


def until_fault(parts: Iterator[Rows]) -> tuple[list[Rows], str]:
    """What came before an InputError, and its sentence ("" if there was none)."""
    seen: list[Rows] = []
    try:
        seen.extend(parts)  # keeps what it got when the iterator raises
    except InputError as error:
        return seen, str(error)
    return seen, ""


def column(parts: list[Rows], name: str = "x") -> list[float]:
    return list(joined(parts).fields[name]) if parts else []


@given(numbers=values, cut_at=cuts, size=st.integers(1, 12))
def test_chunks_are_the_rows_however_the_file_was_read(numbers: list[float], cut_at: set[int], size: int) -> None:
    parts = list(in_chunks(blocks(numbers, cut_at), size))
    assert np.array_equal(column(parts), numbers, equal_nan=True)
    assert all(len(part) == size for part in parts[:-1])
    assert 1 <= len(parts[-1]) <= size


@given(numbers=values, cut_at=cuts)
def test_dropping_leaves_the_whole_rows_with_their_own_time(numbers: list[float], cut_at: set[int]) -> None:
    parts = list(without_nan(blocks(numbers, cut_at), "drop"))
    there = [index for index, number in enumerate(numbers) if number == number]
    assert column(parts) == [numbers[index] for index in there]
    assert [int(sample) for part in parts for sample in part.sample] == there


@given(numbers=values, cut_at=cuts)
def test_holding_repeats_the_last_whole_row(numbers: list[float], cut_at: set[int]) -> None:
    expected: list[float] = []
    for number in numbers:
        if number == number:
            expected.append(number)
        elif expected:
            expected.append(expected[-1])
    parts = list(without_nan(blocks(numbers, cut_at), "hold"))
    assert column(parts) == expected
    first = len(numbers) - len(expected)
    assert [int(sample) for part in parts for sample in part.sample] == list(range(first, len(numbers)))


@given(numbers=values, cut_at=cuts, rule=st.sampled_from(["pass", "drop", "hold"]))
def test_every_row_says_how_many_had_a_nan_so_far(numbers: list[float], cut_at: set[int], rule: NanRule) -> None:
    parts = list(without_nan(blocks(numbers, cut_at), rule))
    so_far = np.cumsum(np.isnan(numbers))
    assert all(part.nan_count[i] == so_far[part.sample[i]] for part in parts for i in range(len(part)))


@given(numbers=values, cut_at=cuts)
def test_a_dropped_row_makes_the_next_time_step_larger(numbers: list[float], cut_at: set[int]) -> None:
    parts = list(with_dt(without_nan(blocks(numbers, cut_at), "drop"), RATE_HZ))
    there = [index for index, number in enumerate(numbers) if number == number]
    expected = [1.0, *np.diff(there)][: len(there)]
    assert np.allclose(np.array(column(parts, "dt")) * RATE_HZ, expected)


@pytest.mark.parametrize("cut_at", [set(), {1}, {1, 2}])
def test_without_a_rate_the_first_time_step_is_the_second_rows(cut_at: set[int]) -> None:
    parts = list(with_dt(blocks([1, 2, 3], cut_at, [5.0, 5.25, 5.75]), None))
    assert column(parts, "dt") == [0.25, 0.25, 0.5]


def test_a_single_row_without_a_rate_has_no_time_step() -> None:
    assert column(list(with_dt(blocks([1.0]), None)), "dt") == [0.0]


@pytest.mark.parametrize("cut_at", [set(), {2}, {1, 2}])
@pytest.mark.parametrize("wrong", [0.05, float("nan"), float("inf")])
def test_a_time_that_goes_back_is_named_after_the_rows_before_it(cut_at: set[int], wrong: float) -> None:
    parts, fault = until_fault(in_order(blocks([7, 8, 9], cut_at, [0.0, 0.1, wrong]), "log"))
    assert column(parts) == [7, 8]
    assert fault.startswith("log, row 2: has time")


def test_equal_times_are_in_order() -> None:
    assert column(list(in_order(blocks([7, 8], time_s=[0.1, 0.1]), "log"))) == [7, 8]


def test_rows_before_a_fault_are_passed_on_before_it_is_raised() -> None:
    def failing() -> Iterator[Rows]:
        yield blocks([1.0, 2.0, 3.0])[0]
        raise InputError("log, row 3", "is damaged")

    parts, fault = until_fault(in_chunks(failing(), 2))
    assert [column([part]) for part in parts] == [[1, 2], [3]]
    assert fault == "log, row 3: is damaged"
