"""The pipelines in which stages are killed between any two lines: each small, and each with steps that no other has.

Data come in bursts, so that some are at work, some wait and some are under way at any time; services take time, so
that mailboxes fill. A dozen data go through each: what matters is what one handling writes down, and in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamflow import (
    Batch,
    Fill,
    In,
    Message,
    Node,
    OnMiss,
    Order,
    Out,
    Output,
    Overflow,
    Pipeline,
    Timing,
    ms,
    s,
    us,
)
from streamflow.device.host import Delays
from streamflow.device.virtual import VirtualDevice
from streamflow.joins import Approximate, Blend, Interpolate, Join, Latest, Nearest, OnMissing, Settled, Window
from streamflow.runtime.clock import TrioClock
from streamflow.testing import Bursts, OfBatch, Service, Ticks
from tools.campaigns.crash_nodes import (
    BURST_COUNT,
    BURST_SIZE,
    Counts,
    CountsOnDevice,
    Fails,
    FailsAtOnce,
    FailsTogether,
    Fork,
    OnItsDevice,
    Pass,
    PassOrGuess,
    Sink,
    Together,
    TogetherOrGuess,
    Twice,
    Unbound,
)
from tools.campaigns.random_pipelines import Join as ExactJoin
from tools.campaigns.random_pipelines import Merge

PERIOD_NS = 40 * ms
TICKS_HZ = 250  # of what is joined: by event time, which those of a burst share


@dataclass(frozen=True)
class Specimen:
    """A pipeline, how long its stages take (ns), and what is known beforehand of any run of it.

    `produced`: how many data there are on each path, whoever dies; None: a live source has as many as it has.
    `is_single`: each datum arrives once at each sink or not at all, so that the sinks' records tell what arrived.
    `is_lossless`: nothing is lost, and the nth result is what it would be if nobody had died.
    """

    build: Callable[[], Pipeline]
    service: Mapping[str, Service] = field(default_factory=dict)
    produced: int | None = BURST_SIZE * BURST_COUNT
    is_single: bool = True
    is_lossless: bool = False


def _source(*, live: bool = False) -> Node:
    return Bursts(PERIOD_NS, BURST_SIZE, BURST_COUNT, live=live)


def _line(
    middle: Callable[[], Node] = Pass,
    *,
    live: bool = False,
    process: str | None = None,
    within_ns: int = 0,
    on_miss: OnMiss = OnMiss.SHED,
    **edge: Any,
) -> Callable[[], Pipeline]:
    """source -> middle -> sink, all edges alike."""

    def build() -> Pipeline:
        p = Pipeline("line")
        first = p.add("source", _source(live=live))
        second, last = p.add("middle", middle(), process=process), p.add("sink", Sink(), process=process)
        p.connect(first, second, **edge)
        p.connect(second, last, **edge)
        if within_ns:
            is_held, is_called = on_miss is OnMiss.HOLD, on_miss is OnMiss.CALL
            p.deadline(
                "whole",
                first,
                last,
                within=within_ns,
                on_miss=on_miss,
                max_age=1 * s if is_held else None,
                call=(lambda stage, message: message.array if stage == "middle" else None) if is_called else None,
            )
        return p

    return build


def _fan(*, lossless: bool = False) -> Callable[[], Pipeline]:
    """Where it is `lossless`, one of the edges is not, and drops."""

    def build() -> Pipeline:
        p = Pipeline("fan")
        source, middle = p.add("source", _source()), p.add("middle", Pass())
        left, right = p.add("left", Sink()), p.add("right", Sink())
        p.connect(source, middle, lossless=lossless)
        p.connect(middle, left, capacity=2, lossless=lossless)
        p.connect(middle, right, overflow=Overflow.DROP_OLDEST, capacity=2)
        return p

    return build


def _fork() -> Pipeline:
    p = Pipeline("fork")
    source, middle = p.add("source", _source()), p.add("middle", Fork())
    left, right = p.add("left", Sink()), p.add("right", Sink())
    p.connect(source, middle, capacity=4)
    p.connect(middle.left, left, capacity=2)
    p.connect(middle.right, right, capacity=2)
    return p


def _diamond(
    left_node: Callable[[], Node], both_node: Callable[[], Node], within_ns: int = 0
) -> Callable[[], Pipeline]:
    def build() -> Pipeline:
        p = Pipeline("diamond")
        source = p.add("source", Ticks(TICKS_HZ, BURST_SIZE * BURST_COUNT))
        left, right = p.add("left", left_node()), p.add("right", Pass())
        both, sink = p.add("both", both_node()), p.add("sink", Sink())
        p.connect(source, left, capacity=4)
        p.connect(source, right, capacity=4)
        p.connect(left, both.left, capacity=4)
        p.connect(right, both.right, capacity=4)
        p.connect(both, sink, capacity=4)
        if within_ns:
            p.deadline("whole", source, sink, within=within_ns, on_miss=OnMiss.SHED)
        return p

    return build


def _pair(
    node: Callable[[], Node] = Pass, overflow: Overflow = Overflow.DROP_OLDEST, within_ns: int = 0, **edge: Any
) -> Callable[[], Pipeline]:
    """Every datum after the join is made from one of each source. `edge`: from there to the middle."""

    def build() -> Pipeline:
        p = Pipeline("pair")
        east, west = (p.add(name, Ticks(TICKS_HZ, BURST_SIZE * BURST_COUNT)) for name in ("east", "west"))
        both, middle, sink = p.add("both", ExactJoin()), p.add("middle", node()), p.add("sink", Sink())
        p.connect(east, both.left, capacity=4)
        p.connect(west, both.right, capacity=4)
        p.connect(both, middle, overflow=overflow, **{"capacity": 2, **edge})
        p.connect(middle, sink, capacity=2)
        if within_ns:
            p.deadline("from_east", east, sink, within=within_ns, on_miss=OnMiss.SHED)
            p.deadline("from_west", west, sink, within=within_ns, on_miss=OnMiss.SHED)
        return p

    return build


class Fuse(Node):
    """Takes whatever its join gives it, but sends on whole numbers only: it fails with what lies between two."""

    left = In("int64[]")
    right = In("int64[]")
    out = Out("int64[]")
    late = Out("int64[]")

    def process(self, *, left: Any, right: Any) -> Any:
        return Output(next(one for part in (left, right) for one in _messages(part)).array, port="out")


def _messages(part: Any) -> tuple[Message, ...]:
    """What a join gave for an input: one, several or none."""
    if isinstance(part, tuple):
        return part
    return () if part is None else (part,)


class Sum(Node):
    """Of what comes, and of what came back."""

    number = In("int64[]")
    before = In("int64[]")
    out = Out("int64[]")

    def process(self, *, number: Message, before: Message) -> Any:
        return number.array + before.array


def _loop() -> Pipeline:
    p = Pipeline("loop")
    source, both = p.add("source", Ticks(TICKS_HZ, BURST_SIZE * BURST_COUNT)), p.add("both", Sum())
    back, sink = p.add("back", Pass()), p.add("sink", Sink())
    p.connect(source, both.number, capacity=4)
    p.connect(both, back, capacity=4)
    p.connect(both, sink, capacity=4)
    p.connect(back, both.before, delay=1, initial=np.int64(0))
    return p


def _rates(join: Join, within_ns: int = 0) -> Callable[[], Pipeline]:
    """Two sources at different rates, whose data come together as `join` says."""

    def build() -> Pipeline:
        p = Pipeline("rates")
        east, west = p.add("east", Ticks(TICKS_HZ, 12)), p.add("west", Ticks(TICKS_HZ * 3 // 7, 12))
        both, sink, other = p.add("both", Fuse(), join=join), p.add("sink", Sink()), p.add("other", Sink())
        p.connect(east, both.left, capacity=4)
        p.connect(west, both.right, capacity=4)
        p.connect(both.out, sink, capacity=4)
        p.connect(both.late, other, capacity=4)
        if within_ns:
            p.deadline("from_east", east, sink, within=within_ns, on_miss=OnMiss.SHED)
        return p

    return build


def slow_device(clock: TrioClock, name: str) -> VirtualDevice:
    """What stages have that are on a device."""
    return VirtualDevice(clock, name, Delays(launch_ns=5 * ms))


def _batches(
    node: Callable[[], Node] = Together,
    batch: Batch | None = None,
    within_ns: int = 0,
    on_miss: OnMiss = OnMiss.SHED,
    before: Callable[[], Node] | None = None,
    device: str | None = None,
    **edge: Any,
) -> Callable[[], Pipeline]:
    """Two sources whose data go through one stage in batches. `before`: what they come by; `edge`: into the stage."""

    def build() -> Pipeline:
        p = Pipeline("batches")
        east = p.add("east", Bursts(PERIOD_NS, BURST_SIZE, BURST_COUNT))
        west = p.add("west", Bursts(PERIOD_NS, BURST_SIZE, BURST_COUNT))
        merge = p.add("merge", Merge())
        middle = p.add("middle", node(), batch=batch or Batch(4, known=_KNOWN), device=device)
        sink = p.add("sink", Sink())
        p.connect(east, merge.left, capacity=4)
        p.connect(west, merge.right, capacity=4)
        last = merge
        if before is not None:
            last = p.add("before", before())
            p.connect(merge, last, capacity=4)
        p.connect(last, middle, **{"capacity": 4, **edge})
        p.connect(middle, sink, capacity=2)
        if within_ns:
            is_held, is_called = on_miss is OnMiss.HOLD, on_miss is OnMiss.CALL
            for name, source in (("east", east), ("west", west)):
                p.deadline(
                    f"from_{name}",
                    source,
                    sink,
                    within=within_ns,
                    on_miss=on_miss,
                    max_age=1 * s if is_held else None,
                    call=(lambda stage, message: message.array if stage == "middle" else None) if is_called else None,
                )
        return p

    return build


_KNOWN: Mapping[int, int] = {1: 3 * ms, 4: 6 * ms}
_GPU = "cuda:0"  # as `slow_device` makes it
_MAKING: Mapping[str, Service] = {"middle": OfBatch(lambda size: 1 * ms), "sink": 500 * us}
_BATCH: Mapping[str, Service] = {"middle": OfBatch(lambda size: 2 * ms + size * ms), "sink": 500 * us}
_SLOW: Mapping[str, int] = {"middle": 3 * ms, "sink": 5 * ms}
_JOIN: Mapping[str, int] = {"left": 1 * ms, "right": 3 * ms, "both": 2 * ms}
_RATES: Mapping[str, int] = {"both": 2 * ms, "sink": 1 * ms}
_PAIR: Mapping[str, int] = {"both": 1 * ms, "middle": 6 * ms, "sink": 2 * ms}

SPECIMENS: Mapping[str, Specimen] = {
    "line": Specimen(_line(capacity=4), _SLOW),
    "quick": Specimen(_line(capacity=4)),
    "tight": Specimen(_line(capacity=1), _SLOW),
    "drop_oldest": Specimen(_line(overflow=Overflow.DROP_OLDEST, capacity=3), _SLOW),
    "drop_newest": Specimen(_line(overflow=Overflow.DROP_NEWEST, capacity=3), _SLOW),
    "latest": Specimen(_line(overflow=Overflow.LATEST, capacity=3), _SLOW),
    "rejecting": Specimen(_line(live=True, capacity=2), _SLOW, produced=None),
    "too_old": Specimen(_line(capacity=8, max_age=6 * ms), _SLOW),
    "edf": Specimen(_line(capacity=4, order=Order.EDF, within_ns=30 * ms), _SLOW, is_single=False),
    "shed": Specimen(_line(capacity=8, within_ns=14 * ms), _SLOW, is_single=False),
    "degrade": Specimen(
        _line(PassOrGuess, capacity=8, within_ns=14 * ms, on_miss=OnMiss.DEGRADE), _SLOW, is_single=False
    ),
    "hold": Specimen(_line(capacity=8, within_ns=14 * ms, on_miss=OnMiss.HOLD), _SLOW, is_single=False),
    "call": Specimen(_line(capacity=8, within_ns=14 * ms, on_miss=OnMiss.CALL), _SLOW, is_single=False),
    "absorb": Specimen(_line(lambda: Pass(absorbs=3), capacity=4), _SLOW),
    "twice": Specimen(_line(Twice, capacity=2), _SLOW, is_single=False),
    "twice_newest": Specimen(_line(Twice, overflow=Overflow.DROP_NEWEST, capacity=2), _SLOW, is_single=False),
    "together": Specimen(_line(process="both", capacity=3), _SLOW),
    "together_oldest": Specimen(_line(process="both", overflow=Overflow.DROP_OLDEST, capacity=2), _SLOW),
    "lossless": Specimen(_line(Counts, capacity=4, lossless=True), _SLOW, is_lossless=True),
    "lossless_quick": Specimen(_line(Counts, capacity=2, lossless=True), is_lossless=True),
    "lossless_device": Specimen(_line(CountsOnDevice, capacity=4, lossless=True), _SLOW, is_lossless=True),
    "lossless_absorb": Specimen(_line(lambda: Pass(absorbs=3), capacity=4, lossless=True), _SLOW, is_lossless=True),
    "lossless_twice": Specimen(_line(Twice, capacity=2, lossless=True), _SLOW, is_single=False, is_lossless=True),
    "lossless_shed": Specimen(_line(capacity=8, within_ns=14 * ms, lossless=True), _SLOW, is_single=False),
    "lossless_edf": Specimen(
        _line(capacity=4, order=Order.EDF, within_ns=30 * ms, lossless=True), _SLOW, is_single=False
    ),
    "lossless_fails": Specimen(_line(Fails, capacity=4, lossless=True), _SLOW, is_single=False),
    "lossless_fan": Specimen(_fan(lossless=True), {"left": 3 * ms, "right": 5 * ms}),
    "fan": Specimen(_fan(), {"left": 3 * ms, "right": 5 * ms}),
    "fork": Specimen(_fork, {"left": 3 * ms, "right": 5 * ms}, is_single=False),
    "join": Specimen(_diamond(Pass, ExactJoin), _JOIN, is_single=False),
    "unmatched": Specimen(_diamond(lambda: Pass(absorbs=3), ExactJoin), _JOIN, is_single=False),
    "merge": Specimen(_diamond(Pass, Merge), _JOIN, is_single=False),
    "join_twice": Specimen(_diamond(Twice, ExactJoin), _JOIN, is_single=False),
    "join_shed": Specimen(_diamond(Pass, ExactJoin, 12 * ms), {**_JOIN, "both": 6 * ms}, is_single=False),
    "merge_shed": Specimen(_diamond(Pass, Merge, 12 * ms), _JOIN, is_single=False),
    "pair": Specimen(_pair(), _PAIR, is_single=False),
    "pair_twice": Specimen(_pair(Twice), _PAIR, is_single=False),
    "pair_newest": Specimen(_pair(overflow=Overflow.DROP_NEWEST), _PAIR, is_single=False),
    "pair_too_old": Specimen(_pair(overflow=Overflow.BLOCK, capacity=8, max_age=8 * ms), _PAIR, is_single=False),
    "pair_shed": Specimen(_pair(overflow=Overflow.BLOCK, capacity=8, within_ns=14 * ms), _PAIR, is_single=False),
    "pair_fails": Specimen(_pair(Fails), _PAIR, is_single=False),
    "nearest": Specimen(_rates(Nearest(trigger="right", max_wait=8 * ms)), _RATES, is_single=False),
    "latest_timer": Specimen(
        _rates(Latest(every=7 * ms, on_missing=OnMissing.PARTIAL, max_age=20 * ms)), _RATES, is_single=False
    ),
    "window": Specimen(_rates(Window(trigger="right", span=15 * ms, max_wait=8 * ms)), _RATES, is_single=False),
    "settled_late": Specimen(
        _rates(Settled(max_wait=1 * ms, on_missing=OnMissing.PARTIAL, late="late")), _RATES, is_single=False
    ),
    "approximate": Specimen(_rates(Approximate(max_wait=6 * ms)), _RATES, is_single=False),
    "approximate_shed": Specimen(_rates(Approximate(max_wait=6 * ms), 9 * ms), _RATES, is_single=False),
    "interpolate": Specimen(
        _rates(Interpolate(trigger="right", blend=Blend.HOLD, max_wait=9 * ms)), _RATES, is_single=False
    ),
    "join_fails": Specimen(_rates(Interpolate(every=10 * ms, max_wait=9 * ms)), _RATES, is_single=False),
    "loop": Specimen(_loop, {"both": 2 * ms, "back": 1 * ms}, is_single=False),
    "batch": Specimen(_batches(), _BATCH, is_single=False),
    "batch_shed": Specimen(_batches(within_ns=16 * ms), _BATCH, is_single=False),
    "batch_unbound": Specimen(_batches(Unbound, within_ns=20 * ms), _BATCH, is_single=False),
    "batch_twice": Specimen(_batches(Unbound, within_ns=16 * ms, before=Twice), _BATCH, is_single=False),
    "batch_full": Specimen(_batches(Unbound, Batch(5, Fill.FULL)), _BATCH, is_single=False),
    "batch_lazy": Specimen(
        _batches(batch=Batch(4, timing=Timing.LAZY, known=_KNOWN), within_ns=30 * ms), _BATCH, is_single=False
    ),
    "batch_oldest": Specimen(
        _batches(batch=Batch(2, queue_size=2), overflow=Overflow.DROP_OLDEST, capacity=3), _BATCH, is_single=False
    ),
    "batch_too_old": Specimen(
        _batches(batch=Batch(2, queue_size=2), capacity=8, max_age=6 * ms), _BATCH, is_single=False
    ),
    "batch_hold": Specimen(_batches(within_ns=16 * ms, on_miss=OnMiss.HOLD), _BATCH, is_single=False),
    "batch_call": Specimen(_batches(within_ns=16 * ms, on_miss=OnMiss.CALL), _BATCH, is_single=False),
    "batch_deliver": Specimen(_batches(within_ns=12 * ms, on_miss=OnMiss.DELIVER), _BATCH, is_single=False),
    "batch_degrade": Specimen(
        _batches(TogetherOrGuess, within_ns=16 * ms, on_miss=OnMiss.DEGRADE), _BATCH, is_single=False
    ),
    "batch_fails": Specimen(_batches(FailsTogether), _BATCH, is_single=False),
    "batch_fails_at_once": Specimen(_batches(FailsAtOnce, within_ns=30 * ms), _BATCH, is_single=False),
    "device": Specimen(_batches(OnItsDevice, device=_GPU), _MAKING, is_single=False),
    "device_bound": Specimen(
        _batches(lambda: OnItsDevice(is_bound=True), device=_GPU, within_ns=30 * ms), _MAKING, is_single=False
    ),
    "device_shed": Specimen(_batches(OnItsDevice, device=_GPU, within_ns=16 * ms), _MAKING, is_single=False),
    "device_hold": Specimen(
        _batches(OnItsDevice, device=_GPU, within_ns=16 * ms, on_miss=OnMiss.HOLD), _MAKING, is_single=False
    ),
    "device_fails": Specimen(_batches(lambda: OnItsDevice(fails=True), device=_GPU), _MAKING, is_single=False),
    "fails": Specimen(_line(Fails, capacity=4), _SLOW, is_single=False),
}
