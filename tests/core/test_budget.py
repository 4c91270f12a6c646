"""What parts of a path cost, what is still to come after a stage, and how a deadline is split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.budget import (
    LIVE_COUNT_MIN,
    SNAPSHOT_GAP_NS,
    UNKNOWN,
    WINDOW_NS,
    Budgets,
    Estimate,
    RecentQuantile,
    budgets,
    known,
    tails,
)
from streamflow.core.deadline import PathDef
from streamflow.core.graph import EdgeDef
from streamflow.core.paths import on_route
from streamflow.core.statistics import Histogram
from streamflow.core.timebase import ms, s, us

FEW, ENOUGH = LIVE_COUNT_MIN - 1, LIVE_COUNT_MIN


def edge(source: str, target: str) -> EdgeDef:
    return EdgeDef(source, "", target, "")


DIAMOND = [edge("mic", "vad"), edge("mic", "net"), edge("net", "join"), edge("vad", "join"), edge("vad", "log")]
ORDER = ["mic", "vad", "net", "join", "log"]


def path(sink: str, within_ns: int | None = None) -> PathDef:
    return PathDef(f"mic->{sink}", "mic", sink, within_ns)


def test_the_profile_counts_until_there_are_live_samples_enough() -> None:
    profile = Estimate(1, 2, 1000)
    assert known(profile, None) is profile
    assert known(profile, Estimate(3, 4, FEW)) is profile
    assert known(profile, Estimate(3, 4, ENOUGH)) == Estimate(3, 4, ENOUGH)


def test_without_a_profile_a_few_samples_give_their_median_and_fewer_give_nothing() -> None:
    assert known(None, None) is UNKNOWN
    assert known(None, Estimate(3, 400, 4)) is UNKNOWN
    assert known(None, Estimate(3, 400, 5)) == Estimate(3, 3, 5)
    assert known(None, Estimate(3, 400, ENOUGH)).p99_ns == 400


def test_a_recent_quantile_of_nothing_is_unknown() -> None:
    recent = RecentQuantile()
    recent.observe(Histogram(), 0)
    assert recent.estimate() == UNKNOWN


def test_a_slow_phase_is_forgotten_after_the_window() -> None:
    histogram, recent = Histogram(), RecentQuantile()
    now_ns = 0

    def go_on(duration_ns: int, service_ns: int) -> Estimate:
        nonlocal now_ns
        for _ in range(duration_ns // (100 * ms)):
            now_ns += 100 * ms
            for _ in range(10):
                histogram.record(service_ns)
            recent.observe(histogram, now_ns)
        return recent.estimate()

    assert go_on(5 * s, 100 * ms).p99_ns == pytest.approx(100 * ms, rel=0.02)
    assert go_on(WINDOW_NS // 2, 2 * ms).p99_ns == pytest.approx(100 * ms, rel=0.02)
    later = go_on(WINDOW_NS // 2 + 2 * SNAPSHOT_GAP_NS, 2 * ms)
    assert later.p99_ns == pytest.approx(2 * ms, rel=0.02)
    assert histogram.quantile(0.99) == pytest.approx(100 * ms, rel=0.02), "the whole run has not forgotten"


def test_a_rare_stream_keeps_the_samples_it_needs_for_longer_than_the_window() -> None:
    histogram, recent = Histogram(), RecentQuantile()
    for second in range(0, 1000, 5):
        histogram.record(second)
        recent.observe(histogram, second * s)
    found = recent.estimate()
    assert LIVE_COUNT_MIN <= found.count <= LIVE_COUNT_MIN + 1
    assert found.p50_ns > 700, "the older ones are gone"
    assert len(recent._snapshots) <= LIVE_COUNT_MIN + 2


def test_a_histogram_that_began_anew_starts_a_new_window() -> None:
    recent = RecentQuantile()
    for now_ns in range(0, 30 * s, s):
        old = Histogram()
        for _ in range(now_ns // s * 100):
            old.record(50 * ms)
        recent.observe(old, now_ns)
    young = Histogram()
    young.record(50 * ms)
    recent.observe(young, 31 * s)
    assert recent.estimate() == Estimate(50 * ms, 50 * ms, 1, 50 * ms)


def test_a_transport_that_waited_in_a_queue_counts_as_long_as_one_that_did_not() -> None:
    assert Estimate(40 * ms, 80 * ms, 100, 1 * ms).unhindered_ns == 2_100_000
    assert Estimate(200 * us, 80 * ms, 100, 90 * us).unhindered_ns == 200 * us
    assert Estimate(40 * ms, 80 * ms, 100).unhindered_ns == 40 * ms, "of a profile, which was measured in no overload"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5 * s), st.lists(st.integers(0, 1000), max_size=30)), min_size=1, max_size=30))
def test_what_is_recent_holds_the_whole_window_and_enough_samples(steps: list[tuple[int, list[int]]]) -> None:
    histogram, recent = Histogram(), RecentQuantile()
    now_ns = 0
    came: list[int] = []
    for gap_ns, values in steps:
        now_ns += gap_ns
        for value in values:
            histogram.record(value)
            came.append(now_ns)
        recent.observe(histogram, now_ns)
        in_window = sum(at_ns > now_ns - WINDOW_NS for at_ns in came)
        assert recent.estimate().count >= max(in_window, min(len(came), LIVE_COUNT_MIN))
        assert recent.estimate().count <= len(came)


def test_a_tail_is_the_longest_way_that_remains_on_the_path() -> None:
    service = {"vad": 2, "net": 40, "join": 3, "log": 100}
    transport = {"mic->net": 1, "net->join": 5, "vad->join": 7}
    assert tails(ORDER, DIAMOND, [path("join"), path("log")], service, transport) == {
        ("mic", 0): 1 + 40 + 5 + 3,
        ("vad", 0): 7 + 3,
        ("net", 0): 5 + 3,
        ("join", 0): 0,
        ("mic", 1): 2 + 100,
        ("vad", 1): 100,
        ("log", 1): 0,
    }


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_along_every_edge_the_tail_shrinks_by_at_least_what_was_passed(data: st.DataObject) -> None:
    service = {stage: data.draw(st.integers(0, 100)) for stage in ORDER}
    transport = {edge.name: data.draw(st.integers(0, 100)) for edge in DIAMOND}
    found = tails(ORDER, DIAMOND, [path("join")], service, transport)
    for step in on_route(DIAMOND, "mic", "join"):
        passed = transport[step.name] + service[step.target]
        assert found[step.source, 0] >= found[step.target, 0] + passed


def way_sum(found: Budgets, *stages: str) -> int:
    total = found.source.budget_ns
    for left, right in pairwise(stages):
        name = f"{left}->{right}"
        total += found.transport[name].budget_ns + found.mailbox[name].budget_ns + found.service[right].budget_ns
        total += found.device[right].budget_ns if right in found.device else 0
    return total


ESTIMATES = st.tuples(st.integers(0, 50 * ms), st.integers(0, 50 * ms)).map(lambda two: Estimate(*sorted(two), 100))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_budgets_use_up_the_deadline_on_the_longest_way_and_no_more_on_any(data: st.DataObject) -> None:
    service = {stage: data.draw(ESTIMATES) for stage in ("vad", "join")}
    transport = {edge.name: data.draw(ESTIMATES) for edge in DIAMOND[:3]}
    within_ns = data.draw(st.integers(1 * ms, 500 * ms))
    device = {"net": data.draw(ESTIMATES)}
    found = budgets(ORDER, DIAMOND, path("join", within_ns), service, transport, device=device)
    sums = [way_sum(found, "mic", "vad", "join"), way_sum(found, "mic", "net", "join")]
    assert within_ns - 10 <= max(sums) <= within_ns, "but for rounding"


def test_budgets_are_in_proportion_to_what_is_usual() -> None:
    service = {"vad": Estimate(2 * ms, 4 * ms, 100), "log": Estimate(8 * ms, 10 * ms, 100)}
    found = budgets(ORDER, DIAMOND, path("log", 100 * ms), service, {})
    assert found.service["vad"].usual_ns == 3 * ms
    assert found.service["log"].budget_ns == pytest.approx(3 * found.service["vad"].budget_ns, rel=1e-6)
    assert found.mailbox["vad->log"].usual_ns == 8 * ms, "behind one other datum"
    assert found.transport["mic->vad"].budget_ns > 0, "although nothing is known of it"
    assert set(found.service) == {"vad", "log"}


def test_without_a_deadline_what_is_usual_is_the_budget() -> None:
    found = budgets(ORDER, DIAMOND, path("log"), {"vad": Estimate(2 * ms, 4 * ms, 100)}, {})
    assert found.service["vad"].budget_ns == found.service["vad"].usual_ns == 3 * ms


def test_a_part_that_was_held_up_now_and_then_gets_no_budget_for_it() -> None:
    assert Estimate(1 * ms, 2 * ms, 100).usual_ns == 1_500_000
    assert Estimate(1 * ms, 60 * ms, 100).usual_ns == 2 * ms
