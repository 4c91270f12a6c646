"""Whose turn it is at a device that several stages share, and when it is free."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.latency_profile import LatencyProfile
from streamflow.core.turns import Cost, Free, TurnOrder
from streamflow.device.turns import Turns

STAGES = ["a", "b", "c"]


def test_the_next_turn_is_of_the_least_latest_start() -> None:
    order = TurnOrder(2)
    order.claim("a", 300)
    order.claim("b", 100)
    order.claim("c", 200)
    assert order.next == "b"
    order.begin("b", 0, Cost(10, 10))
    assert order.next == "c"


def test_who_has_no_deadline_comes_last_in_the_order_of_asking() -> None:
    order = TurnOrder(3)
    for stage, latest_ns in (("a", 0), ("b", 0), ("c", 900)):
        order.claim(stage, latest_ns)
    order.claim("a", 0)
    begun = []
    while (following := order.next) is not None:
        order.begin(following, 0, Cost(1, 1))
        begun.append(following)
    assert begun == ["c", "a", "b"]


def test_nobody_is_next_while_all_turns_are_taken() -> None:
    order = TurnOrder(2)
    for stage in STAGES:
        order.claim(stage, 5)
    order.begin("a", 0, Cost(10, 10))
    order.begin("b", 0, Cost(10, 10))
    assert order.next is None
    order.done("a", 10)
    assert order.next == "c"
    order.withdraw("c")
    assert order.next is None


def test_the_device_is_free_when_one_after_the_other_is_done() -> None:
    order = TurnOrder(2)
    assert order.free(50).usual_ns <= 50
    order.begin("a", 100, Cost(8, 10))
    order.given("a", 102)
    order.begin("b", 104, Cost(16, 20))
    order.given("b", 105)
    assert order.free(106) == Free(102 + 8 + 16, 102 + 10 + 20)
    assert order.free(120) == Free(120 + 16, 120 + 20), "what takes longer than it should may end at any instant"
    assert order.done("a", 111) == 9
    assert order.free(112) == Free(111 + 16, 111 + 20)
    assert order.done("b", 130) == 19, "of two that overlap no instant counts twice"
    assert order.free(140).usual_ns == 130


def test_who_leaves_has_nothing_more_there() -> None:
    order = TurnOrder(1)
    order.claim("a", 1)
    order.begin("a", 0, Cost(5, 5))
    order.claim("b", 2)
    order.leave("a")
    assert order.next == "b"
    assert order.free(9).usual_ns <= 9


STEPS = st.lists(
    st.tuples(st.sampled_from(["claim", "withdraw", "begin", "done"]), st.sampled_from(STAGES), st.integers(0, 5))
)


@given(STEPS, st.integers(1, 3))
def test_no_more_turns_are_taken_than_there_are_and_the_most_urgent_is_told(
    steps: list[tuple[str, str, int]], limit: int
) -> None:
    """Whoever is rung, and begins when it is its turn, is the one with the least latest start of all that wait."""
    rung: list[str] = []
    turns = Turns(limit)
    seats = {stage: turns.seat(stage, lambda stage=stage: rung.append(stage)) for stage in STAGES}  # type: ignore[misc]
    at_work: list[str] = []
    wanted: dict[str, int] = {}
    for now_ns, (step, stage, latest_ns) in enumerate(steps):
        seat, rung[:] = seats[stage], []
        if step == "claim":
            has_turn = seat.claim(latest_ns)
            wanted[stage] = latest_ns
            urgent = min(wanted.values(), key=lambda latest: (latest == 0, latest))
            assert not has_turn or (len(at_work) < limit and wanted[stage] == urgent)
        elif step == "withdraw":
            seat.withdraw()
            wanted.pop(stage, None)
        elif step == "begin" and stage in wanted and seat.claim(wanted[stage]):
            seat.begin(now_ns, Cost(1, 1))
            del wanted[stage]
            at_work.append(stage)
        elif step == "done" and stage in at_work:
            seat.done(now_ns)
            at_work.remove(stage)
            assert bool(rung) == bool(wanted), "a turn that comes back is told"
        assert len(at_work) <= limit
        assert all(one in wanted for one in rung)


def test_how_soon_a_batch_may_be_done_is_less_than_what_it_usually_takes() -> None:
    profile = LatencyProfile((1, 2, 4, 8))
    assert profile.soonest_ns(4) == 0
    for nth in range(20):
        profile.served(2, 100 + nth, is_late=False)
    assert 100 <= profile.soonest_ns(2) <= 103
    assert profile.cost_ns(2) >= 115
    assert profile.soonest_ns(8) == profile.soonest_ns(2), "a larger one takes no less"
    assert profile.soonest_ns(1) == 0
    assert LatencyProfile((1, 2), {1: 7, 2: 9}).soonest_ns(2) == 9
