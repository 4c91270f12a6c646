"""Plots: round ticks, marks where the values are, and SVG that any reader takes."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.page.marks import BROKEN, RESTART, Mark
from streamflow.core.page.plots import (
    TOP,
    WIDTH,
    against,
    bars,
    decades,
    latencies,
    number,
    over_time,
    shares,
    ticks,
)
from streamflow.core.page.style import STYLE

FIGURES = st.just(0.0) | st.floats(1e-6, 1e9)  # a nanosecond is the least that there is


@given(st.floats(1e-6, 1e12))
def test_ticks_begin_at_nothing_reach_the_greatest_and_are_few(greatest: float):
    found = ticks(greatest)
    assert found[0] == 0
    assert found[-1] >= greatest * (1 - 1e-6)
    assert 2 <= len(found) <= 7


@pytest.mark.parametrize(("greatest", "found"), [(0, [0, 1]), (9, [0, 2, 4, 6, 8, 10]), (0.3, [0, 0.1, 0.2, 0.3])])
def test_ticks_are_round(greatest, found):
    assert ticks(greatest) == found


def test_a_logarithmic_axis_has_ones_twos_and_fives():
    assert decades(0.9, 12) == [1, 2, 5, 10]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.25, "0.25"), (12.5, "12.5"), (1200, "1,200"), (0.000355, "0.000355"), (80.0, "80")]
)
def test_numbers_have_three_figures(value, text):
    assert number(value) == text


def elements(svg: str, kind: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(svg).iter() if one.get("class") == kind]


def test_what_is_beyond_the_bound_is_another_kind_of_bar():
    svg = latencies([1.0, 2.0, 4.0], [5, 10, 1], 2.0)
    assert (len(elements(svg, "good")), len(elements(svg, "bad"))) == (2, 1)  # 2.0 is the upper edge of the second
    (line,) = elements(svg, "bound")
    last_good, bad = elements(svg, "good")[-1], elements(svg, "bad")[0]
    end = float(last_good.get("x", 0)) + float(last_good.get("width", 0))
    assert end <= float(line.get("x1", 0)) + 1 <= float(bad.get("x", 0)) + 2


def test_the_tallest_bar_is_that_of_most_data():
    heights = [float(one.get("height", 0)) for one in elements(latencies([1.0, 2.0, 4.0], [5, 10, 1], None), "good")]
    assert max(heights) == heights[1]


def test_a_kind_of_end_that_nobody_met_is_no_area():
    svg = shares([1.0, 2.0], {"on time": [5, 5], "missed": [0, 0]})
    assert len(elements(svg, "on-time")) == 1
    assert elements(svg, "missed") == []


def test_a_second_in_which_nothing_arrived_breaks_the_line():
    svg = over_time([1.0, 2.0, 3.0, 4.0], {"p99": [5, 5, 0, 5]}, 10.0)
    (line,) = elements(svg, "line p99")
    assert line.get("d", "").count("M") == 2


@given(
    st.lists(st.tuples(st.floats(1e-6, 1e6), st.integers(1, 10**9)), min_size=1, max_size=30),
    st.none() | st.floats(1e-3, 1e6),
)
def test_any_latencies_are_whole_svg(pairs, bound_ms):
    edges = sorted({edge for edge, _ in pairs})
    ElementTree.fromstring(latencies(edges, [count for _, count in pairs][: len(edges)], bound_ms))


@given(st.lists(FIGURES, min_size=1, max_size=50), st.none() | st.floats(1e-3, 1e6))
def test_any_course_is_whole_svg(values, bound_ms):
    ends = [float(second) for second in range(1, len(values) + 1)]
    ElementTree.fromstring(over_time(ends, {"p50": values, "<&>": values}, bound_ms))
    ElementTree.fromstring(shares(ends, {"on time": values, "missed": values}))


def test_a_restart_is_a_line_at_its_time_and_a_broken_contract_a_strip_above_the_data():
    happened = [Mark(RESTART, 2.0, 2.1, "detect was started again"), Mark(BROKEN, 1.0, 3.0, "contract broken")]
    for svg in (
        shares([1.0, 2.0, 3.0, 4.0], {"on time": [5, 5, 0, 5]}, happened),
        over_time([1.0, 2.0, 3.0, 4.0], {"p99": [5, 5, 0, 5]}, 10.0, happened),
    ):
        (restart,), (broken,) = elements(svg, "mark restart"), elements(svg, "mark broken")
        x, width = float(broken.get("x", 0)), float(broken.get("width", 0))
        assert restart.get("d", "").startswith(f"M{x + width / 2:.1f} ")
        assert float(broken.get("y", 0)) + float(broken.get("height", 0)) < TOP


def test_the_deadline_is_named_above_the_curves_and_letters_are_as_large_as_they_say():
    (name,) = elements(over_time([1.0, 2.0], {"p99": [95, 95]}, 100.0), "bound-name")
    assert float(name.get("y", 0)) < TOP
    column_width = (1280 - 2 * 24 - 2 * 17 - 2 * 12) / 3 - 2 * 8  # of a page of 1300, as the style sheet has it
    letters = re.search(r"svg.plot text \{ font: (\d+)px", STYLE)
    assert letters
    assert int(letters[1]) * column_width / WIDTH >= 11


def test_names_are_escaped():
    assert "&lt;b&gt;&amp;" in bars([("<b>&", 3)], "missed")


def test_a_bar_against_its_bound_is_three_quarters_at_the_bound():
    assert "width:75.00%" in against(50, 50)
    assert "width:100.00%" in against(5000, 50)
