"""The trace of a real run, loaded back: flows connect, times nest, counters count; also of a run that was killed."""

from __future__ import annotations

import json
import os
import signal
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest

from tests.end_to_end.project import Project, eventually

COUNT, CAPACITY = 1000, 8
PIPELINE = """
    class Slow(Pass):
        def process(self, message):
            time.sleep(0.004 if message.seq % 50 < 20 else 0.0002)
            if message.seq >= 135 and self.generation == 0:
                raise ValueError("no luck")
            return message.array

    def build(count: int = 1000):
        p = Pipeline("traced")
        numbers = p.add("numbers", Numbers(count=count or None))
        slow, keep = p.add("slow", Slow()), p.add("keep", Keep("kept"))
        p.connect(numbers.number, slow, capacity=8, overflow=Overflow.DROP_OLDEST)
        p.connect(slow, keep)
        p.deadline("quick", numbers, keep, within=6_000_000)
        return p
"""
Events = list[dict[str, Any]]


@pytest.fixture(scope="module")
def drained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Events, dict[str, Any]]:
    """The trace of a run that came to its end, and the run's report."""
    project = Project(tmp_path_factory.mktemp("drained"))
    report = project.report(project.pipeline(PIPELINE), "--keep", "kept_run")
    events = traced(project, "kept_run")
    project.assert_nothing_left()
    return events, report


def traced(project: Project, run: str, **options: Any) -> Events:
    ended = project.start("trace", run, "trace.json", **options).wait()
    assert ended.code == 0, ended.stderr
    events: Events = json.loads((project.folder / "trace.json").read_text())["traceEvents"]
    return events


def ns(us: float) -> int:
    return round(us * 1e3)


def stages(events: Events) -> dict[int, str]:
    return {e["pid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "process_name"}


def assert_slices_nest(events: Events) -> None:
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] >= 0
            tracks[event["pid"], event["tid"]].append((ns(event["ts"]), ns(event["ts"] + event["dur"])))
    assert len(tracks) > 3
    for spans in tracks.values():
        open_until: list[int] = []
        for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while open_until and open_until[-1] <= start:
                open_until.pop()
            assert not open_until or end <= open_until[-1]
            open_until.append(end)


def flows_of(events: Events) -> dict[int, Events]:
    """Each begins once, ends once, goes forwards in time, and lies in slices of its datum at each of its stages."""
    slices: dict[tuple[int, int, str], list[tuple[int, int]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            place = event["pid"], event["tid"], event["name"]
            slices[place].append((ns(event["ts"]), ns(event["ts"] + event["dur"])))
    flows: dict[int, Events] = defaultdict(list)
    for event in events:
        if event["ph"] in "stf":
            flows[event["id"]].append(event)
    for flow in flows.values():
        assert [point["ph"] for point in flow] == ["s", *"t" * (len(flow) - 2), "f"]
        assert [point["ts"] for point in flow] == sorted(point["ts"] for point in flow)
        for point in flow:
            spans = slices[point["pid"], point["tid"], point["name"]]
            assert any(start <= ns(point["ts"]) <= end for start, end in spans)
    return flows


def counters_of(events: Events) -> dict[tuple[str, str], list[tuple[float, int]]]:
    """By stage and name; the samples of each in order of time, and none negative."""
    names = stages(events)
    found: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "C":
            found[names[event["pid"]], event["name"]].append((event["ts"], event["args"]["data"]))
    for samples in found.values():
        assert [at for at, _ in samples] == sorted(at for at, _ in samples)
        assert min(depth for _, depth in samples) >= 0
    return found


def test_every_datum_that_arrived_is_followed_from_its_source_to_its_sink(drained) -> None:
    events, report = drained
    assert_slices_nest(events)
    names = stages(events)
    whole = [flow for flow in flows_of(events).values()
             if [names[point["pid"]] for point in flow] == ["numbers", "slow", "keep"]]  # fmt: skip
    followed = {flow[0]["name"] for flow in whole}
    assert len(followed) == len(whole) == report["stages"]["keep"]["processed"]
    assert {f"numbers#{seq}" for seq in range(COUNT - CAPACITY, COUNT)} <= followed  # nothing newer dropped them


def test_drops_misses_and_restarts_are_instants(drained) -> None:
    events, report = drained
    instants = [event["name"].split()[0] for event in events if event["ph"] == "i"]
    dropped = report["edges"]["numbers.number->slow.data"]["dropped"]["drop_oldest"]
    assert instants.count("dropped") == dropped > 0
    assert instants.count("miss") == report["paths"]["quick"]["missed"] > 0
    assert instants.count("restarting") == instants.count("back") == report["stages"]["slow"]["restarts"] == 1


def test_what_waits_is_counted_and_none_is_left_when_all_is_drained(drained) -> None:
    events, _ = drained
    counters = counters_of(events)
    slow = counters["slow", "waiting from numbers, at least"]  # what waited when it died left no record
    keep = counters["keep", "waiting from slow"]
    assert slow[-1][1] == keep[-1][1] == 0
    assert 3 < max(depth for _, depth in slow) <= 2 * CAPACITY  # held at both ends, and sent in between


def test_where_nothing_died_every_datum_is_counted_also_those_that_were_dropped(project: Project) -> None:
    body = PIPELINE.replace('raise ValueError("no luck")', "pass")
    edge = project.report(project.pipeline(body), "--keep", "kept_run")["edges"]["numbers.number->slow.data"]
    counters = counters_of(traced(project, "kept_run"))
    assert set(counters) == {("slow", "waiting from numbers"), ("keep", "waiting from slow")}
    slow = [depth for _, depth in counters["slow", "waiting from numbers"]]
    came = sum(max(after - before, 0) for before, after in pairwise(slow))
    assert slow[-1] == 0
    assert 0.9 * edge["sent"] <= came <= edge["sent"]  # one that comes as another goes is no change
    assert edge["delivered"] < 0.9 * edge["sent"]


def test_a_run_that_was_killed_is_traced_from_its_recorders(project: Project) -> None:
    command = project.start("run", project.pipeline(PIPELINE), "--set", "count=0")
    eventually(lambda: any(event["event"] == "miss" for event in command.events()))
    os.kill(command.process.pid, signal.SIGKILL)
    command.wait()
    eventually(lambda: not command.processes())
    events = traced(project, "traced", temporary=command.temporary)
    assert_slices_nest(events)
    names = stages(events)
    ways = {tuple(names[point["pid"]] for point in flow) for flow in flows_of(events).values()}
    assert ("numbers", "slow", "keep") in ways
    assert counters_of(events)
