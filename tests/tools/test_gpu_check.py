"""The command that runs all that needs a GPU: what it says where there is none, and what hangs or breaks in it."""

from __future__ import annotations

import pytest

from tests.marks import without_gpu
from tools import gpu_check


@without_gpu
def test_without_a_gpu_it_says_what_is_missing_and_ends_with_two(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    assert gpu_check.main(["--out", str(tmp_path / "results.json")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("gpu_check: cuda:0: ")
    assert told.endswith("; `make claims-gpu` has the part for the host\n")
    assert not (tmp_path / "results.json").exists()


@without_gpu
def test_a_claim_that_needs_a_gpu_is_told_as_not_measured() -> None:
    (row,) = gpu_check.measured("giving", 60, is_quick=True)
    assert row["claim"] == "giving"
    assert row["measured"] == "not measured: no GPU"
    assert row["because"].startswith("cuda:0: ")
    assert row["holds"] is None


def test_a_claim_that_hangs_falls_short_and_one_without_time_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = gpu_check.measured("overlap", 0.01, is_quick=True)
    assert row["measured"].startswith("not done after 0 s")
    assert row["holds"] is None
    (row,) = gpu_check.measured("overlap", 0, is_quick=True)
    assert (row["measured"], row["holds"]) == ("not run: no time was left", None)
    monkeypatch.setattr(gpu_check, "CLAIM_LIMIT_S", 0.02)
    (row,) = gpu_check.measured("overlap", 60, is_quick=True)
    assert row["measured"].startswith("not done after 0 s")
    assert row["holds"] is False


def test_tests_that_fail_or_hang_are_told(tmp_path) -> None:
    failing = tmp_path / "test_failing.py"
    failing.write_text("def test_it():\n    assert False\n")
    has_passed, told = gpu_check.passed(["-p", "no:cacheprovider", str(failing)], 60)
    assert not has_passed
    assert "test_it" in told
    assert "1 failed" in told
    hanging = tmp_path / "test_hanging.py"
    hanging.write_text("import time\ntime.sleep(60)\n")
    has_passed, told = gpu_check.passed([str(hanging)], 1.5)
    assert not has_passed
    assert told.startswith("the tests have not ended after 2 s, in File")
    assert "test_hanging.py" in told


def test_what_was_told_before_it_broke_is_not_lost(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    broken = 'print(\'[ {"claim": "one"}\', flush=True); print(\', {"claim": "two"}\', flush=True); '
    for ending, told in (("import os; os._exit(7)", "ended with status 7"), ("while True: pass", "not done after 0 s")):
        (tmp_path / "gpu.py").write_text(broken + "\n" + ending)
        monkeypatch.setattr(gpu_check, "COMMAND", (str(tmp_path / "gpu.py"),))
        monkeypatch.setattr(gpu_check, "CLAIM_LIMIT_S", 0.4)
        *before, last = gpu_check.measured("overlap", 60, is_quick=True)
        assert [row["claim"] for row in before] == ["one", "two"]
        assert last["measured"].startswith(told)
        assert last["holds"] is False
