"""A pipeline of five stages in which what goes wrong is planned beforehand, and written down when it happens.

The plan says for ticks of the source what happens where. Every process reads it, does its own part, and writes a line
of JSON into the truth: what it did, when, and to which datum. What is done from outside (a process killed, a link
held up) is announced there by the source, for whoever does it.
"""

import gc
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import trio

from streamflow import In, Message, Node, Out, Pipeline, ms, s

PERIOD_MS = 20
WITHIN_MS = 30
SLOW_MS = 60
STALL_MS = 60
LATE_MS = 40
BURST_COUNT = 20
HANG_MS = 250
WORK_MS = {"features": 3.5, "model": 1.0, "track": 0.5, "log": 0.1}
SOURCE, BOTTLENECK, SINK = "mic", "features", "log"
LEAD_TICKS = 100  # until the stages are warm, and what is usual is known
CAPACITY = 64  # of each edge: more than ever waits


class Kind(StrEnum):
    SLOW = "slow stage"
    HUNG = "hung stage"
    STALL = "stalled loop"
    LINK = "blocked link"
    LATE = "late source"
    BURST = "long mailbox"
    KILL = "killed process"


FROM_OUTSIDE = (Kind.LINK, Kind.KILL)
QUIET_MS = dict.fromkeys(Kind, 500) | {Kind.HUNG: 1200, Kind.KILL: 900}  # until the next: queues are empty again


@dataclass(frozen=True, slots=True)
class Injection:
    """`delay_ms`: how long after the tick it begins, where that is free. `is_gc`: a garbage collection stalls."""

    number: int
    kind: Kind
    stage: str
    tick: int
    delay_ms: float
    is_gc: bool = False


def plan(count_each: int, seed: int) -> list[Injection]:
    """`count_each` of every kind, in an order, at stages and at moments that the seed decides."""
    chance = random.Random(seed)
    kinds = [kind for kind in Kind for _ in range(count_each)]
    chance.shuffle(kinds)
    tick = LEAD_TICKS
    injections = []
    for number, kind in enumerate(kinds):
        stage = {Kind.LATE: SOURCE, Kind.BURST: BOTTLENECK}.get(kind) or chance.choice(list(WORK_MS))
        delay_ms = chance.uniform(0, PERIOD_MS) if kind in FROM_OUTSIDE else chance.uniform(1, 15)
        injections.append(Injection(number, kind, stage, tick, delay_ms, kind is Kind.STALL and chance.random() < 0.3))
        tick += QUIET_MS[kind] // PERIOD_MS + chance.randrange(10)
    return injections


def duration_s(injections: Sequence[Injection]) -> float:
    return (injections[-1].tick * PERIOD_MS + QUIET_MS[injections[-1].kind]) / 1e3 + 1


def save(path: Path, injections: Sequence[Injection]) -> None:
    path.write_text(json.dumps([asdict(one) for one in injections]))


def load(path: Path) -> list[Injection]:
    return [Injection(**one | {"kind": Kind(one["kind"])}) for one in json.loads(path.read_text())]


