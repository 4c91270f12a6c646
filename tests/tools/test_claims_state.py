"""The claims of recurrent state: what counts as right, what as unmarked, and a quick run of what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.claims import rates_state
from tools.claims.framework import Options
from tools.claims.rates_state import Carried, Detector, Result, follow, read_results


class Sum(Detector):
    """Its probability is the sum of powers of two, so that it says which chunks it has seen."""

    def __init__(self) -> None:
        pass

    def step(self, carried: Carried, number: int) -> tuple[float, Carried]:
        state = carried.state + np.float32(2**number)
        return float(state.flat[0]), Carried(state, carried.tail)


def result(number: int, *seen: int, gap: int = 0) -> Result:
    return Result(number, float(sum(2**each for each in (*seen, number))), gap, "freeze" if gap else "")


@pytest.mark.parametrize(
    ("results", "marked", "unheard"),
    [
        ([result(0), result(1, 0), result(2, 0, 1)], 0, 0),
        ([result(0), result(4, 0, gap=3), result(5, 0, 4)], 3, 0),
        ([result(0), result(4, 0, 1, gap=2)], 2, 1),
        ([result(0), result(4, 0, 1, 2, 3)], 0, 3),
        ([result(0), result(4, 0, 3)], 0, 1),  # the mark of what is missing went with another result
        ([result(3, gap=3)], 3, 0),
    ],
)
def test_a_result_is_right_if_its_state_has_seen_what_the_marks_leave(
    results: Sequence[Result], marked: int, unheard: int
) -> None:
    followed = follow(Sum(), results)
    assert (followed.right, followed.marked, followed.unheard) == (len(results), marked, unheard)


@pytest.mark.parametrize(
    "wrong",
    [
        result(4, 0, 1, 2, 3, gap=3),  # it says that it has not seen them
        result(4, gap=3),  # it has forgotten what came before
        result(4, 0, 0, gap=3),  # stepped with twice
        result(1, 0, gap=1),  # nothing is missing
    ],
)
def test_a_result_of_another_state_than_it_says_is_wrong(wrong: Result) -> None:
    followed = follow(Sum(), [result(0), wrong])
    assert followed.right == 1
    assert followed.first_wrong.startswith(f"chunk {wrong.number} is ")


def test_results_are_read_as_the_pipeline_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text(
        '{"sample": 512, "gap": null, "gap_action": null, "array": [0.5]}\n'
        '{"sample": 2048, "gap": 2, "gap_action": "freeze", "array": [0.25]}\n'
    )
    assert read_results(path) == [Result(1, 0.5, 0, ""), Result(4, 0.25, 2, "freeze")]


def test_what_state_costs_is_measured_for_each_batch_beside_a_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_state, "ROUNDS_QUICK", 1)
    layouts: dict[str, Any] = dict(list(rates_state.LAYOUTS.items())[:1])
    monkeypatch.setattr(rates_state, "LAYOUTS", layouts)
    rows = list(rates_state.cost(Options(is_quick=True)))
    assert [row.claim for row in rows] == [f"{name}, batch of {count}" for name in layouts for count in (1, 8, 64)]
