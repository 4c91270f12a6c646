"""Stages that wait awake before they sleep: where that pays, and told in the report."""

from __future__ import annotations

import pytest

from tests.end_to_end.project import Project

LINE = """
def build(rate_hz: float, count: int) -> Pipeline:
    p = Pipeline("line")
    source = p.add("source", Numbers(count, rate_hz))
    middle = p.add("middle", Pass())
    p.connect(source, middle, capacity=64)
    p.connect(middle, p.add("sink", Keep("kept")), capacity=64)
    return p
"""


@pytest.mark.parametrize("link", ["ipc", "direct"])
def test_a_stage_that_is_served_often_waits_awake_and_the_report_says_how_long(project: Project, link: str) -> None:
    settings = ("--set", "rate_hz=5000", "--set", "count=5000")
    report = project.report(project.pipeline(LINE), "--link", link, "--spin-us", "1000", *settings)
    assert report["conserved"] is True
    middle = report["stages"]["middle"]
    assert middle["processed"] == 5000
    assert middle["spin_hits"] > 0
    assert middle["spun_ms"] > 0
    assert report["stages"]["source"]["spun_ms"] == 0, "it waits for nobody"


UNEVEN = """
import trio

class Uneven(Node):
    out = Out("int64[]")

    async def run(self):
        for number, pause in enumerate([30, 90, 45, 10, 70, 20] * 5):
            await trio.sleep(pause / 1000)
            await self.emit(np.int64(number))

def build() -> Pipeline:
    p = Pipeline("line")
    middle = p.add("middle", Pass())
    p.connect(p.add("source", Uneven()), middle)
    p.connect(middle, p.add("sink", Keep("kept")))
    return p
"""


def test_a_stage_that_is_served_seldom_and_unevenly_sleeps_at_once(project: Project) -> None:
    report = project.report(project.pipeline(UNEVEN), "--spin-us", "100")
    assert report["stages"]["middle"]["processed"] == 30
    assert report["stages"]["middle"]["spun_ms"] == 0
    assert report["stages"]["middle"]["spin_hits"] == 0


def test_a_stage_that_is_served_seldom_and_evenly_is_awake_when_its_datum_comes(project: Project) -> None:
    """And waits no longer for each than it may. So long that it bears how unevenly a shared host lets a source sleep:
    with 2 ms the rhythm was given up in one run of six."""
    settings = ("--set", "rate_hz=20", "--set", "count=60")
    report = project.report(project.pipeline(LINE), "--link", "direct", "--spin-us", "8000", *settings)
    middle = report["stages"]["middle"]
    assert middle["processed"] == 60
    assert middle["spin_hits"] > 15
    assert middle["spun_ms"] <= 60 * 8.1


def test_without_being_asked_nobody_spins(project: Project) -> None:
    settings = ("--set", "rate_hz=5000", "--set", "count=2000")
    report = project.report(project.pipeline(LINE), *settings)
    assert report["stages"]["middle"]["spun_ms"] == 0
