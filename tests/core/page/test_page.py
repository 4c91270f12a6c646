"""The page of a report: what is said of contracts, of events that are not all there, and what plots mark."""

from __future__ import annotations

from typing import Any

from streamflow.core.page import tables
from streamflow.core.page.marks import BROKEN, RESTART, Mark, marks
from streamflow.core.page.page import page
from streamflow.core.portrait import from_values
from streamflow.core.timebase import ms, s
from tests.tools.monitor.conftest import graph, recent

BEGAN_NS = 1_000 * s


def event(at_ms: float, event: str, **fields: Any) -> dict[str, Any]:
    return {"at_ns": BEGAN_NS + round(at_ms * ms), "at": "2026-11-23T18:00:00.000+00:00", "event": event, **fields}


def report(*events: dict[str, Any], **firm: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("absorbed", "shed", "dropped", "rejected", "lost", "in_flight"), 0)
    quantiles = dict.fromkeys(("p50", "p90", "p99", "p999", "max"), 5.0)
    path = {"within_ms": 50.0, "produced": 12, "met": 12, "missed": 0, "latency_ms": quantiles, "source": "mic",
            "sink": "log", "histogram": {"le_ms": [5.0], "count": [12]}, "course": recent(1, 0)["steps"],
            "firm": {"m": 9, "k": 10, "state": "held", "level": 0, "breaches": 0} | firm, **counts}  # fmt: skip
    return {"pipeline": "speech", "duration_s": 12.0, "ending": "done", "conserved": True, "started_ns": BEGAN_NS,
            "paths": {"speech": path}, "stages": {"vad": {"process": "vad"}, "other": {"process": "other"}},
            "edges": {}, "events": list(events), "graph": graph()}  # fmt: skip


def shown(told: dict[str, Any]) -> str:
    return page(told | {"stages": {}})


RESTARTED = (
    event(500, "restarting", processes=["other"], reason="stage other: gone"),
    event(1500, "restarting", processes=["vad"], reason="stage vad: gone"),
    event(1600, "back", process="vad"),
    event(1700, "back", process="other"),
    event(9000, "restarting", processes=["vad"], reason="stage vad: gone again"),
)


def test_restarts_on_the_way_are_marked_when_they_were():
    told = report(*RESTARTED)
    found = marks(told, from_values(told["graph"]), "speech", 12.0)
    assert found == [
        Mark(RESTART, 1.5, 1.6, "vad was started again: stage vad: gone"),
        Mark(RESTART, 9.0, 12.0, "vad was down: stage vad: gone again"),
    ]
    assert marks(told | {"started_ns": 0}, None, "speech", 12.0) == []


def test_a_contract_is_marked_while_it_is_broken():
    told = report(
        event(1000, "broken", path="speech"),
        event(1500, "broken", path="other"),
        event(2000, "escalated", path="speech"),
        event(3000, "recovered", path="speech"),
        event(4000, "recovered", path="speech"),
        event(8000, "broken", path="speech"),
    )
    found = marks(told, None, "speech", 12.0)
    assert [(mark.kind, mark.begin_s, mark.end_s) for mark in found] == [(BROKEN, 1.0, 3.0), (BROKEN, 8.0, 12.0)]


def test_plots_that_have_marks_say_what_they_are():
    text = shown(report(event(0, "started"), event(1000, "broken", path="speech")))
    assert text.count('class="mark broken"') == 2
    assert text.count("</i>contract broken</span>") == 2
    assert "was started again" not in text


def test_a_miss_that_was_given_up_before_its_deadline_is_told_so():
    missed = event(1000, "miss", path="speech", stream="mic", seq=7, late_ms=-19.4)
    assert "given up 19.4 before" in tables.misses([missed])
    assert "given up" not in tables.misses([missed | {"late_ms": 19.4}])


def test_events_of_which_there_were_more_are_said_to_be_the_last():
    assert "<h2>What happened</h2>" in shown(report(event(0, "started"), event(1, "priority")))
    assert "<h2>What happened, the last 2 events</h2>" in shown(report(event(1, "back"), event(2, "priority")))


def test_a_contract_has_a_level_where_it_has_an_escalation_and_its_cell_is_wrapped():
    assert 'class="text wide">9 of 10 <b class="bad">broken; 13 times in all</b>' in shown(
        report(state="broken", breaches=13)
    )
    assert "broken, level 2; 1 time in all" in shown(report(state="broken", level=2, breaches=1))


def test_what_is_drawn_of_an_edge_that_drops_is_explained():
    told = report()
    assert "an edge that drops" in shown(told)
    for edge in told["graph"]["edges"]:
        edge["overflow"] = "block"
    assert "an edge that drops" not in shown(told)


def test_what_a_stage_has_tried_on_its_device_is_told_with_what_each_way_took_or_why_it_was_not_tried():
    stage = {
        **{"process": "work", "device": "cuda:0", "processed": 10, "emitted": 10, "absorbed": 0, "busy": 0.1},
        "service_ms": {},
        "launches": [
            {"rows": 8, "way": "graph", "launch_us": 61.0, "graph_us": 34.0},
            {"rows": 16, "way": "launch", "reason": "cuBLAS & its kin cannot be captured"},
        ],
        "copies": {"ways": [], "straight": 9, "staged": 1, "refused": 0},
    }
    told = tables.stages({"stages": {"work": stage}})
    assert "cuda:0" in told
    assert "None" not in tables.stages({"stages": {"work": stage | {"device": None}}})
    assert "launch 61.0, graph 34.0" in told
    assert "cuBLAS &amp; its kin cannot be captured" in told
    assert "9 straight, 1 staged<" in told
    without = tables.stages({"stages": {"work": stage | {"launches": [], "copies": {}}}})
    assert "tried on its device" not in without
