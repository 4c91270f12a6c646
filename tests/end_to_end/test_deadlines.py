"""Deadlines in real runs: what is done about data that are late, and what a broken contract leads to. Counts only."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamflow.core.message import Flag
from tests.end_to_end.project import Ended, Project

LATE = """
from streamflow import Criticality, Escalation, OnMiss, Order, ms


class Slow(Node):
    data = In("int64[]")
    same = Out("int64[]")

    def process(self, message):
        time.sleep(0.02)
        return message.array

    def degrade(self, message):
        return message.array + 1000


class Flags(Node):
    data = In("int64[]")

    def __init__(self, path):
        self.path = path

    def open(self):
        self.file = open(self.path, "a")

    def process(self, message):
        print(int(message.array), int(message.flags), file=self.file, flush=True)


def instead(stage, message):
    return None if stage == "sink" else -message.array


def build(on_miss: str = "shed", escalation: str = "", firm: bool = False, max_age: int = 0, rate: bool = False,
          within: int = 30, count: int = 100, order: str = "fifo") -> Pipeline:
    p = Pipeline("late")
    source = p.add("source", Numbers(count, rate_hz=100.0))
    work, sink = p.add("work", Slow()), p.add("sink", Flags("flags.txt"))
    age = {"max_age": max_age * ms} if max_age else {}
    p.connect(source, work, overflow=Overflow.DROP_OLDEST, capacity=4, order=Order(order), **age)
    p.connect(work, sink)
    p.deadline(
        "path", source, sink, within=within * ms, on_miss=OnMiss(on_miss),
        call=instead if on_miss == "call" else None, max_age=500 * ms if on_miss == "hold" else None,
        firm=(9, 10) if firm else None, escalation=tuple(Escalation(e) for e in escalation.split(",") if e),
    )
    if rate:
        p.rate_deadline("pulse", work, within=5 * ms)
    return p
"""


def _late(project: Project, *options: str, **settings: object) -> tuple[Ended, dict[str, Any], list[dict[str, Any]]]:
    more = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    ended = project.run(
        project.pipeline(LATE),
        "--quiet",
        "--log-level",
        "error",
        "--report",
        "r.json",
        "--keep",
        "kept",
        *options,
        *more,
    )
    report = json.loads((project.folder / "r.json").read_text())
    lines = (project.folder / "kept" / "recordings" / "events.jsonl").read_text().splitlines()
    return ended, report, [json.loads(line) for line in lines]


def _flags(project: Project) -> list[tuple[int, int]]:
    lines = (project.folder / "flags.txt").read_text().splitlines()
    return [(int(value), int(flags)) for value, flags in (line.split() for line in lines)]


@pytest.mark.parametrize(
    ("on_miss", "flag"), [("shed", Flag(0)), ("degrade", Flag.DEGRADED), ("call", Flag.DEGRADED), ("hold", Flag.HELD)]
)
def test_what_cannot_be_on_time_is_treated_as_declared(project: Project, on_miss: str, flag: Flag) -> None:
    ended, report, _ = _late(project, on_miss=on_miss)
    assert ended.code == 0, ended.stderr
    assert report["conserved"] is True
    got = _flags(project)
    if flag:
        assert any(flags & flag for _, flags in got)
    else:
        assert report["paths"]["path"]["shed"] > 0
    if on_miss == "degrade":
        assert all((value >= 1000) == bool(flags & flag) for value, flags in got)
    if on_miss == "call":
        assert all((value < 0) == bool(flags & flag) for value, flags in got)


def test_what_is_delivered_late_is_flagged_as_missed(project: Project) -> None:
    ended, report, events = _late(project, on_miss="deliver")
    assert ended.code == 0
    assert report["paths"]["path"]["missed"] > 0
    assert any(flags & Flag.MISSED for _, flags in _flags(project))
    assert any(event["event"] == "miss" and event["sentence"] for event in events)


def test_a_broken_deadline_is_exit_3_with_strict(project: Project) -> None:
    ended, _, _ = _late(project, "--strict", on_miss="deliver")
    assert ended.code == 3
    assert "deadline path: broken, and --strict was given" in ended.sentence


def test_a_firm_contract_escalates_to_a_restart_and_then_to_a_stop(project: Project) -> None:
    ended, _, events = _late(project, on_miss="deliver", firm="true", escalation="restart,stop", count=1000)
    assert ended.code == 1
    assert "deadline path: its contract is broken" in ended.sentence
    steps = [event.get("step") for event in events if event["event"] in ("broken", "escalated")]
    assert steps[:2] == ["restart", "stop"]
    assert any(event["event"] == "restarting" for event in events)


def test_a_silent_input_is_an_event(project: Project) -> None:
    _, report, events = _late(project, rate="true")
    assert any(event["event"] == "silent" and event["rate"] == "pulse" for event in events)
    assert report["rates"]["pulse"]["gaps"] > 0


def test_data_older_than_their_edge_lets_pass_are_dropped(project: Project) -> None:
    _, report, _ = _late(project, on_miss="deliver", max_age=25)
    assert report["edges"]["source.number->work.data"]["dropped"]["too_old"] > 0
    assert report["conserved"] is True


def test_an_edge_in_order_of_deadlines_accounts_for_everything(project: Project) -> None:
    ended, report, _ = _late(project, on_miss="deliver", order="edf")
    assert ended.code == 0
    assert report["conserved"] is True
