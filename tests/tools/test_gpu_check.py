"""The command that runs all that needs a GPU: what it says where there is none, and what hangs or breaks in it."""

from __future__ import annotations

import pytest

from tests.marks import without_gpu
from tools import gpu_check


@without_gpu
def test_without_a_gpu_it_says_what_is_missing_and_ends_with_two(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    assert gpu_check.main(["--out", str(tmp_path / "results.json")]) == 2
    assert capsys.readouterr().err.startswith("gpu_check: cuda:0: ")
    assert not (tmp_path / "results.json").exists()


@without_gpu
def test_a_claim_that_needs_a_gpu_is_told_as_not_measured() -> None:
    (row,) = gpu_check.measured("giving", 60, is_quick=True)
    assert row["claim"] == "giving"
    assert row["measured"].startswith("not measured: cuda:0: ")
    assert row["holds"] is None


def test_a_claim_that_hangs_falls_short_and_one_without_time_is_not_run() -> None:
    (row,) = gpu_check.measured("overlap", 0.01, is_quick=True)
    assert (row["measured"], row["holds"]) == ("not done after 0 s", False)
    (row,) = gpu_check.measured("overlap", 0, is_quick=True)
    assert (row["measured"], row["holds"]) == ("not run: no time was left", None)


def test_tests_that_fail_or_hang_are_told(tmp_path) -> None:
    failing = tmp_path / "test_failing.py"
    failing.write_text("def test_it():\n    assert False\n")
    has_passed, told = gpu_check.passed(["-p", "no:cacheprovider", str(failing)], 60)
    assert not has_passed
    assert "test_it" in told
    assert "1 failed" in told
    assert gpu_check.passed([str(failing)], 0.01) == (False, "the tests have not ended after 0 s")
