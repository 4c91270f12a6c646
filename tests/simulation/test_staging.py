"""A stage whose batches a device works on: while one runs the next is staged, in whole runs in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from streamflow import Batch, Flag, In, Message, Node, OnDevice, OnMiss, Out, Output, Pipeline, ms, us
from streamflow.core.verdict import Kind
from streamflow.device.contract import Device
from streamflow.device.host import Delays
from streamflow.device.slots import SlotRing
from streamflow.device.virtual import VirtualDevice
from streamflow.runtime.clock import TrioClock
from streamflow.testing import Bursts, Faults, OfBatch, Simulation, Ticks, simulate
from streamflow.testing.device_faults import DeviceFaults, FaultyDevice
from tests.simulation.test_batches import Merge, Sink, by_stream, in_time
from tools.campaigns.laws import broken_laws

SIZE_MAX = 16
DELAYS = Delays(launch_ns=4 * ms, copy_ns_per_kib=32 * ms)  # a quarter of a millisecond for eight bytes, in and out
KNOWN = {size: 4 * ms + size * 500 * us for size in range(1, SIZE_MAX + 1)}
MAKING_NS = 2 * ms
STREAM_COUNT = 16


class Doubling(Node):
    """Twice the number, on the device; with a slot for each batch in flight, and none more."""

    number = In("int64[]")
    out = Out("int64[]")
    stateful = False

    def __init__(self, breaks_at: int = -1) -> None:
        self._breaks_at = breaks_at

    def open(self) -> None:
        shape = {"x": ((SIZE_MAX,), "int64")}
        self._ring = SlotRing(self.context.device, shape, {"y": ((SIZE_MAX,), "int64")}, is_split=False)

    def process_batch(self, messages: Sequence[Message]) -> Any:
        slot, rows = self._ring.take(), len(messages)
        assert slot is not None
        slot.inputs["x"][:rows] = [int(message.array) for message in messages]
        ticket = self._ring.submit(slot, self._work, rows)
        self._ring.give_back(slot)
        return OnDevice(ticket, lambda: list(slot.outputs["y"][:rows].copy()))

    def _work(self, x: Any, y: Any) -> None:
        if self._breaks_at in x.tolist():
            raise ValueError("a kernel of the user's")
        y[...] = 2 * x


class Stepping(Doubling):
    """Carries something from one datum of a stream to the next, on the host."""

    stateful = True


class SteppingThere(Stepping):
    """On the device, where each step follows the one before it."""

    steps_on_device = True


def device(in_flight_max: int = 2, delays: Delays = DELAYS) -> Callable[[TrioClock, str], Device]:
    return lambda clock, name: VirtualDevice(clock, name, delays, in_flight_max)


def pipeline(
    load: float = 1.0,
    *,
    node: Callable[[], Node] = Doubling,
    within: int = 0,
    count: int = STREAM_COUNT,
    each: int = 60,
    batch: Batch | None = None,
    sensors: Sequence[Node] = (),
    on_miss: OnMiss = OnMiss.SHED,
    **options: Any,
) -> Pipeline:
    """Sensors of which a device that works on full batches without a pause could do `1 / load` times as many."""
    p = Pipeline("staging")
    rate_hz = load * SIZE_MAX / (KNOWN[SIZE_MAX] / 1e9) / count
    jitter_ns = int(0.9e9 / rate_hz)
    found = sensors or [Ticks(rate_hz, each, jitter_ns=jitter_ns, seed=index) for index in range(count)]
    merge = p.add("merge", Merge(len(found)))
    net = p.add("net", node(), batch=batch or Batch(SIZE_MAX, known=KNOWN), device="cuda:0")
    sink = p.add("sink", Sink())
    p.connect(merge, net, capacity=64)
    p.connect(net, sink, capacity=64)
    for index, sensor in enumerate(found):
        source = p.add(f"sensor{index}", sensor)
        p.connect(source, merge[f"in{index}"], capacity=64)
        if within:
            p.deadline(f"in time {index}", source, sink, within=within, on_miss=on_miss, **options)
    return p


def run(p: Pipeline, in_flight_max: int = 2, *, making_ns: int = MAKING_NS, **options: Any) -> Simulation:
    nets = [stage.name for stage in p.definition().graph.stages if stage.devices and stage.batch is not None]
    service = dict.fromkeys(nets, OfBatch(lambda size: making_ns))
    simulation = simulate(p, **{"service": service, "make_device": device(in_flight_max), **options})
    assert simulation.failure is None
    assert simulation.report["conserved"] is True
    assert not broken_laws(simulation, p.definition().resolved().graph)
    return simulation


class Flown(NamedTuple):
    """A batch, as the records have it."""

    started_ns: int
    given_ns: int
    done_ns: int
    size: int


def flights(simulation: Simulation, stage: str = "net", *kinds: Kind) -> list[Flown]:
    works = [record for record in simulation.records[stage] if record.kind in (kinds or (Kind.RUN,))]
    found = {Flown(one.started_ns, one.ended_ns, one.device_done_ns, one.batch) for one in works}
    return sorted(found, key=lambda one: one.done_ns)


def busy_share(flown: Sequence[Flown]) -> float:
    """Of the time from the first batch to the end of the last, that in which the device was at one."""
    idle_ns = sum(max(after.given_ns - before.done_ns, 0) for before, after in pairwise(flown))
    return 1 - idle_ns / (flown[-1].done_ns - flown[0].given_ns)


# ------------------------------------------------------------------------------------- one runs, one is staged


def test_under_load_the_device_is_never_without_work_between_batches() -> None:
    one, two = (flights(run(pipeline(1.0), in_flight_max)) for in_flight_max in (1, 2))
    assert busy_share(two) >= 0.98
    assert busy_share(one) < 0.9


@pytest.mark.parametrize("making_ns", [6 * ms, 20 * ms])
def test_what_is_done_takes_the_longer_of_host_and_device_and_not_their_sum(making_ns: int) -> None:
    count = 40
    batch = Batch(SIZE_MAX, known=KNOWN)
    p = pipeline(batch=batch, sensors=[Bursts(1000 * ms, count, 1) for _ in range(SIZE_MAX)])
    flown = flights(run(p, making_ns=making_ns))
    took_ns = flown[-1].done_ns - flown[0].started_ns
    full = count * SIZE_MAX / (sum(one.size for one in flown) / len(flown))
    assert took_ns <= 1.03 * full * max(making_ns, KNOWN[SIZE_MAX]) + making_ns + KNOWN[SIZE_MAX]


def test_no_more_batches_are_in_flight_than_the_device_is_given_and_the_next_is_chosen_when_it_must_be() -> None:
    flown = flights(run(pipeline(1.1)))
    for before, after, last in zip(flown, flown[1:], flown[2:], strict=False):
        assert last.started_ns >= before.done_ns, "two are in flight, and no third is made"
        if after.given_ns < before.done_ns:
            assert before.done_ns - after.given_ns < 1 * ms, "as late as leaves the device no pause"


@pytest.mark.parametrize("load", [1.1])
def test_batches_are_no_smaller_than_without_staging_for_what_the_host_takes_no_time_for(load: float) -> None:
    one, two = (flights(run(pipeline(load), in_flight_max, making_ns=0)) for in_flight_max in (1, 2))
    assert len(two) <= 1.03 * len(one)


@pytest.mark.parametrize(("load", "node"), [(0.8, Doubling), (1.1, Doubling), (1.1, Stepping)])
def test_no_less_is_in_time_than_with_one_batch_in_flight(load: float, node: Callable[[], Node]) -> None:
    one, two = (in_time(run(pipeline(load, node=node, within=40 * ms, count=32, each=20), n)) for n in (1, 2))
    assert two >= one
    assert load > 1 or two > 0.99


def test_what_is_not_known_is_learned_without_counting_an_instant_twice() -> None:
    """From nothing, a device that takes 12 ms for a full batch is not thought to take the 24 that each is there for."""
    simulation = run(pipeline(1.0, batch=Batch(SIZE_MAX), within=60 * ms, each=200))
    late = flights(simulation)[-20:]
    assert busy_share(late) >= 0.98
    assert sum(one.size for one in late) / len(late) > 12
    assert in_time(simulation) > 0.9


def test_busy_time_is_counted_once_for_batches_that_overlap() -> None:
    simulation = run(pipeline(1.1))
    assert 0.8 < simulation.stages["net"]["busy"] <= 1


# ------------------------------------------------------------------------------------------- order and accounts


@pytest.mark.parametrize("node", [Doubling, Stepping, SteppingThere])
def test_each_datum_has_its_own_result_and_each_stream_its_order(node: Callable[[], Node]) -> None:
    simulation = run(pipeline(1.1, node=node, count=4, each=100))
    assert by_stream(simulation) == {f"sensor{k}": [(n, 2 * n) for n in range(100)] for k in range(4)}


def in_flight_of_a_stream(simulation: Simulation) -> int:
    """At most, at any instant."""
    streams: dict[int, list[tuple[int, int]]] = {}
    for record in simulation.records["net"]:
        if record.kind == Kind.RUN:
            streams.setdefault(record.stream, []).append((record.started_ns, record.device_done_ns))
    return max(
        sum(start_ns < at_ns < done_ns for start_ns, done_ns in spans)
        for spans in streams.values()
        for at_ns in (done_ns - 1 for _, done_ns in spans)
    )


def test_a_stream_has_one_step_in_flight_but_where_steps_follow_each_other_on_the_device() -> None:
    most = {node: in_flight_of_a_stream(run(pipeline(1.5, node=node, count=20))) for node in (Stepping, SteppingThere)}
    assert most == {Stepping: 1, SteppingThere: 2}


def test_few_streams_are_worked_on_together_rather_than_by_halves() -> None:
    """With a step of each in flight nothing is left to be staged, and two half batches take longer than a whole one."""
    one, two = (flights(run(pipeline(1.2, node=Stepping), n)) for n in (1, 2))
    assert two[-1].done_ns - two[0].given_ns <= 1.01 * (one[-1].done_ns - one[0].given_ns)


@pytest.mark.parametrize(
    ("on_miss", "node"), [(OnMiss.HOLD, Stepping), (OnMiss.HOLD, SteppingThere), (OnMiss.DELIVER, Stepping)]
)
def test_what_is_sent_instead_of_what_came_too_late_overtakes_nothing(
    on_miss: OnMiss, node: Callable[[], Node]
) -> None:
    options = {"max_age": 1000 * ms} if on_miss is OnMiss.HOLD else {}
    simulation = run(pipeline(2.0, node=node, within=30 * ms, on_miss=on_miss, **options))
    flag = Flag.HELD if on_miss is OnMiss.HOLD else Flag.MISSED
    assert [message for message in simulation.results("sink") if message.flags & flag]
    assert sum(simulation.stages["net"][name] for name in ("processed", "shed")) == STREAM_COUNT * 60
    for order in by_stream(simulation).values():
        assert order == sorted(order)


class Guessing(Stepping):
    def degrade(self, message: Message) -> Any:
        return Output(message.array)


def test_what_is_done_in_a_cheaper_way_overtakes_nothing() -> None:
    simulation = run(pipeline(2.0, node=Guessing, within=30 * ms, on_miss=OnMiss.DEGRADE))
    assert simulation.stages["net"]["degraded"] > 0
    for order in by_stream(simulation).values():
        assert order == sorted(order)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_in_flight_when_a_stage_dies_is_lost_once(seed: int) -> None:
    faults = Faults().crash("net", at_s=0.1 + 0.0037 * seed).crash("sink", at_s=0.2).crash("net", at_s=0.3 + seed / 1e3)
    simulation = run(pipeline(1.1, within=60 * ms), faults=faults, seed=seed)
    stage = simulation.stages["net"]
    assert stage["restarts"] == 2
    assert SIZE_MAX < stage["lost"] <= 2 * (2 * SIZE_MAX + 4 * SIZE_MAX), "two in flight at most, and what waited"
    assert sum(path["produced"] for path in simulation.paths.values()) == STREAM_COUNT * 60


@pytest.mark.parametrize("restarts", [True, False])
def test_work_that_fails_on_the_device_fails_the_stage_and_all_it_held_is_lost_once(restarts: bool) -> None:
    p = pipeline(1.1, node=lambda: Doubling(breaks_at=30), each=40)
    service = {"net": OfBatch(lambda size: MAKING_NS)}
    simulation = simulate(p, service=service, make_device=device(), restarts=restarts, duration_s=0.5)
    assert simulation.report["conserved"] is True
    assert not broken_laws(simulation, p.definition().resolved().graph)
    told = simulation.events_of("restarting")[0]["reason"] if restarts else simulation.failure
    assert "ValueError: a kernel of the user's" in str(told)
    assert simulation.stages["net"]["lost"] > 0


def test_a_ticket_that_is_never_done_is_seen_as_a_hang_although_data_still_come_and_are_given_up() -> None:
    made: list[str] = []

    def first_hangs(clock: TrioClock, name: str) -> Device:
        if name == "cuda:0":
            made.append(name)
        hung = frozenset({3}) if len(made) == 1 else frozenset[int]()
        return FaultyDevice(VirtualDevice(clock, name, DELAYS), DeviceFaults(never_done=hung))

    simulation = run(pipeline(0.6, within=40 * ms, each=150), make_device=first_hangs)
    (hang,) = simulation.events_of("hung")
    assert "a device at work for 1.0 s" in str(hang)
    assert simulation.stages["net"]["restarts"] == 1
    blamed = [miss for miss in simulation.misses if miss["at_ns"] < hang["at_ns"]]
    assert [miss["culprit"] for miss in blamed][:STREAM_COUNT].count("device") > STREAM_COUNT // 2


def test_a_device_that_is_slow_once_is_to_blame_for_all_that_waited_for_it() -> None:
    class Slow(VirtualDevice):
        """One batch in a hundred takes ten times as long."""

        def queue(self, priority: int = 0) -> Any:
            queue = super().queue(priority)
            launch, nth = queue.launch, iter(range(10_000))

            def launched(work: Any, *arrays: Any) -> None:
                launch(work, *arrays)
                if next(nth) == 50:
                    for _ in range(20):
                        launch(lambda: None)

            queue.launch = launched  # type: ignore[method-assign]
            return queue

    simulation = run(pipeline(0.5, within=40 * ms), make_device=lambda clock, name: Slow(clock, name, DELAYS))
    culprits: dict[str, int] = {}
    for miss in simulation.misses:
        culprits[f"{miss['culprit']} {miss['stage']}"] = culprits.get(f"{miss['culprit']} {miss['stage']}", 0) + 1
    assert sum(culprits.values()) > 4
    assert culprits.get("device net", 0) > 0.7 * sum(culprits.values()), culprits
