"""A pipeline of any shape, with what goes wrong in it, from a seed: what the simulated campaigns run.

All of it is chance, and nothing else is: shape, policies, capacities, deadlines, processes, supervision, service times
and faults. Nodes are plain: what matters is how data are carried, given up and lost, not what they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from streamflow import (
    Criticality,
    Escalation,
    In,
    Message,
    Node,
    OnMiss,
    Order,
    Out,
    Overflow,
    Pipeline,
    Restart,
    RestartStrategy,
    ms,
    s,
)
from streamflow.core.graph import Graph
from streamflow.pipeline import Stage
from streamflow.testing import Bursts, Faults, Kind, Ticks

SECONDS = 1.5  # of data: enough for a hang to be detected, and for some restarts


class Pass(Node):
    """Sends on what it gets: of every `absorbs`th datum nothing, of every `doubles`th two; datum `fails` is a bug."""

    number = In("int64[]")
    out = Out("int64[]")

    def __init__(self, absorbs: int = 0, doubles: int = 0, fails: int = -1) -> None:
        self._absorbs = absorbs
        self._doubles = doubles
        self._fails = fails

    def process(self, message: Message) -> Iterator[Any]:
        number = int(message.array)
        if self._absorbs and number % self._absorbs == 0:
            return
        yield message.array
        if number == self._fails:
            raise RuntimeError(f"datum {number} is a bug")
        if self._doubles and number % self._doubles == 0:
            yield message.array


class PassOrGuess(Pass):
    """With a cheaper variant."""

    def degrade(self, message: Message) -> Any:
        return message.array


class Merge(Node):
    """Handles each input by itself."""

    left = In("int64[]")
    right = In("int64[]")
    out = Out("int64[]")

    def process_left(self, message: Message) -> Any:
        return message.array

    def process_right(self, message: Message) -> Any:
        return message.array


class Join(Node):
    """Takes what is of one event time together."""

    left = In("int64[]")
    right = In("int64[]")
    out = Out("int64[]")

    def process(self, *, left: Message, right: Message) -> Any:
        return left.array + right.array


class Sink(Node):
    number = In("int64[]")

    def process(self, message: Message) -> None:
        return None


@dataclass(frozen=True)
class Case:
    """`service`: ns by stage. `duration_s`: when the sources are stopped; None: they end by themselves."""

    seed: int
    build: Callable[[], Pipeline]
    service: Mapping[str, Callable[[int], int]]
    faults: Faults
    graph: Graph
    duration_s: float | None
    restarts: bool


def random_case(seed: int) -> Case:
    graph = _build(seed).definition().resolved().graph
    chance = Random(f"service {seed}")
    service = {stage.name: _service(chance) for stage in graph.stages if not stage.is_source}
    duration_s = chance.choice([None, None, round(chance.uniform(0.1, SECONDS), 3)])
    faults = Faults.random(graph, seed, SECONDS)
    if chance.random() < 0.3:  # above all deaths, and many of them
        faults = Faults.random(graph, seed, SECONDS, kinds=(Kind.CRASH, Kind.HANG, Kind.STALL), fault_count=8)
    return Case(seed, lambda: _build(seed), service, faults, graph, duration_s, restarts=chance.random() < 0.9)


def _service(chance: Random) -> Callable[[int], int]:
    usual_ns = chance.choice([0, 0, chance.randint(1, 4), chance.randint(4, 12)]) * ms
    slow_every = chance.choice([0, 0, chance.randint(5, 40)])
    return lambda seq: usual_ns * (5 if slow_every and seq % slow_every == 0 else 1)


def _build(seed: int) -> Pipeline:
    chance = Random(seed)
    p = Pipeline("random")
    shape = chance.choice([_chain, _fan_out, _diamond, _two_sources, _join_of_two])
    sources, sinks = shape(p, chance)
    for source, sink in _pairs(sources, sinks, chance):
        _declare(p, f"d{len(p.definition().graph.deadlines)}", source, sink, chance)
    p.supervise(
        strategy=chance.choice(list(RestartStrategy)),
        restart_intensity=chance.choice([1, 3, 5, 20]),
        restart_period=chance.choice([1, 10]) * s,
        backoff=chance.choice([0, 10, 50]) * ms,
        backoff_max=chance.choice([50, 500]) * ms,
    )
    return p


def _pairs(sources: list[Stage], sinks: list[Stage], chance: Random) -> list[tuple[Stage, Stage]]:
    return [(source, sink) for source in sources for sink in sinks if chance.random() < 0.8]


def _declare(p: Pipeline, name: str, source: Stage, sink: Stage, chance: Random) -> None:
    on_miss = chance.choice([OnMiss.SHED, *OnMiss])
    k = chance.randint(2, 10)
    firm = chance.choice([None, (chance.randint(1, k), k)])
    p.deadline(
        name,
        source,
        sink,
        within=chance.choice([5, 10, 20, 40, 80]) * ms,
        on_miss=on_miss,
        firm=firm,
        escalation=chance.choice([(), (Escalation.DEGRADE,), (Escalation.DEGRADE, Escalation.RESTART)]) if firm else (),
        criticality=chance.choice([Criticality.NORMAL, Criticality.NORMAL, *Criticality]),
        max_age=100 * ms if on_miss is OnMiss.HOLD else None,
        call=(lambda stage, message: None) if on_miss is OnMiss.CALL else None,
    )


def _source(p: Pipeline, name: str, chance: Random, rate_hz: int = 0) -> Stage:
    live = chance.random() < 0.5
    if rate_hz or chance.random() < 0.7:
        rate_hz = rate_hz or chance.choice([20, 50, 100, 200])
        jitter_ns = chance.choice([0, 3 * ms])
        return p.add(
            name, Ticks(rate_hz, int(rate_hz * SECONDS), jitter_ns=jitter_ns, seed=chance.randint(0, 99), live=live)
        )
    size = chance.randint(2, 20)
    return p.add(name, Bursts(100 * ms, size, int(SECONDS * 10), live=live))


def _add(p: Pipeline, name: str, node: Node, chance: Random) -> Stage:
    restart = chance.choice([Restart.TRANSIENT] * 6 + [Restart.PERMANENT, Restart.TEMPORARY])
    process = chance.choice([None, None, "shared"])
    return p.add(name, node, process=process, restart=restart)


def _pass(p: Pipeline, name: str, chance: Random) -> Stage:
    node = chance.choice([Pass, PassOrGuess])(
        absorbs=chance.choice([0, 0, 0, 3, 7]),
        doubles=chance.choice([0, 0, 0, 2, 5]),
        fails=chance.choice([-1, -1, -1, -1, chance.randint(0, 60)]),
    )
    return _add(p, name, node, chance)


def _connect(p: Pipeline, source: Any, target: Any, chance: Random) -> None:
    p.connect(
        source,
        target,
        overflow=chance.choice(list(Overflow)),
        capacity=chance.choice([1, 2, 4, 8, 32]),
        order=chance.choice([Order.FIFO, Order.FIFO, Order.EDF]),
        max_age=chance.choice([None] * 4 + [30 * ms]),
    )


Ends = tuple[list[Stage], list[Stage]]


def _chain(p: Pipeline, chance: Random) -> Ends:
    source = before = _source(p, "source", chance)
    for number in range(chance.randint(0, 3)):
        stage = _pass(p, f"pass{number}", chance)
        _connect(p, before, stage, chance)
        before = stage
    sink = _add(p, "sink", Sink(), chance)
    _connect(p, before, sink, chance)
    return [source], [sink]


def _fan_out(p: Pipeline, chance: Random) -> Ends:
    source = _source(p, "source", chance)
    middle = _pass(p, "middle", chance)
    _connect(p, source, middle, chance)
    sinks = [_add(p, f"sink{number}", Sink(), chance) for number in range(chance.randint(2, 3))]
    for sink in sinks:
        _connect(p, middle, sink, chance)
    return [source], sinks


def _diamond(p: Pipeline, chance: Random) -> Ends:
    source = _source(p, "source", chance)
    left, right = _pass(p, "left", chance), _pass(p, "right", chance)
    both = _add(p, "both", chance.choice([Join, Merge])(), chance)
    sink = _add(p, "sink", Sink(), chance)
    _connect(p, source, left, chance)
    _connect(p, source, right, chance)
    _connect(p, left, both.left, chance)
    _connect(p, right, both.right, chance)
    _connect(p, both, sink, chance)
    return [source], [sink]


def _two_sources(p: Pipeline, chance: Random) -> Ends:
    left, right = _source(p, "east", chance), _source(p, "west", chance)
    both = _add(p, "both", Merge(), chance)
    sink = _add(p, "sink", Sink(), chance)
    _connect(p, left, both.left, chance)
    _connect(p, right, both.right, chance)
    _connect(p, both, sink, chance)
    return [left, right], [sink]


def _join_of_two(p: Pipeline, chance: Random) -> Ends:
    left, right = (p.add(name, Ticks(50, int(50 * SECONDS), live=chance.random() < 0.5)) for name in ("east", "west"))
    both = _add(p, "both", Join(), chance)
    sink = _add(p, "sink", Sink(), chance)
    _connect(p, left, both.left, chance)
    _connect(p, right, both.right, chance)
    _connect(p, both, sink, chance)
    return [left, right], [sink]
