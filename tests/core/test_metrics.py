"""What is served to monitoring systems: names by convention, buckets that are exact, counters that never go back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core import ladder
from streamflow.core.blame import Culprit
from streamflow.core.course import told_histogram
from streamflow.core.metrics import CATALOGUE, STAGE_STATES, Family, Look, Ratchet, Sample, StageNow, families, parted
from streamflow.core.statistics import Histogram
from streamflow.core.timebase import ms

DURATIONS = st.lists(st.integers(0, 1 << 40), max_size=50)


def look(state: dict[str, Any] | None = None, **fields: Any) -> Look:
    return Look("speech-1-a", "speech", "0.1", state or {}, {}, **fields)


def values(found: list[Family]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """By name as served, and labels but for the pipeline."""
    return {
        (
            family.metric.name + sample.suffix,
            tuple(sorted((key, value) for key, value in sample.labels.items() if key != "pipeline")),
        ): sample.value
        for family in found
        for sample in family.samples
    }


def histogram_of(durations: list[int]) -> Histogram:
    histogram = Histogram()
    for duration in durations:
        histogram.record(duration)
    return histogram


def test_names_are_prometheus_conventional() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)
    for metric in CATALOGUE:
        assert re.fullmatch(r"streamflow(_[a-z]+)+", metric.name), metric.name
        assert not re.search(r"_(ms|us|ns|mb|kb|total|count|sum|bucket|info)(_|$)", metric.name), metric.name
        assert metric.name.endswith(metric.unit)
        assert metric.unit in ("", "seconds", "bytes")
        assert metric.unit or not re.search(r"_(seconds|bytes)$", metric.name), metric.name
        assert metric.help.endswith(".")


def test_the_ladder_rises_and_reaches_from_microseconds_to_seconds() -> None:
    assert list(ladder.EDGES_NS) == sorted(set(ladder.EDGES_NS))
    assert ladder.EDGES_NS[0] < 20_000
    assert ladder.EDGES_NS[-1] > 10_000 * ms


@given(DURATIONS)
def test_buckets_of_a_recorder_are_exact_and_cumulative(durations: list[int]) -> None:
    found = ladder.cumulative(ladder.recorded(histogram_of(durations).counts))
    assert found == [*(sum(one < edge for one in durations) for edge in ladder.EDGES_NS), len(durations)]


@given(DURATIONS)
def test_buckets_of_a_told_histogram_are_exact_and_cumulative(durations: list[int]) -> None:
    told = told_histogram(histogram_of(durations))
    edges = (round(edge_ms * ms) for edge_ms in told["le_ms"])
    found = ladder.cumulative(zip(edges, told["count"], strict=True))
    assert found == [*(sum(one < edge for one in durations) for edge in ladder.EDGES_NS), len(durations)]


@pytest.mark.parametrize("culprit", [culprit.value for culprit in Culprit])
@pytest.mark.parametrize("stage", ["", "vad", "wait", "mailbox"])
def test_who_is_blamed_is_told_apart_as_culprit_and_stage(culprit: str, stage: str) -> None:
    assert parted(f"{culprit} {stage}".strip()) == (culprit, stage)


def test_a_state_is_one_of_several_and_the_others_are_0() -> None:
    found = values(families(look({"stages": {"vad": {"state": "down"}}})))
    told = {dict(labels)["state"]: value for (name, labels), value in found.items() if name == "streamflow_stage_state"}
    assert told == {state: float(state == "down") for state in STAGE_STATES}


def test_an_edge_that_may_drop_begins_with_0() -> None:
    graph = {"edges": [{"name": "a.x->b.y", "overflow": "latest", "capacity": 4}]}
    state = {"edges": {"a.x->b.y": {"sent": 3, "delivered": 3, "dropped": {"too_old": 2}}}}
    found = values(families(Look("r", "p", "v", state, graph)))
    name, edge = "streamflow_edge_dropped_total", ("edge", "a.x->b.y")
    assert found[name, (edge, ("reason", "latest"))] == 0
    assert found[name, (edge, ("reason", "too_old"))] == 2


def test_times_are_told_in_seconds() -> None:
    path = {"within_ms": 50.0, "met": 1, "histogram": {"le_ms": [0.016384], "count": [2], "sum_ms": 0.02}}
    now = StageNow(3_000_000_000, 0, 0, 0, 0, False, 0, 0, ([0] * 41 + [1], 500_000_000))
    found = values(families(look({"paths": {"p": path}}, stages={"vad": now})))
    assert found["streamflow_deadline_bound_seconds", (("path", "p"),)] == 0.05
    assert found["streamflow_stage_busy_seconds_total", (("stage", "vad"),)] == 3.0
    assert found["streamflow_stage_service_seconds_sum", (("stage", "vad"),)] == 0.5
    assert found["streamflow_path_latency_seconds_bucket", (("le", "1.6384e-05"), ("path", "p"))] == 2
    assert found["streamflow_path_latency_seconds_sum", (("path", "p"),)] == pytest.approx(2e-5)


def test_what_a_run_of_another_version_does_not_tell_is_left_out() -> None:
    found = values(families(look({"stages": {"vad": {"state": "running", "processed": None}}})))
    assert not any(name == "streamflow_stage_processed_total" for name, _ in found)


def test_a_counter_never_goes_back_and_a_gauge_may() -> None:
    by_name = {metric.name: metric for metric in CATALOGUE}
    ratchet = Ratchet()

    def held(name: str, value: float) -> float:
        (family,) = ratchet.hold([Family(by_name[name], [Sample("", {"edge": "e"}, value)])])
        return family.samples[0].value

    assert [held("streamflow_edge_delivered", value) for value in (5, 3, 7)] == [5, 5, 7]
    assert [held("streamflow_edge_in_flight", value) for value in (5, 3, 7)] == [5, 3, 7]
