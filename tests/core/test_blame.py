"""Whose fault a missed deadline is, from what is known of the datum and of what the stages did meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.blame import Blame, Culprit, blame
from streamflow.core.budget import Budgets, Estimate, Share, budgets
from streamflow.core.deadline import PathDef
from streamflow.core.graph import EdgeDef
from streamflow.core.journey import Blocked, Doings, Down, Drop, Hop, Journey, Service, Stall
from streamflow.core.timebase import ms, us

STAGES = ["mic", "pre", "vad", "asr", "out"]
EDGES = [EdgeDef(left, "", right, "") for left, right in pairwise(STAGES)]
NAMES = {edge.target: edge.name for edge in EDGES}
MIDDLE = STAGES[1:]
Draw = st.DataObject


def share(usual_ms: float, budget_ms: float) -> Share:
    return Share(round(usual_ms * ms), round(budget_ms * ms))


# Every service usually takes 2 ms and may take 5; a wait 2 and 4, a link 0.2 and 0.5, the source 0.2 and 0.5.
BUDGETS = Budgets(
    share(0.2, 0.5),
    dict.fromkeys(NAMES.values(), share(0.2, 0.5)),
    dict.fromkeys(NAMES.values(), share(2, 4)),
    dict.fromkeys(MIDDLE, share(2, 5)),
)


def hop(stage: str, *times_ms: float | None, **more: object) -> Hop:
    """Sent, enqueued, started, ended."""
    times = [None if time is None else round(time * ms) for time in times_ms]
    return replace(Hop(stage, NAMES[stage], times[0] or 0, *times[1:], is_sink=stage == "out"), **more)  # type: ignore[arg-type]


def journey(
    *hops: Hop, until_ms: float, sent_ms: float | None = 0.2, drops: tuple[Drop, ...] = (), **doings: Doings
) -> Journey:
    return Journey("mic", 0, 10 * ms, round(until_ms * ms), round(sent_ms * ms), hops, doings, drops)


def services(*spans_ms: tuple[float, float | None]) -> tuple[Service, ...]:
    return tuple(
        Service(round(start * ms), None if end is None else round(end * ms), "mic", 100 + index)
        for index, (start, end) in enumerate(spans_ms)
    )


def named(found: Blame) -> tuple[Culprit, str]:
    return found.kind, found.stage


def test_a_service_over_its_budget_is_named_with_what_is_usual() -> None:
    found = blame(journey(hop("pre", 0.2, 0.4, 0.5, 61.7), until_ms=61.7), BUDGETS)
    assert named(found) == (Culprit.SERVICE, "pre")
    assert found.excess_ns == 61.2 * ms - 5 * ms
    assert found.sentence() == "service at pre took 61.2 ms (usual 2.0)"


def test_the_service_of_the_sink_is_the_sinks() -> None:
    found = blame(journey(hop("out", 0.2, 0.4, 0.5, 30.5), until_ms=30.5), BUDGETS)
    assert named(found) == (Culprit.SINK, "out")
    assert found.timeline() == "mic 0.2 | wire 0.2 | wait@out 0.1 | out 30.0"


def test_a_datum_that_is_still_there_shows_in_the_timeline() -> None:
    found = blame(journey(hop("pre", 0.2, 0.4, 0.5, None), until_ms=10), BUDGETS)
    assert named(found) == (Culprit.SERVICE, "pre")
    assert found.timeline() == "mic 0.2 | wire 0.2 | wait@pre 0.1 | pre 9.5 | not done yet"


def test_a_wait_behind_many_ordinary_services_is_the_mailboxs() -> None:
    busy = services(*((2.0 * i, 2.0 * i + 1.9) for i in range(15)))
    found = blame(journey(hop("pre", 0.2, 0.4, 30, 32), until_ms=32, pre=Doings(busy)), BUDGETS)
    assert named(found) == (Culprit.MAILBOX, "pre")
    assert found.sentence() == "mailbox of pre held it 29.8 ms (usual 2.0), behind 15"
    assert found.timeline() == "mic 0.2 | wait@pre 29.8 (behind 15) | pre 2.0 | not done yet"


@pytest.mark.parametrize("ended_ms", [39.9, None])
def test_a_wait_behind_one_gross_service_is_that_services(ended_ms: float | None) -> None:
    busy = Doings(services((-5, -3), (0, ended_ms)))
    found = blame(journey(hop("pre", 0.2, 0.4, None), until_ms=39, pre=busy), BUDGETS)
    assert named(found) == (Culprit.SERVICE, "pre")
    assert found.detail == "behind mic#101"


def test_the_queue_that_a_gross_service_left_behind_is_its_fault() -> None:
    hung = (-40.0, 0.0)
    queue = [(2.0 * i, 2.0 * i + 2) for i in range(10)]
    waiting = hop("pre", 0.2, 0.4, 20, 22)
    found = blame(journey(waiting, until_ms=22, pre=Doings(services(hung, *queue))), BUDGETS)
    assert (named(found), found.detail) == ((Culprit.SERVICE, "pre"), "behind mic#100")
    apart = [(start + 2, end + 2) for start, end in queue[:9]]
    found = blame(journey(waiting, until_ms=22, pre=Doings(services(hung, *apart))), BUDGETS)
    assert named(found) == (Culprit.MAILBOX, "pre"), "it had been idle since"


def test_the_queue_that_a_stall_or_a_restart_left_behind_is_its_fault() -> None:
    queue = services(*((2.0 * i, 2.0 * i + 2) for i in range(10)))
    waiting = hop("pre", 0.2, 0.4, 20, 22)
    stalled = Doings(queue, stalls=[Stall(-30 * ms, 0)])
    assert named(blame(journey(waiting, until_ms=22, pre=stalled), BUDGETS)) == (Culprit.STALL, "pre")
    within = Doings((*services((-31, 0)), *queue), stalls=[Stall(-30 * ms, -2 * ms)])
    assert named(blame(journey(waiting, until_ms=22, pre=within), BUDGETS)) == (Culprit.STALL, "pre")
    down = Doings(queue, downs=[Down(-30 * ms, 0)])
    assert named(blame(journey(waiting, until_ms=22, pre=down), BUDGETS)) == (Culprit.RESTART, "pre")


@pytest.mark.parametrize(
    ("doings", "expected"),
    [
        (Doings(downs=[Down(2 * ms, 28 * ms)]), (Culprit.RESTART, "pre")),
        (Doings(downs=[Down(2 * ms, 28 * ms, "cuda:0")]), (Culprit.DEVICE, "pre")),
        (Doings(services((-5, -3), (1, 28))), (Culprit.SERVICE, "pre")),
        (Doings(services(*((2.0 * i, 2.0 * i + 1.9) for i in range(15)))), (Culprit.MAILBOX, "pre")),
    ],
)
def test_what_a_source_made_late_for_want_of_room_is_the_fault_of_who_made_none(
    doings: Doings, expected: tuple[Culprit, str]
) -> None:
    made = journey(hop("pre", 29, 29.2, 29.3, 31), until_ms=33, sent_ms=29, pre=doings)
    waited = replace(made, doings={"pre": doings, "mic": Doings(blocked=[Blocked(1 * ms, 28 * ms, "pre")])})
    assert named(blame(waited, BUDGETS)) == expected
    assert named(blame(made, BUDGETS)) == (Culprit.SOURCE, "mic"), "of which nothing else is known"


@pytest.mark.parametrize("ended_ms", [28, None])
def test_a_wait_for_a_stage_that_had_no_room_itself_is_the_fault_of_the_one_behind_it(ended_ms: int | None) -> None:
    """However far behind, and not that of the work on the datum that it could not pass on."""
    ended_ns = None if ended_ms is None else ended_ms * ms
    doings = {
        "pre": Doings(services((1, ended_ms)), blocked=[Blocked(2 * ms, ended_ns, "vad")]),
        "vad": Doings(services((2, ended_ms)), blocked=[Blocked(3 * ms, ended_ns, "asr")]),
        "asr": Doings(stalls=[Stall(3 * ms, ended_ns)]),
    }
    waiting = replace(journey(hop("pre", 0.2, 0.4, None), until_ms=30), doings=doings)
    assert named(blame(waiting, BUDGETS)) == (Culprit.STALL, "asr")


def test_of_two_that_wait_for_each_other_one_is_named() -> None:
    doings = {
        "pre": Doings(blocked=[Blocked(1 * ms, None, "vad")]),
        "vad": Doings(blocked=[Blocked(1 * ms, None, "pre")]),
    }
    waiting = replace(journey(hop("pre", 0.2, 0.4, None), until_ms=30), doings=doings)
    assert blame(waiting, BUDGETS).kind is Culprit.MAILBOX


def test_a_wait_for_a_stage_that_went_with_its_device_is_the_devices_fault() -> None:
    waiting = hop("pre", 1)
    lost = Doings(downs=[Down(-5 * ms, None, "cuda:0")])
    found = blame(journey(waiting, until_ms=22, pre=lost), BUDGETS)
    assert named(found) == (Culprit.DEVICE, "pre")
    assert found.sentence().endswith(", cuda:0 was lost")


def test_a_stall_that_prolonged_a_service_is_not_the_services_fault() -> None:
    stalled = Doings(services((0, 31)), stalls=[Stall(1 * ms, 30 * ms, is_gc=True)])
    found = blame(journey(hop("pre", 0.2, 0.4, 31, 33), until_ms=33, pre=stalled), BUDGETS)
    assert named(found) == (Culprit.STALL, "pre")
    assert found.sentence() == "loop of pre stood still for 29.0 ms, garbage collection"
    own = Doings(stalls=[Stall(1 * ms, 30 * ms)])
    assert named(blame(journey(hop("pre", 0.2, 0.4, 0.5, 32), until_ms=33, pre=own), BUDGETS)) == (Culprit.STALL, "pre")


def test_a_wait_that_nothing_explains_is_the_links() -> None:
    found = blame(journey(hop("pre", 0.2, None), until_ms=30), BUDGETS)
    assert named(found) == (Culprit.TRANSPORT, "pre")
    assert found.sentence() == "transport to pre took 29.8 ms (usual 0.2)"


def test_a_sender_that_stands_still_after_sending_is_not_the_link() -> None:
    stalled = Doings(stalls=[Stall(0, None)])
    found = blame(journey(hop("pre", 0.2, 0.4, 0.5, 2), hop("vad", 2, None), until_ms=30, pre=stalled), BUDGETS)
    assert named(found) == (Culprit.STALL, "pre")


def test_a_wait_in_the_mailbox_of_an_idle_stage_is_not_the_links() -> None:
    assert named(blame(journey(hop("pre", 0.2, 0.4, None), until_ms=30), BUDGETS)) == (Culprit.MAILBOX, "pre")
    collected = hop("pre", 0.2, 0.4, 30, 32, batch=8)
    assert named(blame(journey(collected, until_ms=32), BUDGETS)) == (Culprit.BATCH, "pre")


def test_a_late_emission_is_the_sources_unless_its_process_was_down_or_stood_still() -> None:
    late = journey(hop("pre", 30, 30.2, 30.3, 32), sent_ms=30, until_ms=32)
    found = blame(late, BUDGETS)
    assert found.sentence() == "source mic emitted it 30.0 ms after the event (usual 0.2)"
    down = replace(late, doings={"mic": Doings(downs=[Down(0, 29 * ms)])})
    assert named(blame(down, BUDGETS)) == (Culprit.RESTART, "mic")
    stalled = replace(late, doings={"mic": Doings(stalls=[Stall(0, 29 * ms)])})
    assert named(blame(stalled, BUDGETS)) == (Culprit.STALL, "mic")


def test_a_service_that_waited_for_room_downstream_is_the_next_mailboxs_fault() -> None:
    blocked = hop("pre", 0.2, 0.4, 0.5, 32, blocked_ns=29 * ms)
    found = blame(journey(blocked, hop("vad", 32, 32.1, 32.2, 34), until_ms=34), BUDGETS)
    assert named(found) == (Culprit.MAILBOX, "vad")
    hung = Doings(services((1, 32)))
    found = blame(journey(blocked, hop("vad", 32, 32.1, 32.2, 34), until_ms=34, vad=hung), BUDGETS)
    assert named(found) == (Culprit.SERVICE, "vad")


def test_time_on_the_device_is_the_devices() -> None:
    on_device = hop("pre", 0.2, 0.4, 0.5, 2, device_done_ns=32 * ms)
    found = blame(journey(on_device, hop("vad", 32, 32.1, 32.2, 34), until_ms=34), BUDGETS)
    assert named(found) == (Culprit.DEVICE, "pre")


def test_what_waits_for_a_dropped_piece_was_dropped_upstream_however_slow_the_rest() -> None:
    dropped = (Drop("vad", "mic->vad", 9 * ms),)
    waiting = journey(hop("pre", 0.2, 0.4, 0.5, 8), hop("out", 8, 8.2, None), until_ms=10, drops=dropped)
    found = blame(waiting, BUDGETS)
    assert (named(found), found.detail) == ((Culprit.DROP, "vad"), "on mic->vad")
    assert not found.timeline().endswith("not done yet")
    worked_on = journey(hop("out", 0.2, 0.4, 0.5, None), until_ms=10, drops=dropped)
    assert named(blame(worked_on, BUDGETS)) == (Culprit.SINK, "out"), "it does not wait for that piece"


def test_of_equal_excesses_the_first_on_the_way_is_named() -> None:
    found = blame(journey(hop("pre", 0.5, 1, 2, 22), hop("vad", 22, 22.5, 26, 46), sent_ms=0.5, until_ms=46), BUDGETS)
    assert named(found) == (Culprit.SERVICE, "pre")


def test_a_datum_without_any_time_has_no_segments() -> None:
    found = blame(journey(until_ms=0), BUDGETS)
    assert (found.segments, found.excess_ns) == ((), 0)


TIMES = st.integers(-5 * ms, 60 * ms)
MAYBE = st.none() | TIMES
SPANS = st.tuples(TIMES, MAYBE).map(lambda two: two if two[1] is None else (min(two), max(two)))  # type: ignore[type-var]
DOINGS = st.builds(
    Doings,
    st.lists(SPANS.map(lambda span: Service(*span, "mic", 1)), max_size=6),
    st.lists(SPANS.map(lambda span: Stall(*span)), max_size=2),
    st.lists(SPANS.map(lambda span: Down(*span)), max_size=2),
)


@st.composite
def any_journeys(draw: st.DrawFn) -> Journey:
    """Whatever records may say, were they torn from different moments."""
    hops = [
        Hop(stage, NAMES[stage], draw(TIMES), draw(MAYBE), draw(MAYBE), draw(MAYBE), draw(st.integers(0, 20 * ms)),
            draw(st.just(0) | TIMES), draw(st.integers(1, 3)), stage == "out")
        for stage in MIDDLE[: draw(st.integers(0, 4))]
    ]  # fmt: skip
    doings = draw(st.dictionaries(st.sampled_from(STAGES), DOINGS, max_size=3))
    drops = draw(st.lists(TIMES.map(lambda at_ns: Drop("vad", "mic->vad", at_ns)), max_size=1))
    return Journey("mic", draw(TIMES), 10 * ms, draw(TIMES), draw(MAYBE), hops, doings, drops)


@settings(max_examples=150, deadline=None)
@given(any_journeys())
def test_segments_cover_the_time_without_gap_or_overlap(made_up: Journey) -> None:
    found = blame(made_up, BUDGETS)
    at_ns = made_up.event_time_ns
    for segment in found.segments:
        assert segment.start_ns == at_ns
        assert segment.duration_ns > 0
        at_ns = segment.end_ns
    assert at_ns == max(made_up.until_ns, made_up.event_time_ns)
    if found.segments:
        own = [segment for segment in found.segments if (segment.kind, segment.stage) == named(found)]
        assert found.took_ns == sum(segment.duration_ns for segment in own)
        assert found.excess_ns == found.took_ns - sum(segment.budget_ns for segment in own)
        assert found.sentence()


class Run:
    """A pipeline at its usual pace with noise: one datum's way through it, with one fault put in somewhere."""

    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self.draw = draw
        self.usual = {stage: draw(st.integers(200 * us, 8 * ms)) for stage in MIDDLE}
        wire = {name: draw(st.integers(60 * us, 400 * us)) for name in NAMES.values()}
        self.wire = wire
        estimates = {stage: Estimate(usual, usual * 12 // 10, 100) for stage, usual in self.usual.items()}
        links = {name: Estimate(usual, usual * 2, 100) for name, usual in wire.items()}
        total = 2 * sum(self.usual.values()) + sum(wire.values())
        self.within_ns = total * draw(st.integers(20, 60)) // 10
        path = PathDef("mic->out", "mic", "out", self.within_ns)
        self.budgets = budgets(STAGES, EDGES, path, estimates, links, source=Estimate(200 * us, 300 * us, 100))
        self.where = MIDDLE[draw(st.integers(0, 3))]
        self.fault_ns = self.within_ns + draw(st.integers(1 * ms, 50 * ms))

    def noisy(self, usual_ns: int) -> int:
        return usual_ns * self.draw(st.integers(80, 115)) // 100

    def ordinary(self, stage: str, from_ns: int, count: int) -> list[Service]:
        made = []
        for seq in range(count):
            ended_ns = from_ns + self.noisy(self.usual[stage])
            made.append(Service(from_ns, ended_ns, "mic", seq))
            from_ns = ended_ns + self.draw(st.integers(5 * us, 60 * us))
        return made

    def journey(self, fault: str) -> Journey:
        doings: dict[str, Doings] = {}
        hops: list[Hop] = []
        now_ns = self.draw(st.integers(50 * us, 300 * us)) + (self.fault_ns if fault == "late source" else 0)
        sent_ns = now_ns
        for stage in MIDDLE:
            fault_here = fault if stage == self.where else ""
            left_ns = now_ns
            now_ns += self.noisy(self.wire[NAMES[stage]]) + (self.fault_ns if fault_here == "blocked link" else 0)
            arrived_ns = now_ns
            # Now and then it waits behind one ordinary datum, which was begun before it came.
            before = self.ordinary(stage, left_ns - self.usual[stage] // 2, self.draw(st.integers(0, 1)))
            now_ns = max([now_ns, *(service.ended_ns or 0 for service in before)])
            stalls: list[Stall] = []
            downs: list[Down] = []
            if fault_here == "long mailbox":
                before += self.ordinary(stage, now_ns, self.fault_ns // self.usual[stage] + 1)
                now_ns = before[-1].ended_ns or 0
            elif fault_here == "hung before":
                before.append(Service(now_ns, now_ns + self.fault_ns, "mic", 77))
                now_ns += self.fault_ns
            elif fault_here == "stalled loop":
                stalls.append(Stall(now_ns, now_ns + self.fault_ns))
                now_ns += self.fault_ns
            elif fault_here == "killed process":
                downs.append(Down(left_ns, None if self.draw(st.booleans()) else left_ns + self.fault_ns))
                now_ns = left_ns + self.fault_ns
            doings[stage] = Doings(before, stalls, downs)
            is_open = fault_here == "killed process" and downs[0].ended_ns is None
            started_ns = None if is_open else now_ns
            now_ns += self.noisy(self.usual[stage]) + (self.fault_ns if fault_here == "slow stage" else 0)
            ended_ns = None if is_open or fault_here == "hung stage" else now_ns
            enqueued_ns = None if fault_here in ("killed process", "hung before") else arrived_ns
            hops.append(Hop(stage, NAMES[stage], left_ns, enqueued_ns, started_ns, ended_ns, is_sink=stage == "out"))
            if ended_ns is None:
                break
        at_expiry = hops[-1].ended_ns is None or self.draw(st.booleans())
        until_ns = self.within_ns if at_expiry else now_ns
        return Journey("mic", 0, self.within_ns, until_ns, sent_ns, hops, doings)


FAULTS = {
    "slow stage": Culprit.SERVICE,
    "hung stage": Culprit.SERVICE,
    "hung before": Culprit.SERVICE,
    "stalled loop": Culprit.STALL,
    "blocked link": Culprit.TRANSPORT,
    "late source": Culprit.SOURCE,
    "long mailbox": Culprit.MAILBOX,
    "killed process": Culprit.RESTART,
}


@pytest.mark.parametrize("fault", FAULTS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_injected_fault_is_named(fault: str, data: Draw) -> None:
    run = Run(data.draw)
    found = blame(run.journey(fault), run.budgets)
    kind = FAULTS[fault]
    if kind is Culprit.SERVICE and run.where == "out":
        kind = Culprit.SINK
    assert named(found) == (kind, "mic" if fault == "late source" else run.where), found.timeline()
