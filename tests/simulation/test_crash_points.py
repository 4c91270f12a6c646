"""A stage may be killed between any two of its steps, and every sum still holds: a sample of the points there are.

The campaign (`tools/campaigns/crash_points.py`) tries all of them, in more pipelines and beside other deaths.
"""

from __future__ import annotations

import pytest

from streamflow.core.verdict import Kind
from streamflow.runtime.accounts import casualties
from tests.marks import from_sources
from tools.campaigns.crash_points import Target, points_of, reviving, run

pytestmark = from_sources
SAMPLE_SIZE = 4  # of some hundred points of each
TARGETS = [
    Target("line", "source"),
    Target("line", "middle"),
    Target("lossless", "middle"),
    Target("lossless_device", "middle"),
    Target("lossless_twice", "sink", after="middle"),
    Target("quick", "sink"),
    Target("drop_oldest", "middle", again=True),
    Target("drop_newest", "source"),
    Target("rejecting", "source"),
    Target("too_old", "middle"),
    Target("shed", "middle"),
    Target("twice", "middle"),
    Target("fan", "middle", after="left"),
    Target("join", "both"),
    Target("pair", "sink"),
    Target("window", "both"),
    Target("settled_late", "both"),
    Target("join_fails", "both"),
    Target("loop", "both"),
    Target("together_oldest", "middle"),
    Target("batch_shed", "middle"),
    Target("batch_twice", "middle"),
    Target("batch_fails", "middle"),
    Target("device", "middle"),
    Target("device_bound", "middle"),
    Target("device_shed", "middle"),
    Target("device_hold", "middle"),
    Target("device_fails", "middle"),
]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_every_sum_holds_wherever_a_stage_is_killed(target: Target) -> None:
    """Spread over the whole run; each pipeline from another point on."""
    points = points_of(target)
    assert len(points) > 100
    step = len(points) // SAMPLE_SIZE
    for point in points[TARGETS.index(target) :: step]:
        result = run(target, point.number)
        assert result.tracing.killed == point
        assert not result.broken, "\n".join([f"run it again: {target.command(point.number)}", *result.broken])


@pytest.mark.parametrize("stage", ["source", "middle"])
def test_a_life_that_dies_while_it_comes_back_leaves_all_to_the_next(stage: str) -> None:
    """The first one in the midst of its work, the second before any of what it does with what that left."""
    targets = list(reviving(Target("lossless", stage), 31))
    assert len(targets) > 5
    for target in targets:
        lines = points_of(target, every_line=True)
        assert len(lines) > 300
        for point in lines[7 :: len(lines) // 6]:
            result = run(target, point.number)
            assert not result.broken, "\n".join([f"run it again: {target.command(point.number)}", *result.broken])


def test_a_datum_that_was_handled_and_not_put_down_is_not_lost_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the exploration was made for: it sees a kill between the two stores, where the record is not looked for."""
    target = Target("line", "middle")
    in_writer = [point.number for point in points_of(target) if "recorder/writer.py" in point.place]
    with monkeypatch.context() as patched:
        patched.setattr(casualties, "ENDS", {Kind.DROPPED, Kind.LOST, Kind.SHED})
        broken = next((number for number in in_writer[:40] if run(target, number).broken), None)
    assert broken is not None
    assert not run(target, broken).broken
