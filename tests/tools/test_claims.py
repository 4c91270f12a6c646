"""Claims: what a row says, when a claim counts, and a quick run of real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tools.bench.chain import measure_raw
from tools.claims import core
from tools.claims.framework import AbsentError, Claim, Options, Row, ShortfallError, main, recording
from tools.claims.recordings import inclination_rms_deg, matched_count, same_boxes


def _claim(name: str, *holds: bool | None) -> Claim:
    return Claim(name, lambda _: [Row(f"part {i}", "1", "2", value) for i, value in enumerate(holds)])


def _failing(error: Exception) -> Claim:
    def measure(_: Options) -> Iterator[Row]:
        yield Row("first", "1", "1", True)
        raise error

    return Claim("failing", measure)


def _rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


def test_rows_that_all_hold_exit_0() -> None:
    assert main("made_up", [_claim("a", True, True), _claim("b", True)], []) == 0


def test_a_row_that_falls_short_exits_1() -> None:
    assert main("made_up", [_claim("a", True, False), _claim("b", True)], []) == 1


def test_a_row_that_only_reports_counts_as_neither(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("made_up", [_claim("a", True, None)], []) == 0
    assert "1 hold, 0 fall short, 1 count as neither" in capsys.readouterr().out


def test_what_is_absent_counts_as_neither_and_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("made_up", [_failing(AbsentError("x.wav is not there"))], ["--json"]) == 0
    first, absent = _rows(capsys)
    assert first["holds"] is True
    assert absent["holds"] is None
    assert absent["measured"] == "not measured: x.wav is not there"


def test_why_something_is_absent_is_told_once_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    absent = AbsentError("no GPU", because="cuda:0: there is no driver for it")
    assert main("made_up", [_failing(absent), _failing(absent)], []) == 0
    *table, reason, _ = capsys.readouterr().out.splitlines()
    assert sum("not measured: no GPU" in line for line in table) == 2
    assert reason == "not measured: no GPU: cuda:0: there is no driver for it"


@pytest.mark.parametrize(
    "error", [ShortfallError("exit code 1"), FileNotFoundError("p.npy"), TypeError("a fault of ours")]
)
def test_a_claim_that_cannot_be_measured_falls_short_and_the_others_go_on(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("made_up", [_failing(error), _claim("a", True)], ["--json"]) == 1
    assert [row["holds"] for row in _rows(capsys)] == [True, False, True]


def test_json_is_a_list_of_rows_and_nothing_else_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    main("made_up", [_claim("a", True)], ["--json"])
    assert _rows(capsys) == [
        {"topic": "made_up", "claim": "a: part 0", "bound": "1", "measured": "2", "holds": True, "because": ""}
    ]


def test_the_table_begins_with_what_the_figures_depend_on(capsys: pytest.CaptureFixture[str]) -> None:
    main("made_up", [_claim("a", True)], [])
    first = capsys.readouterr().out.splitlines()[0]
    assert "CPUs" in first
    assert "Python 3." in first


def test_only_chooses_the_one_of_that_name_although_others_have_it_in_theirs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    claims = [_claim("frame", True), _claim("memory, frames", False)]
    assert main("made_up", claims, ["--only", "frame", "--json"]) == 0
    assert [row["claim"] for row in _rows(capsys)] == ["frame: part 0"]
    assert main("made_up", claims, ["--only", "frames"]) == 1


def test_only_chooses_by_a_part_of_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("made_up", [_claim("wanted one", True), _claim("other", False)], ["--only", "wanted", "--json"]) == 0
    assert [row["claim"] for row in _rows(capsys)] == ["wanted one: part 0"]


def test_a_name_that_no_claim_has_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("made_up", [_claim("a", True)], ["--only", "b"]) == 2
    assert "no claim has 'b'" in capsys.readouterr().err


def test_list_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("made_up", [_claim("a", False)], ["--list"]) == 0
    assert capsys.readouterr().out == "a\n"


def test_a_recording_is_looked_up_in_the_folder_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMFLOW_DATA", str(tmp_path))
    (tmp_path / "100.hea").touch()
    assert recording("100") == tmp_path / "100"
    with pytest.raises(AbsentError, match=r"silero_vad/test\.wav is not there"):
        recording("silero_vad/test.wav")


def test_a_rotation_about_the_vertical_is_no_inclination_error() -> None:
    level = np.tile([1.0, 0.0, 0.0, 0.0], (3, 1))
    turned = np.tile([np.cos(0.4), 0.0, 0.0, np.sin(0.4)], (3, 1))
    assert inclination_rms_deg(turned, level, np.ones(3, bool)) == pytest.approx(0.0, abs=1e-6)


def test_inclination_is_the_angle_of_a_tilt_where_it_moves_and_the_truth_is_known() -> None:
    level = np.tile([1.0, 0.0, 0.0, 0.0], (4, 1))
    half = np.radians([2.0, 2.0, 90.0, 90.0]) / 2
    tilted = np.stack([np.cos(half), np.sin(half), 0 * half, 0 * half], axis=1)
    level[3] = np.nan
    is_moving = np.array([True, True, False, True])
    assert inclination_rms_deg(tilted, level, is_moving) == pytest.approx(2.0)


def test_each_beat_is_matched_once() -> None:
    assert matched_count([1.00, 1.05, 3.0], [1.02, 2.0, 3.1], 0.15) == 2
    assert matched_count([], [1.0], 0.15) == 0


def test_boxes_are_the_same_in_any_order_but_not_twice() -> None:
    one = {"box": [0.0, 0.0, 100.0, 100.0], "score": 0.9, "class": 39}
    two = {"box": [200.0, 0.0, 300.0, 100.0], "score": 0.8, "class": 39}
    expected = [[200, 0, 300, 100, 0.8, 39], [0, 0, 100, 100, 0.9, 39]]
    assert same_boxes([one, two], expected)
    assert not same_boxes([one, one], expected)
    assert not same_boxes([one], expected)


@pytest.mark.parametrize("change", [{"box": [0.0, 0.0, 90.0, 100.0]}, {"score": 0.902}, {"class": 40}])
def test_a_box_elsewhere_with_another_score_or_class_is_another_box(change: dict[str, object]) -> None:
    box = {"box": [0.0, 0.0, 100.0, 100.0], "score": 0.9, "class": 39}
    assert not same_boxes([box | change], [[0, 0, 100, 100, 0.9, 39]])


def test_the_core_claims_without_recordings_hold_what_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STREAMFLOW_DATA", str(tmp_path))
    assert main("core", core.CLAIMS, ["--only", "offline", "--json"]) == 0
    assert {row["holds"] for row in _rows(capsys)} == {None}


@pytest.mark.parametrize("name", ["kill -9 of a stage, --no-restart", "two Ctrl-C, inline"])
def test_an_ending_of_the_core_claims_holds(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main("core", core.CLAIMS, ["--only", name, "--json"])
    rows = _rows(capsys)
    assert [row for row in rows if not row["holds"]] == []
    assert code == 0
    assert len(rows) >= 4


def test_the_raw_chain_delivers_everything_and_measures_each_block() -> None:
    latencies = measure_raw(rate_hz=1000.0, size=64, count=50)
    assert latencies.shape == (50, 2)
    assert (latencies > 0).all()
