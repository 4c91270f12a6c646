"""The claims of all that shows a run, shortened, and what they find fault with."""

from __future__ import annotations

import json

import pytest

from tools.claims.framework import main
from tools.claims.monitor import CLAIMS
from tools.claims.monitor_files import _trace_faults
from tools.claims.monitor_screens import _faults


def test_the_list_of_misses_is_held_against_the_report(capsys) -> None:
    assert main("monitor", CLAIMS, ["--quick", "--only", "misses", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["holds"]
    assert row["measured"].endswith("the same")


def slice_of(begin: float, length: float, track: int = 1) -> dict[str, object]:
    return {"ph": "X", "pid": 1, "tid": track, "ts": begin, "dur": length}


def step(phase: str, at: float) -> dict[str, object]:
    return {"ph": phase, "id": 7, "pid": 1, "tid": 1, "ts": at}


def test_a_trace_that_nests_and_connects_has_no_fault() -> None:
    events = [slice_of(0, 10), slice_of(2, 3), slice_of(10, 5), step("s", 0), step("t", 3), step("f", 12)]
    assert list(_trace_faults(events)) == []


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ([slice_of(0, 10), slice_of(5, 10)], "leaves the one it began in"),
        ([slice_of(0, 10), step("s", 0), step("f", 30)], "no slice where it passes"),
        ([slice_of(0, 10), step("s", 5), step("f", 1)], "back in time"),
        ([slice_of(0, 10), step("s", 5), step("t", 6)], "flow 7: st"),
        ([{"ph": "C", "name": "depth", "args": {"data": -1}}], "below zero"),
    ],
)
def test_a_fault_of_a_trace_is_named(events, fault) -> None:
    assert any(fault in one for one in _trace_faults(events))


def test_a_screen_that_is_cut_garbled_or_lacks_a_stage_is_named() -> None:
    screen = "rover  running\n1\ncamera imu resize detect steady fuse plan\n\x1b[3m\nmo…\n1-5 ? help  q leave"
    found = " ".join(_faults("healthy", "Graph", screen, 20))
    for fault in ("wider", "strange characters", "cut", "without motors"):
        assert fault in found
