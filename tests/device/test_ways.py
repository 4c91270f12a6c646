"""Which of two ways is taken: the other one only where it is clearly the quicker, and what is told of it."""

from __future__ import annotations

import time

import trio
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.timebase import ms, us
from streamflow.device.ways import CLEARLY, GRAPH, LAUNCH, PAIRS_MAX, PAIRS_MIN, PAIRS_SHARE, Choice, Trials, choice

PAIRS_NS = st.lists(st.tuples(*[st.integers(1_000, 10_000_000)] * 2), min_size=PAIRS_MIN, max_size=PAIRS_MAX)


def test_the_other_way_is_taken_where_it_is_clearly_the_quicker() -> None:
    chosen = choice(8, LAUNCH, [61_000, 60_000, 62_000, 61_500], GRAPH, [34_000, 35_000, 33_000, 34_500])
    assert chosen == Choice(8, GRAPH, {LAUNCH: 61_250, GRAPH: 34_250})


def test_a_tie_but_for_the_noise_goes_the_usual_way() -> None:
    assert choice(8, LAUNCH, [60_000, 61_000, 62_000, 63_000], GRAPH, [59_000, 60_000, 61_000, 62_000]).way == LAUNCH


def test_a_median_that_is_less_by_chance_is_not_enough() -> None:
    assert choice(8, LAUNCH, [50_000, 90_000, 95_000, 99_000], GRAPH, [51_000, 60_000, 61_000, 98_000]).way == LAUNCH


def test_what_holds_up_a_pair_on_a_busy_machine_does_not_decide() -> None:
    usual_ns, other_ns = [60_000, 900_000, 61_000, 500_000], [40_000, 700_000, 41_000, 300_000]
    assert choice(8, LAUNCH, usual_ns, GRAPH, other_ns).way == GRAPH


@given(PAIRS_NS)
def test_the_other_way_is_taken_only_where_it_was_clearly_the_quicker_in_most_pairs(pairs_ns) -> None:
    usual_ns, other_ns = zip(*pairs_ns, strict=True)
    count = sum(other <= CLEARLY * usual for usual, other in pairs_ns)
    way = choice(None, LAUNCH, usual_ns, GRAPH, other_ns).way
    assert (way == GRAPH) is (count >= PAIRS_MIN and count >= PAIRS_SHARE * len(pairs_ns))


@given(PAIRS_NS)
def test_of_two_ways_at_most_one_is_clearly_the_quicker(pairs_ns) -> None:
    usual_ns, other_ns = zip(*pairs_ns, strict=True)
    ways = choice(None, LAUNCH, usual_ns, GRAPH, other_ns).way, choice(None, GRAPH, other_ns, LAUNCH, usual_ns).way
    assert ways != (GRAPH, LAUNCH)


def test_a_report_has_microseconds_or_the_reason() -> None:
    told = Choice(8, GRAPH, {LAUNCH: 61_040, GRAPH: 34_000}).told()
    assert told == {"rows": 8, "way": "graph", "launch_us": 61.0, "graph_us": 34.0}
    assert Choice(8, LAUNCH, reason="it waits").told() == {"rows": 8, "way": "launch", "reason": "it waits"}


class Done:
    """What took so long as is said, without having taken it."""

    def __init__(self, took_ns: int) -> None:
        self.is_done = True
        self.device_ns = took_ns
        self.done_ns = time.monotonic_ns() + took_ns

    async def wait(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_all_trials_of_a_stage_share_their_time_and_what_takes_too_long_for_it_is_not_tried() -> None:
    trials, counts = Trials(200 * ms), []
    for took_ns in (1 * us, 1 * ms, 8 * ms, 40 * ms):
        tried = []

        def attempt(took_ns: int = took_ns, tried: list[int] = tried) -> Done:
            tried.append(took_ns)
            return Done(took_ns)

        chosen = await trials.compared(1, LAUNCH, attempt, GRAPH, attempt)
        counts.append(len(tried) // 2)
        assert chosen.way == LAUNCH
        assert bool(chosen.reason) is (took_ns == 40 * ms)
    assert counts[:2] == [PAIRS_MAX, PAIRS_MAX]
    assert PAIRS_MIN <= counts[2] < PAIRS_MAX
    assert counts[3] == 1
    assert trials.left_ns == 0
