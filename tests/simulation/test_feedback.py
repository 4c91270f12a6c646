"""Cycles in whole runs, in virtual time: what comes back, what stands in for it, and that nothing stands still."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nodes.infer import Correct, Predict
from nodes.kernels.tracking import tracked
from streamflow import In, Message, Node, Out, Overflow, Pipeline, PipelineError, Reseed, ms
from streamflow.joins import Exact
from streamflow.testing import Faults, Simulation, Ticks, simulate

RATE_HZ = 100.0
COUNT = 60


class Add(Node):
    """A sum that goes round: the number that comes, and what came of an earlier one."""

    number = In("int64[]")
    before = In("int64[]")
    total = Out("int64[]")

    def process(self, *, number: Message, before: Message) -> Any:
        return number.array + before.array


class Pass(Node):
    data = In("int64[]")
    same = Out("int64[]")

    def __init__(self, absorbs: tuple[int, ...] = ()) -> None:
        self._absorbs = absorbs

    def process(self, message: Message) -> Any:
        return None if message.seq in self._absorbs else message.array


class Sink(Node):
    data = In()

    def process(self, message: Message) -> None: ...


def loop(
    *,
    delay: int = 1,
    reseed: Reseed = Reseed.LAST,
    absorbs: tuple[int, ...] = (),
    max_wait: int | None = None,
    overflow: Overflow = Overflow.BLOCK,
) -> Pipeline:
    p = Pipeline("loop")
    source, add = p.add("source", Ticks(RATE_HZ, COUNT)), p.add("add", Add(), join=Exact(max_wait=max_wait))
    back, sink = p.add("back", Pass(absorbs)), p.add("sink", Sink())
    p.connect(source, add.number)
    p.connect(add, back, overflow=overflow)
    p.connect(add, sink)
    p.connect(back, add.before, delay=delay, initial=np.int64(1000), reseed=reseed)
    return p


def totals(simulation: Simulation) -> list[int]:
    assert simulation.failure is None
    assert simulation.report["conserved"] is True
    return [int(message.array) for message in simulation.results("sink")]


def expected(delay: int) -> list[int]:
    found: list[int] = []
    for number in range(COUNT):
        found.append(number + (found[number - delay] if number >= delay else 1000))
    return found


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("delay", [1, 3])
def test_each_row_gets_what_came_of_the_row_so_many_before_it(delay: int, offline: bool) -> None:
    assert totals(simulate(loop(delay=delay), offline=offline)) == expected(delay)


def test_without_a_clock_the_result_is_waited_for_however_long_the_cycle_takes() -> None:
    simulation = simulate(loop(), offline=True, service={"back": 300 * ms, "add": 2 * ms})
    assert totals(simulation) == expected(1)


def test_a_tracker_whose_prediction_comes_back_gives_what_the_filter_gives_in_one_piece() -> None:
    class Noisy(Node):
        signal = Out("float64[]")

        async def run(self) -> None:
            for index, value in enumerate(np.random.default_rng(0).normal(size=COUNT)):
                due_ns = await self.pace(index * 10 * ms)
                await self.emit(np.float64(value), event_time_ns=due_ns)

    p = Pipeline("tracker")
    source, sink = p.add("source", Noisy()), p.add("sink", Sink())
    correct, predict = p.add("correct", Correct(RATE_HZ)), p.add("predict", Predict(RATE_HZ))
    p.connect(source, correct.measured)
    p.connect(correct, predict)
    p.connect(predict, correct.prior, delay=1, initial=np.zeros(2))
    p.connect(correct, sink)
    simulation = simulate(p)
    found = np.array([message.array for message in simulation.results("sink")])
    truth = tracked(np.random.default_rng(0).normal(size=COUNT), 1 / RATE_HZ, 0.5, 0.1, np.zeros(2))
    np.testing.assert_array_equal(found, truth)


def test_results_tell_whether_the_value_came_back_or_was_there_before() -> None:
    states = [m.attributes["before_state"] for m in simulate(loop(absorbs=(5,))).results("sink")]
    assert states[:8] == ["initial", *["used"] * 5, "held", "used"]


@pytest.mark.parametrize(("reseed", "sixth"), [(Reseed.LAST, 1010 + 6), (Reseed.INITIAL, 1000 + 6)])
def test_for_a_result_that_is_absorbed_its_declared_stand_in_comes_at_once(reseed: Reseed, sixth: int) -> None:
    simulation = simulate(loop(reseed=reseed, absorbs=(5,)))
    assert totals(simulation)[6] == sixth
    waits = [message.sent_ns - message.event_time_ns for message in simulation.results("sink")]
    assert max(waits) < 1 * ms


def test_a_cycle_that_is_too_slow_for_its_input_goes_on_with_older_results() -> None:
    simulation = simulate(loop(max_wait=5 * ms, overflow=Overflow.DROP_OLDEST), service={"back": 40 * ms})
    found = totals(simulation)
    assert len(found) == COUNT
    waits = [message.sent_ns - message.event_time_ns for message in simulation.results("sink")]
    assert max(waits) <= 6 * ms, "and never waits longer than it may"


@pytest.mark.parametrize("stage", ["back", "add"])
def test_a_stage_of_the_cycle_that_dies_comes_back_and_the_cycle_goes_on(stage: str) -> None:
    simulation = simulate(loop(), faults=Faults().crash(stage, seq=20))
    assert simulation.failure is None
    assert simulation.report["conserved"] is True
    states = {m.seq: m.attributes["before_state"] for m in simulation.results("sink")}
    assert states[COUNT - 1] == "used"
    after = [seq for seq, state in states.items() if seq > 20 and state != "used"]
    assert after, "what was lost came not back"
    if stage == "add":
        assert states[after[0]] == "initial", "a new life begins anew"


def test_a_cycle_without_a_delay_is_refused_with_its_stages() -> None:
    p = Pipeline("loop")
    source, add, back = p.add("source", Ticks(10, 1)), p.add("add", Add()), p.add("back", Pass())
    p.connect(source, add.number)
    p.connect(add, back)
    p.connect(back, add.before)
    assert faults(p) == [
        "graph: a cycle back -> add -> back, expected none without a delay; "
        "an edge that leads back says p.connect(..., delay=1, initial=...)"
    ]


def faults(p: Pipeline) -> list[str]:
    with pytest.raises(PipelineError) as told:
        p.check()
    return [str(fault) for fault in told.value.faults]


PLAIN = "edge back->add.before"
BACK = "edge back.same->add.before"
NO_DELAY = "a delay of 1 to 4,096 rows, as in delay=1"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"delay": 1}, f"{PLAIN}: delay without initial, expected the value of the first rows; initial=..."),
        ({"initial": 0}, f"{PLAIN}: initial without a delay, expected {NO_DELAY}"),
        ({"delay": -1, "initial": 0}, f"{PLAIN}: delay -1, expected {NO_DELAY}"),
        (
            {"delay": 9, "initial": np.int64(0), "capacity": 9},
            f"{PLAIN}: capacity 9, expected more than its delay, 9",
        ),
        (
            {"delay": 1, "initial": np.int64(0), "overflow": Overflow.BLOCK},
            f"{BACK}: overflow BLOCK, expected one that drops: a cycle that waits stands still; "
            "Overflow.DROP_OLDEST is the default there",
        ),
        ({"delay": 1, "initial": np.zeros(2)}, f"{BACK}, initial: float64[2], expected int64[]"),
        (
            {"delay": 1, "initial": np.int64(0), "reseed": "none"},
            f"{PLAIN}: reseed 'none', expected Reseed.LAST, Reseed.INITIAL",
        ),
    ],
)
def test_what_is_wrong_with_an_edge_that_leads_back_is_told(settings: dict[str, Any], sentence: str) -> None:
    p = Pipeline("loop")
    source, add, back = p.add("source", Ticks(10, 1)), p.add("add", Add()), p.add("back", Pass())
    p.connect(source, add.number)
    p.connect(add, back)
    p.connect(back, add.before, **settings)
    assert sentence in faults(p)


def test_a_delay_on_an_edge_that_leads_forward_is_refused() -> None:
    p = Pipeline("p")
    source, add, sink = p.add("source", Ticks(10, 1)), p.add("add", Add()), p.add("sink", Sink())
    p.connect(source, add.number)
    p.connect(source, add.before, delay=1, initial=np.int64(0))
    p.connect(add, sink)
    assert faults(p) == [
        "edge source.number->add.before: a delay, but it leads forward, "
        "expected an edge back to a stage before its sender"
    ]
