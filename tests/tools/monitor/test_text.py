"""Lines of text with tones: cut, fitted and measured in cells."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.monitor.text import (
    Tone,
    against,
    bar,
    cut,
    cut_line,
    duration,
    fit,
    line_width,
    merged,
    milliseconds,
    percent,
    rate,
    short,
    sparkline,
    width_of,
    wrapped,
)

TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40)
LINES = st.lists(st.tuples(TEXTS, st.sampled_from(Tone)), max_size=6).map(tuple)


@given(TEXTS, st.integers(0, 50))
def test_what_is_cut_is_never_wider_than_asked_for(text: str, width: int):
    assert width_of(cut(text, width)) <= width
    if width_of(text) <= width:
        assert cut(text, width) == text


@given(TEXTS, st.integers(1, 50), st.booleans())
def test_what_is_fitted_is_exactly_as_wide_as_asked_for(text: str, width: int, right: bool):
    assert width_of(fit(text, width, right=right)) == width


@given(LINES, st.integers(0, 80))
def test_a_line_that_is_cut_is_never_wider_than_asked_for(spans, width: int):
    assert line_width(cut_line(spans, width)) <= width


@given(LINES)
def test_neighbours_of_one_tone_are_the_same_text_together(spans):
    together = merged(spans)
    assert "".join(text for text, _ in together) == "".join(text for text, _ in spans)
    assert all(one[1] is not other[1] for one, other in itertools.pairwise(together))


@given(st.text("ab cd", max_size=80), st.integers(8, 30))
def test_wrapping_keeps_every_word_and_the_width(text: str, width: int):
    lines = wrapped(text, width, "  ")
    assert all(len(one) <= width for one in lines)
    assert "".join(" ".join(lines).split()) == "".join(text.split())


def test_wide_and_combining_characters_are_counted_in_cells():
    assert width_of("音声") == 4
    assert width_of("e\u0301") == 1
    assert cut("音声認識", 5) == "音声…"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.32, "320 us"),
        (4.214, "4.21 ms"),
        (61.0, "61.0 ms"),
        (999.4, "999 ms"),
        (1204.0, "1.20 s"),
        (-23.902, "-23.9 ms"),
    ],
)
def test_durations_have_three_figures_and_the_unit_that_suits(value, text):
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (31.24, "31.2"), (999, "999"), (4970, "4.97k"), (1_204_000, "1.20M")]
)
def test_counts_have_three_figures(value, text):
    assert short(value) == text
    assert rate(value) == f"{text}/s"


def test_a_share_is_never_rounded_up_to_all():
    assert percent(0.9999999) == "99.99%"
    assert percent(1.0) == "100%"
    assert percent(None) == "-"


def test_a_bar_is_filled_to_an_eighth_of_a_cell():
    assert bar(0.5, 4) == "██  "
    assert bar(0.53125, 4) == "██▏ "
    assert bar(7, 3) == "███"
    assert bar(-1, 3) == "   "


def test_a_value_beyond_its_bound_is_seen_without_colours():
    kept = "".join(text for text, _ in against(40, 50, 20))
    passed = "".join(text for text, _ in against(60, 50, 20))
    assert (len(kept), len(passed)) == (20, 20)
    assert kept.index("┃") == passed.index("╋") == 15
    assert kept[16:].strip() == ""
    assert passed[16:].strip() != ""


def test_a_sparkline_has_a_level_for_each_value_and_gaps_where_there_is_none():
    assert sparkline([0, 1, 5, 10, 90], 10) == " ▁▄██"


@pytest.mark.parametrize(("seconds", "text"), [(12.34, "12.3 s"), (245, "4:05"), (3725, "1:02:05")])
def test_long_durations_are_told_as_clocks_do(seconds, text):
    assert duration(seconds) == text