class Truth:
    """One process's part of the plan, and its hand on the truth."""

    def __init__(self, folder: str, stage: str) -> None:
        mine = [one for one in load(Path(folder) / "plan.json") if stage in (one.stage, SOURCE)]
        self.at = {one.tick: one for one in mine}
        self._file = os.open(Path(folder) / "truth.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def tell(self, what: Injection, seq: int, at_ns: int) -> None:
        line = {"number": what.number, "seq": seq, "at_ns": at_ns}
        os.write(self._file, json.dumps(line).encode() + b"\n")


class Mic(Node):
    """A row of 64 numbers every period; late, or many at once, where the plan says so."""

    row = Out("float32[64]")

    def __init__(self, folder: str, tick_count: int) -> None:
        self._folder, self._tick_count = folder, tick_count

    def open(self) -> None:
        self._truth = Truth(self._folder, SOURCE)
        self._seq = 0

    async def run(self) -> None:
        tick = 0
        while tick < self._tick_count:
            due_ns = await self.pace(tick * PERIOD_MS * ms)
            fault = self._truth.at.get(tick)
            kind = fault.kind if fault else None
            if fault and kind in FROM_OUTSIDE:
                self._truth.tell(fault, self._seq, due_ns)
            if fault and kind is Kind.LATE:
                self._truth.tell(fault, self._seq, due_ns)
                await self.context.sleep_until(due_ns + LATE_MS * ms)
            await self._emit(tick, due_ns)
            if fault and kind is Kind.BURST:
                for _ in range(BURST_COUNT - 1):
                    await self._emit(tick, self.context.now_ns())
                self._truth.tell(fault, self._seq - 1, due_ns)
            behind = (self.context.now_ns() - due_ns) // (PERIOD_MS * ms)
            tick += 1 + (behind if kind is Kind.LATE else 0)  # what it slept over was never taken

    async def _emit(self, tick: int, event_time_ns: int) -> None:
        self._seq += 1
        await self.emit(np.zeros(64, np.float32), event_time_ns=event_time_ns, tick=tick)


class Part(Node):
    """Ordinary work on each datum, and what the plan has for it."""

    row_in = In("float32[64]")

    def __init__(self, stage: str, folder: str) -> None:
        self._stage, self._folder = stage, folder

    def open(self) -> None:
        self._truth = Truth(self._folder, self._stage)
        pid_file(Path(self._folder), self._stage).write_text(str(os.getpid()))
        self._to_stall, stalls = trio.open_memory_channel[tuple[Injection, int]](1)
        trio.lowlevel.spawn_system_task(self._stall_when_told, stalls)

    def work(self, message: Message) -> None:
        fault = self._truth.at.get(int(message.attributes["tick"]))
        if fault is not None:
            self._inject(fault, message.seq)
        until_ns = self.context.now_ns() + round(WORK_MS[self._stage] * ms)
        while self.context.now_ns() < until_ns:
            pass

    def _inject(self, fault: Injection, seq: int) -> None:
        if fault.kind is Kind.SLOW:
            self._truth.tell(fault, seq, self.context.now_ns())
            time.sleep(SLOW_MS / 1e3)
        elif fault.kind is Kind.HUNG:
            self._truth.tell(fault, seq, self.context.now_ns())
            while True:
                time.sleep(1)
        elif fault.kind is Kind.STALL:
            self._to_stall.send_nowait((fault, seq + 1))

    async def _stall_when_told(self, stalls: trio.MemoryReceiveChannel[tuple[Injection, int]]) -> None:
        """Something that has nothing to do with the data, and blocks the loop."""
        async for fault, next_seq in stalls:
            await trio.sleep(fault.delay_ms / 1e3)
            began_ns = self.context.now_ns()
            self._truth.tell(fault, next_seq, began_ns)
            stand_still = _collect if fault.is_gc else _block
            stand_still(began_ns + STALL_MS * ms, self.context.now_ns)


def _block(until_ns: int, now_ns: Callable[[], int]) -> None:
    time.sleep(max(until_ns - now_ns(), 0) / 1e9)


def _collect(until_ns: int, now_ns: Callable[[], int]) -> None:
    """Give the collector something to do, without a pause."""
    while now_ns() < until_ns:
        rubbish: list[object] = [[] for _ in range(200_000)]
        rubbish.append(rubbish)
        gc.collect()


class Relay(Part):
    """Works on a row, and hands it on."""

    row = Out("float32[64]")

    def process(self, message: Message) -> np.ndarray:
        self.work(message)
        row: np.ndarray = message.array
        return row


class Last(Part):
    """The end."""

    def process(self, message: Message) -> None:
        self.work(message)


def build(folder: str, seconds: float = 10.0) -> Pipeline:
    """`folder` has plan.json, and gets truth.jsonl."""
    p = Pipeline("faulty")
    first = before = p.add(SOURCE, Mic(folder, round(seconds * 1e3 / PERIOD_MS)))
    for name in WORK_MS:
        node = Last(name, folder) if name == SINK else Relay(name, folder)
        stage = p.add(name, node, hang_timeout=HANG_MS * ms)
        p.connect(before, stage, capacity=CAPACITY)
        before = stage
    p.deadline("main", first, before, within=WITHIN_MS * ms)
    p.supervise(restart_intensity=1000, restart_period=1 * s, backoff=1 * ms, backoff_max=1 * ms)
    return p


def pid_file(folder: Path, stage: str) -> Path:
    """Where the stage's present process says which it is."""
    return folder / f"{stage}.pid"


def edge_into(stage: str) -> str:
    """The name of the edge that feeds it."""
    before = [SOURCE, *WORK_MS][list(WORK_MS).index(stage)]
    return f"{before}.row->{stage}.row_in"


def read_truth(folder: Path) -> Iterator[tuple[int, int, int]]:
    """(number of the injection, seq, when) of what was done, in the order it was written."""
    for line in (folder / "truth.jsonl").read_text().splitlines():
        one = json.loads(line)
        yield one["number"], one["seq"], one["at_ns"]
