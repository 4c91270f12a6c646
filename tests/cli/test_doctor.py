"""`streamflow doctor` reads this machine, without leaving a trace on it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from streamflow.core.realtime import cpu_list
from streamflow.core.timebase import us
from streamflow.runtime.clock import Alarm
from streamflow.runtime.loading.extras import extras, extras_of, remedy_for
from streamflow.runtime.process.priority import obtainable
from streamflow.runtime.rundir import base_folder

LATE_NS = 350 * us  # a timer with a lead makes up for so much


@pytest.fixture
def temporary(tmp_path_factory, monkeypatch) -> Path:
    """A temporary folder of the test's own, with a path short enough for sockets."""
    folder = tmp_path_factory.mktemp("t")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def findings(streamflow):
    """What the doctor finds, by item, and its exit code."""

    def examine() -> tuple[dict[str, dict[str, str]], int]:
        ended = streamflow("doctor", "--json")
        assert ended.err == ""
        return {one["item"]: one for one in json.loads(ended.out)}, ended.code

    return examine


def test_it_looks_at_everything_a_run_may_need(findings):
    found, code = findings()
    assert [item for item in found if not item.startswith("extra ")] == [
        "Python", "hot path", "cores", "clock", "timer", "processes", "real-time priority", "stage priority",
        "affinity", "locked memory", "compute threads", "interpreter", "shared memory", "temporary folder",
        "pressure (PSI)", "ZeroMQ", "CURVE", "GPU", "CuPy", "runs",
    ]  # fmt: skip
    assert {f"extra {name}" for name in extras()} <= set(found)
    assert code == (1 if any(one["state"] == "missing" for one in found.values()) else 0)


def test_what_runs_in_these_tests_is_not_missing(findings):
    found, code = findings()
    assert found["Python"]["state"] == found["processes"]["state"] == found["ZeroMQ"]["state"] == "ok"
    assert found["timer"]["state"] != "missing"
    assert code == 0


def test_a_machine_that_wakes_late_is_told_though_the_timers_of_runs_make_up_for_it(findings, monkeypatch):
    set_alarm = Alarm.set
    monkeypatch.setattr(Alarm, "set", lambda alarm, instant_ns: set_alarm(alarm, instant_ns + LATE_NS))
    words = findings()[0]["timer"]["found"].split()
    assert words[:2] == ["timerfd,", "wakes"]
    assert float(words[2]) * us >= LATE_NS


def test_what_a_stage_may_ask_of_the_machine_was_tried_and_is_left_as_it_was(findings):
    before = Path("/proc/self/status").read_text()
    found, _ = findings()
    assert found["affinity"]["found"] == f"cpus {cpu_list(os.sched_getaffinity(0))}"
    assert found["stage priority"]["found"].startswith("none" if obtainable() == "none" else "SCHED_FIFO up to ")
    assert found["interpreter"]["state"] == "ok"
    for field in ("VmLck", "Cpus_allowed"):
        lines = [line for line in before.splitlines() if line.startswith(field)]
        assert set(lines) <= set(Path("/proc/self/status").read_text().splitlines())
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_remedy_goes_with_all_that_is_not_well_and_nothing_else(findings):
    for one in findings()[0].values():
        assert bool(one["remedy"]) == (one["state"] != "ok"), one


def test_the_table_has_one_line_for_each_and_columns_that_line_up(streamflow, findings):
    head, *lines = streamflow("doctor").out.splitlines()
    assert head.split() == ["item", "found", "state", "remedy"]
    assert len(lines) == len(findings()[0])
    column = head.index("state")
    assert {line[column:].split()[0] for line in lines} <= {"ok", "lacking", "missing"}


def test_it_leaves_nothing_behind(streamflow, temporary):
    streamflow("doctor")
    assert list(temporary.iterdir()) == []


def test_a_temporary_folder_with_too_long_a_path_is_missing_and_exit_1(findings, temporary, monkeypatch):
    deep = temporary / ("x" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    found, code = findings()
    assert found["temporary folder"]["state"] == "missing"
    assert "TMPDIR" in found["temporary folder"]["remedy"]
    assert code == 1


def test_a_temporary_folder_that_is_not_there_is_missing(findings, temporary, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "gone"))
    found, code = findings()
    assert (found["temporary folder"]["state"], code) == ("missing", 1)


def test_no_temporary_folder_at_all_is_missing(findings, folder, monkeypatch):
    def refuse() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", refuse)
    found, code = findings()
    assert (found["temporary folder"]["state"], found["runs"]["state"], code) == ("missing", "missing", 1)


def test_living_runs_and_those_not_cleared_up_behind_are_counted_apart(findings, temporary):
    for name in ("killed", "living"):
        (base_folder() / name).mkdir()
        (base_folder() / name / "lock").touch()
    lock = os.open(base_folder() / "living" / "lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        finding = findings()[0]["runs"]
    finally:
        os.close(lock)
    assert finding["found"] == "1 going, 0 killed that can be read, 1 not cleared up behind"
    assert finding["remedy"] == "the next streamflow run removes them"
    assert (base_folder() / "killed").is_dir()


def test_a_base_folder_that_is_none_is_told(findings, temporary):
    (temporary / f"streamflow-{os.getuid()}").write_text("in the way")
    found, code = findings()
    assert found["runs"]["state"] == "missing"
    assert "TMPDIR" in found["runs"]["remedy"]
    assert code == 1


# --------------------------------------------------------------------------------------------- extras


def test_extras_are_read_from_what_the_distribution_declares():
    requirements = [
        "click>=8.1",
        "soundfile>=0.12; extra == 'audio'",
        'onnxruntime>=1.20 ; python_version >= "3.11" and extra == "onnx"',
        "av>=14; extra == 'video'",
        "soundfile>=0.12; extra == 'all'",
    ]
    assert extras_of(requirements) == {"audio": ["soundfile"], "onnx": ["onnxruntime"], "video": ["av"]}


def test_an_optional_library_is_brought_by_its_extra():
    assert remedy_for("h5py._hl") == "pip install 'streamflow[hdf5]' brings it"
    assert remedy_for("no_such_library") == ""


# ------------------------------------------------------------------------------------------------ GPU


@pytest.mark.parametrize(
    ("script", "found", "state"),
    [
        ("echo 'NVIDIA H100, 81559 MiB, 550.54'; echo 'NVIDIA A10, 23028 MiB, 550.54'",
         "NVIDIA H100, 81559 MiB, 550.54; NVIDIA A10, 23028 MiB, 550.54", "ok"),
        ("echo 'No devices were found'; exit 6", "none", "lacking"),
    ],
)  # fmt: skip
def test_gpus_are_told_as_the_drivers_own_tool_names_them(findings, folder, monkeypatch, script, found, state):
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    gpu = findings()[0]["GPU"]
    assert (gpu["found"], gpu["state"]) == (found, state)
