"""Variants of a stage through load steps, broken contracts and deaths, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from streamflow import (
    Batch,
    In,
    Message,
    Node,
    OnMiss,
    Out,
    Overflow,
    Pipeline,
    StateRules,
    StateTensor,
    VariantStates,
    ms,
    s,
)  # fmt: skip
from streamflow.runtime.stage.variants import VariantsNode
from streamflow.testing import Faults, Simulation, simulate

FULL_NS, SMALL_NS = 10 * ms, 2 * ms
BACK_NS = 400 * ms


class Steps(Node):
    """Data at one rate after another: (data a second, seconds)."""

    number = Out("int64[]")

    def __init__(self, *loads: tuple[float, float]) -> None:
        self.loads = loads

    async def run(self) -> None:
        began_s, nth = 0.0, 0
        for rate_hz, length_s in self.loads:
            for each in range(round(rate_hz * length_s)):
                due_ns = await self.pace(round((began_s + each / rate_hz) * s))
                await self.emit(np.int64(nth), event_time_ns=due_ns)
                nth += 1
            began_s += length_s


class Full(Node):
    """Counts how often it was stepped."""

    number = In("int64[]")
    seen = Out("int64[]")
    state_rules = StateRules()

    def state_tensors(self) -> Sequence[StateTensor]:
        return [StateTensor("seen", "int64", ())]

    def process(self, message: Message) -> Any:
        stepping = self.begin_steps([message])
        following = [array + 1 for array in stepping.arrays]
        stepping.commit(following)
        return stepping.results([array[0] for array in following])[0]


class Small(Full):
    """The same at less cost."""


class Sink(Node):
    seen = In("int64[]")

    def process(self, message: Message) -> None:
        return None


def pipeline(
    *loads: tuple[float, float],
    states: VariantStates = VariantStates.OWN,
    firm: tuple[int, int] | None = (19, 20),
    on_miss: OnMiss = OnMiss.DELIVER,
) -> Callable[[], Pipeline]:
    def build() -> Pipeline:
        p = Pipeline("variants")
        source = p.add("source", Steps(*loads))
        infer = p.add("infer", variants=[Full(), Small()], back_after=BACK_NS, states=states)
        sink = p.add("sink", Sink())
        p.connect(source, infer, overflow=Overflow.DROP_OLDEST, capacity=8)
        p.connect(infer, sink)
        p.deadline("whole", source, sink, within=60 * ms, on_miss=on_miss, firm=firm)
        return p

    return build


def run(build: Callable[[], Pipeline], faults: Faults | None = None) -> Simulation:
    return simulate(build, faults=faults, service={"infer.Full": FULL_NS, "infer.Small": SMALL_NS}, limit_s=60.0)


def used(simulation: Simulation) -> list[str]:
    return [str(message.attributes["variant"]) for message in simulation.handled["sink"]]


def switches(names: Sequence[str]) -> int:
    return sum(a != b for a, b in pairwise(names))


STEP = ((50.0, 1.0), (200.0, 1.0), (50.0, 2.0))


def test_a_load_step_is_met_by_the_cheaper_variant_and_left_again_in_the_declared_time() -> None:
    simulation = run(pipeline(*STEP))
    names = used(simulation)
    assert switches(names) == 2 == simulation.stages["infer"]["variant_switches"]
    assert simulation.paths["whole"]["firm"]["breaches"] == 0
    assert simulation.paths["whole"]["missed"] == 0
    told = simulation.stages["infer"]["variants"]
    assert told == {"Full": names.count("Full"), "Small": names.count("Small")}
    assert sum(told.values()) == 50 + 200 + 100
    first_back = next(m for m in simulation.handled["sink"] if m.seq > 250 and m.attributes["variant"] == "Full")
    assert (first_back.seq - 250) / 50 * s <= BACK_NS + 40 * ms
    assert [event["variant"] for event in simulation.events_of("variant")] == ["Small", "Full"]
    assert simulation.report["conserved"] is True


def test_each_variant_has_the_state_of_what_it_has_seen_and_says_what_it_has_not() -> None:
    simulation = run(pipeline(*STEP))
    last = {"Full": (-1, 0), "Small": (-1, 0)}
    for message in simulation.handled["sink"]:
        name = str(message.attributes["variant"])
        seq, count = last[name]
        assert int(message.array) == count + 1
        assert int(message.attributes.get("gap", 0)) == message.seq - seq - 1
        last[name] = (message.seq, int(message.array))
    assert last["Full"][1] + last["Small"][1] == 350


def test_a_shared_state_is_stepped_by_whichever_is_in_use() -> None:
    simulation = run(pipeline(*STEP, states=VariantStates.SHARED))
    assert [int(message.array) for message in simulation.handled["sink"]] == list(range(1, 351))
    assert not any("gap" in message.attributes for message in simulation.handled["sink"])
    assert switches(used(simulation)) == 2


def test_a_state_that_is_reset_begins_anew_with_each_switch_and_says_so() -> None:
    simulation = run(pipeline(*STEP, states=VariantStates.RESET))
    messages = simulation.handled["sink"]
    (back,) = [
        b for a, b in pairwise(messages) if (a.attributes["variant"], b.attributes["variant"]) == ("Small", "Full")
    ]
    assert int(back.array) == 1
    assert back.attributes["gap_action"] == "reset"
    assert int(messages[messages.index(back) + 1].array) == 2


def test_the_next_life_goes_on_with_the_variant_in_use_and_with_the_states_of_both() -> None:
    simulation = run(pipeline(*STEP), Faults().crash("infer", at_s=1.5))
    assert simulation.stages["infer"]["restarts"] == 1
    names = used(simulation)
    assert switches(names) == 2
    assert simulation.report["conserved"] is True
    full = [int(m.array) for m in simulation.handled["sink"] if m.attributes["variant"] == "Full"]
    assert full == list(range(1, len(full) + 1))


def test_what_cannot_be_met_at_all_uses_the_cheapest() -> None:
    simulation = run(pipeline((700.0, 1.0), on_miss=OnMiss.SHED, firm=None))
    assert used(simulation).count("Full") < 16
    assert used(simulation).count("Small") > 450


def test_where_nothing_is_due_or_dropped_the_best_is_used() -> None:
    def build() -> Pipeline:
        p = Pipeline("variants")
        infer = p.add("infer", variants=[Full(), Small()])
        p.connect(p.add("source", Steps(*STEP)), infer)
        p.connect(infer, p.add("sink", Sink()))
        return p

    assert set(used(run(build))) == {"Full"}


def drops(rates: tuple[float, float], capacity: int, firm: tuple[int, int], within_ns: int) -> Simulation:
    """A second at the first rate, one at the second, two at the first again, before a mailbox that drops."""

    def build() -> Pipeline:
        p = Pipeline("drops")
        low_hz, high_hz = rates
        source = p.add("source", Steps((low_hz, 1.0), (high_hz, 1.0), (low_hz, 2.0)))
        infer = p.add("infer", variants={"full": Full(), "small": Small()}, back_after=BACK_NS)
        sink = p.add("sink", Sink())
        p.connect(source, infer, overflow=Overflow.LATEST if capacity == 1 else Overflow.DROP_OLDEST, capacity=capacity)
        p.connect(infer, sink)
        p.deadline("whole", source, sink, within=within_ns, firm=firm)
        return p

    return simulate(build, service={"infer.full": FULL_NS, "infer.small": SMALL_NS}, limit_s=60.0)


@pytest.mark.parametrize(
    ("rates", "capacity", "firm"),
    [((25.0, 290.0), 8, (19, 20)), ((90.0, 200.0), 8, (19, 20)), ((60.0, 160.0), 1, (8, 10))],
)
def test_what_a_mailbox_drops_counts_as_load_however_long_the_deadline(
    rates: tuple[float, float], capacity: int, firm: tuple[int, int]
) -> None:
    """Where it drops, what comes to the stage comes at its own pace, and nothing gets old."""
    simulation = drops(rates, capacity, firm, 2 * s)
    names = used(simulation)
    assert simulation.paths["whole"]["firm"]["breaches"] == 0
    assert (names[0], names[-1], switches(names)) == ("full", "full", 2)


def test_a_broken_contract_calls_for_the_cheapest_whatever_was_declared_to_follow() -> None:
    """Nothing that the stage sees would: what it sends is lost behind it."""
    simulation = run(pipeline((50.0, 4.0)), Faults().drop("infer->sink", from_s=0.5, until_s=0.7))
    assert simulation.paths["whole"]["firm"]["breaches"] == 1
    names = used(simulation)
    assert (names[0], names[-1], switches(names)) == ("Full", "Full", 2)
    assert names.count("Small") >= 2 * 20  # for so many data it has to hold until it counts as kept again


def test_a_state_that_was_to_be_reset_is_so_in_the_next_life_too() -> None:
    """The life that went over dies before its first step by the other, and the next has the old state before it."""
    loads = ((50.0, 1.0), (200.0, 0.5), (50.0, 2.0))
    undisturbed = run(pipeline(*loads, states=VariantStates.RESET)).handled["sink"]
    back = next(
        b for a, b in pairwise(undisturbed) if (a.attributes["variant"], b.attributes["variant"]) == ("Small", "Full")
    )
    simulation = run(pipeline(*loads, states=VariantStates.RESET), Faults().crash("infer", seq=back.seq))
    assert simulation.stages["infer"]["restarts"] == 1
    first = next(m for m in simulation.handled["sink"] if m.seq > back.seq and m.attributes["variant"] == "Full")
    assert (int(first.array), first.attributes["gap_action"]) == (1, "reset")


class Holds(Full):
    def __init__(self, mark: int) -> None:
        self.mark = mark

    def flush(self) -> Any:
        return [np.int64(self.mark), np.int64(self.mark + 1)]


def test_variants_of_one_class_are_numbered_and_what_each_holds_back_is_in_its_name() -> None:
    def build() -> Pipeline:
        p = Pipeline("variants")
        infer = p.add("infer", variants=[Holds(100), Holds(200)])
        p.connect(p.add("source", Steps((50.0, 0.1))), infer)
        p.connect(infer, p.add("sink", Sink()))
        return p

    told = [(int(m.array), m.attributes["variant"]) for m in simulate(build).handled["sink"]]
    assert told[-4:] == [(100, "Holds-1"), (101, "Holds-1"), (200, "Holds-2"), (201, "Holds-2")]


def faulty(**settings: Any) -> str:
    p = Pipeline("test")
    p.add("infer", **settings)
    return next(str(fault) for fault in p.definition().faults if "infer" in str(fault))


class Other(Small):
    seen = Out("float32[]")


class There(Small):
    number = In("int64[]", on_device=True)


class Degrades(Small):
    def degrade(self, message: Message) -> Any:
        return message.array


@pytest.mark.parametrize(("cheaper", "is_taken"), [(There, True), (Small, False)])
def test_tensors_come_on_a_device_where_each_variant_takes_them_there(cheaper: type[Node], is_taken: bool) -> None:
    p = Pipeline("test")
    p.add("infer", variants=[There(), cheaper()])
    (stage,) = p.definition().graph.stages
    assert stage.inputs["number"].type.on_device is is_taken


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "stage infer: no node, expected a node, or variants of it"),
        (
            {"node": Full(), "variants": [Full(), Small()]},
            "stage infer: a node and variants, expected one of them; the node may be the first variant",
        ),
        (
            {"variants": [Full()]},
            "stage infer, variants: 1 of them, expected 2 to 8, the best first; as in variants=[Full(), Small()]",
        ),
        (
            {"variants": {"": Full(), "small": Small()}},
            "stage infer, variants: one without a name, expected a name for each; it stands in each result",
        ),
        (
            {"variants": 2 * [Full()]},
            "stage infer, variants: one node twice, expected a node for each; as in variants=[Full(), Small()]",
        ),
        (
            {"variants": [Full(), Small()], "batch": Batch()},
            "stage infer: a batch and variants, expected one of them; variants work on each datum by itself",
        ),
        (
            {"variants": [Full(), 3]},
            "stage infer, variants: a int, expected nodes, the best first; as in variants=[Full(), Small()]",
        ),
        (
            {"variants": [Full(), Other()]},
            "stage infer, variant Other: ports number In(int64[]), seen Out(float32[]), "
            "expected those of Full: number In(int64[]), seen Out(int64[])",
        ),
        (
            {"variants": [Full(), Degrades()]},
            "stage infer, variant Degrades: Degrades has degrade(), expected none; cheaper variants are in its place",
        ),
        (
            {"variants": [Full(), Steps()]},
            "stage infer, variant Steps: Steps has no process(), expected a node that has",
        ),
        (
            {"variants": [Full(), Small()], "back_after": 0},
            "stage infer: back_after 0, expected more than 0; as in back_after=2 * s",
        ),
    ],
)
def test_what_cannot_be_a_variant_is_refused_with_what_can(settings: dict[str, Any], sentence: str) -> None:
    assert faulty(**settings) == sentence


class Wide(Small):
    def state_tensors(self) -> Sequence[StateTensor]:
        return [StateTensor("seen", "int64", (2,))]


def test_states_that_differ_cannot_be_shared() -> None:
    def build() -> Pipeline:
        p = Pipeline("variants")
        source = p.add("source", Steps((50.0, 0.1)))
        infer = p.add("infer", variants=[Full(), Wide()], states=VariantStates.SHARED)
        p.connect(source, infer)
        p.connect(infer, p.add("sink", Sink()))
        return p

    failure = simulate(build).failure
    assert failure is not None
    assert "states of variant Wide: seen: int64[2], batch axis 0" in failure
    assert "shared states are stepped by all; else states=VariantStates.OWN or RESET" in failure


def test_what_all_variants_need_is_imported_beforehand() -> None:
    preloaded = []

    class Imports(Full):
        def preload(self) -> None:
            preloaded.append(self)

    nodes = {"full": Imports(), "small": Imports()}
    VariantsNode(nodes).preload()
    assert preloaded == list(nodes.values())
