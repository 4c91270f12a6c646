"""Kills a stage between any two lines of what it does to its accounts, one run for each, and checks every sum.

python -m tools.campaigns.crash_points                                     every pipeline and stage
python -m tools.campaigns.crash_points --pipeline line --stage middle      one stage of one of them
python -m tools.campaigns.crash_points --pipeline line --stage middle --first 812 --count 1      one point again

A storm of real kills meets a window of two microseconds once in a hundred; here each is met. The pipeline runs in
virtual time, so that every run is the same up to the point: `sys.settrace` counts the lines that the stage's process
runs in `FILES`, and at the chosen one the process is gone, as by SIGKILL: its recorders are closed, nothing that it
would still send leaves it, and the line is not run. What is left is what a real one would have left.

Lines can be traced in sources alone, so these are what it runs, also where they are compiled as well.

A first run finds where a kill makes a difference: a line before which nothing was stored in the recorders and nothing
sent since the line before it leaves the same as that one. `--every-line` tries them all.
"""

from __future__ import annotations

import argparse
import linecache
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import streamflow
from streamflow import compilation
from streamflow.core.graph import Graph
from streamflow.core.verdict import WORK
from streamflow.recorder.layout import WORD
from streamflow.runtime.process.control import Channel, ControlClient
from streamflow.runtime.process.worker import Worker
from streamflow.testing import Faults, Simulation, simulate
from streamflow.testing.simulated_process import LoopClock, SimulatedProcess
from streamflow.transport.memory_socket import MemoryDealer, MemoryNetwork, MemoryRouter
from streamflow.transport.sockets import SocketContext
from streamflow.wire.values import Frame
from tools.campaigns.crash_pipelines import SPECIMENS, slow_device
from tools.campaigns.laws import broken_laws

ROOT = Path(streamflow.__file__).parent
FILES = frozenset(
    str(ROOT / name)
    for name in (
        "core/inbox.py",
        "core/mailbox.py",
        "core/outbox.py",
        "memory/kept.py",
        "memory/states.py",
        "recorder/edges.py",
        "recorder/mapped_histogram.py",
        "recorder/writer.py",
        "runtime/stage/actor.py",
        "runtime/stage/batch_work.py",
        "runtime/stage/batcher.py",
        "runtime/accounts/edge_traces.py",
        "runtime/stage/emission.py",
        "runtime/stage/handling.py",
        "runtime/stage/held_back.py",
        "runtime/stage/joiner.py",
        "runtime/stage/joining.py",
        "runtime/accounts/keeping.py",
        "runtime/stepping.py",
        "runtime/stepping_elsewhere.py",
        "runtime/stream_states.py",
        "runtime/accounts/logbook.py",
        "runtime/stage/replay.py",
        "runtime/stage/sending.py",
        "runtime/stage/serving.py",
        "runtime/process/stage_states.py",
        "runtime/process/worker.py",
        "transport/local_link.py",
        "transport/socket_receiver.py",
        "transport/socket_sender.py",
        "wire/session.py",
    )
)
LIMIT_S = 30.0  # of a run's own time; the data of one take 0.2 s
FIRST_CRASH_S = 0.045  # when a former life of the stage, or a neighbour, is killed, where that was asked for
AGAIN_S = 0.1  # when it is killed once more


class KilledError(BaseException):
    """What the process was running goes no further; nothing in it may catch this."""


@dataclass(frozen=True)
class Target:
    """Whose lines are counted. `life`: 0 is its first, which ends in the midst of the data if another is meant.

    `others`: stages that are killed at the same instant. `after`: a stage that is killed earlier, so that some of the
    lines are about its death and its next life. `again`: the stage is killed once more, later, at rest or at work:
    what its first death left wrong may only show then. `dead_at`: its first life ends before that line, and the lines
    are those by which its next one comes back, before its data flow.
    """

    pipeline: str
    stage: str
    life: int = 0
    others: tuple[str, ...] = ()
    after: str = ""
    again: bool = False
    dead_at: int | None = None

    def __str__(self) -> str:
        words = [f"--pipeline {self.pipeline} --stage {self.stage}"]
        words += [f"--life {self.life}"] if self.life else []
        words += [f"--with {other}" for other in self.others]
        words += [f"--after {self.after}"] if self.after else []
        words += ["--again"] if self.again else []
        words += [f"--dead-at {self.dead_at}"] if self.dead_at is not None else []
        return " ".join(words)

    def command(self, number: int) -> str:
        """What runs one point again."""
        return f"python -m tools.campaigns.crash_points {self} --first {number} --count 1"


@dataclass(frozen=True, slots=True)
class Point:
    """The `number`th line that the process ran, from 0, since it began to flow."""

    number: int
    place: str


class Tracing:
    """Of one run: counts the lines of one life of one process, and ends it before line `kill_at`."""

    def __init__(self, target: Target, processes: dict[str, str], kill_at: int | None) -> None:
        """`processes`: of each stage."""
        self.count = 0
        self.points: list[Point] = []
        """Where a kill makes a difference, as far as the run was followed."""
        self.killed: Point | None = None
        self.distinguishes = kill_at is None
        self._process = processes[target.stage]
        self._others = [processes[other] for other in target.others]
        self._life_number = target.life
        self._kill_at = kill_at
        self._first_left = target.dead_at  # lines that its first life has left, where its next one is followed
        self._lives: dict[str, list[SimulatedProcess]] = {}
        self._current: ContextVar[SimulatedProcess | None] = ContextVar("life", default=None)
        self._traced: SimulatedProcess | None = None
        self._sent_count = 0
        self._before: object = None

    def born(self, life: SimulatedProcess) -> None:
        """To be called in the context in which everything of the process runs."""
        self._current.set(life)
        lives = self._lives.setdefault(life.process, [])
        lives.append(life)
        if self._first_left is not None and life.process == self._process and len(lives) == 2:
            self._traced = life
            sys.settrace(self._called)

    def began(self, life: SimulatedProcess) -> None:
        """The data of this life begin to flow."""
        if life is self._traced:
            sys.settrace(None)  # it has come back
            self._traced = None
            return
        of_process = self._lives[life.process]
        if life.process == self._process and of_process.index(life) == self._life_number and self._traced is None:
            self._traced = life
            sys.settrace(self._called)

    def sent(self) -> None:
        self._sent_count += 1

    def _called(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        return self._lined if frame.f_code.co_filename in FILES else None

    def _lined(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if event != "line" or self._traced is None or self._current.get() is not self._traced:
            return self._lined
        if self._has_closed(self._traced):
            sys.settrace(None)  # in order, at the end of the run
            return None
        if linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("async with"):
            return self._lined  # whose end is Trio's own, and can't be left by an exception
        if self._first_left is not None and len(self._lives[self._process]) == 1:
            self._first_left -= 1
            if self._first_left < 0:
                self._traced.kill()
                raise KilledError
            return self._lined
        number = self.count
        self.count = number + 1
        if number == self._kill_at:
            self.killed = self._point(number, frame)
            for other in self._others:
                self._lives[other][-1].kill()
            self._traced.kill()
            raise KilledError  # which ends the tracing, too
        if self.distinguishes:
            now = self._fingerprint(self._traced)
            if now != self._before:
                self._before = now
                self.points.append(self._point(number, frame))
        return self._lined

    def _point(self, number: int, frame: FrameType) -> Point:
        name = Path(frame.f_code.co_filename).relative_to(ROOT.parent)
        return Point(number, f"{name}:{frame.f_lineno}")

    def _has_closed(self, life: SimulatedProcess) -> bool:
        if life._worker is None:
            return False
        return any(getattr(recorder.buffer, "closed", False) for recorder in life._worker._recorders)

    def _fingerprint(self, life: SimulatedProcess) -> object:
        """All of the recorders that may matter, and how much was sent; a record that no head names is not there."""
        if life._worker is None:
            return self._sent_count
        return self._sent_count, *(bytes(one.buffer[: one._ring * WORD]) for one in life._worker._recorders)


@contextmanager
def _followed(tracing: Tracing) -> Iterator[None]:
    """Every process of the simulation that is run within reports to `tracing`, and sends nothing once it is dead."""
    run = SimulatedProcess.run

    async def followed(
        self: SimulatedProcess,
        make_client: Callable[[SocketContext], ControlClient],
        make_worker: Callable[[Channel, SocketContext, LoopClock], Worker],
        network: MemoryNetwork,
        begun: Callable[[int], None],
    ) -> None:
        tracing.born(self)

        def has_begun(at_ns: int) -> None:
            begun(at_ns)
            tracing.began(self)

        try:
            await run(self, make_client, make_worker, _Mortal(network, self, tracing), has_begun)
        except* KilledError:
            pass

    SimulatedProcess.run = followed  # type: ignore[method-assign]
    try:
        yield
    finally:
        sys.settrace(None)
        SimulatedProcess.run = run  # type: ignore[method-assign]


class _Mortal(MemoryNetwork):
    """The run's network as one process has it, which takes nothing from a dead one."""

    def __init__(self, network: MemoryNetwork, life: SimulatedProcess, tracing: Tracing) -> None:
        self.now_ns = network.now_ns
        self._whole = network
        self._life = life
        self._tracing = tracing

    def dealer(self) -> MemoryDealer:
        dealer = self._whole.dealer()
        dealer.send = self._checked(dealer.send)  # type: ignore[method-assign]
        return dealer

    def router(self) -> MemoryRouter:
        router = self._whole.router()
        router.send = self._checked(router.send)  # type: ignore[method-assign]
        return router

    def _checked(self, send: Callable[..., None]) -> Callable[..., None]:
        def send_if_alive(frames: Sequence[Frame], *, nudges: bool = True) -> None:
            if not self._life.is_killed:
                send(frames, nudges=nudges)
                self._tracing.sent()

        return send_if_alive


@dataclass(frozen=True)
class Result:
    """Of one run."""

    tracing: Tracing
    broken: list[str]
    simulation: Simulation | None


def run(target: Target, kill_at: int | None = None) -> Result:
    """The pipeline once, with its kill before that line, or without one; and what is broken then."""
    specimen = SPECIMENS[target.pipeline]
    graph = specimen.build().definition().resolved().graph
    tracing = Tracing(target, {stage.name: stage.process for stage in graph.stages}, kill_at)
    faults = Faults()
    for number in range(target.life):
        faults.crash(target.stage, at_s=FIRST_CRASH_S * (number + 1))
    if target.after:
        faults.crash(target.after, at_s=FIRST_CRASH_S)
    if target.again:
        faults.crash(target.stage, at_s=AGAIN_S)
    try:
        with _followed(tracing):
            simulation = simulate(
                specimen.build, faults=faults, service=specimen.service, limit_s=LIMIT_S, make_device=slow_device
            )
    except Exception:  # whatever it is, it is a finding
        return Result(tracing, [traceback.format_exc()], None)
    return Result(tracing, [*broken_laws(simulation, graph), *_broken_counts(target, simulation, graph)], simulation)


def _broken_counts(target: Target, simulation: Simulation, graph: Graph) -> Iterator[str]:
    """What the sums do not say: that all there was to send was sent, and that what arrived is what the sinks took."""
    specimen = SPECIMENS[target.pipeline]
    for name, path in simulation.paths.items():
        if specimen.produced is not None and path["produced"] != specimen.produced:
            yield f"path {name}: {path['produced']} produced, there were {specimen.produced}"
        if specimen.is_lossless and path["lost"]:
            yield f"path {name}: {path['lost']} lost, over edges that lose nothing"
    if specimen.is_lossless:
        yield from _broken_results(target, simulation)
    if not specimen.is_single:
        return
    for stage in graph.stages:
        if graph.edges_from(stage.name):
            continue
        records = [record for record in simulation.records[stage.name] if record.kind in WORK]
        arrived = {(record.stream, record.seq) for record in records}
        if len(arrived) != len(records):
            yield f"stage {stage.name}: handled a datum twice"
        met = sum(path["met"] for name, path in simulation.paths.items() if name.endswith(f"->{stage.name}"))
        if met != len(arrived):
            yield f"stage {stage.name}: handled {len(arrived)}, of which {met} are told to have arrived"


def _broken_results(target: Target, simulation: Simulation) -> Iterator[str]:
    """What reached the sink over lossless edges is what does where nobody dies; the source may lose one."""
    specimen = SPECIMENS[target.pipeline]
    expected = _undisturbed(target.pipeline)
    found = [(record.stream, record.seq) for record in simulation.records["sink"] if record.kind in WORK]
    if found != expected:
        yield f"stage sink: handled {found}, without a death {expected}"
    values = [int(message.array) for message in simulation.handled["sink"]]
    if target.stage != "sink" and any(count > 1 for count in Counter(values).values()) and specimen.is_single:
        yield f"stage sink: was given {values}"


@cache
def _undisturbed(pipeline: str) -> list[tuple[int, int]]:
    """What the sink handles where nobody dies: stream and seq."""
    specimen = SPECIMENS[pipeline]
    simulation = simulate(specimen.build, service=specimen.service, limit_s=LIMIT_S, make_device=slow_device)
    return [(record.stream, record.seq) for record in simulation.records["sink"] if record.kind in WORK]


def points_of(target: Target, *, every_line: bool = False) -> list[Point]:
    """Where to kill, in order: lines that a run without the kill comes by. RuntimeError where that is broken itself."""
    result = run(target)
    if result.broken:
        raise RuntimeError(f"{target} is broken without a kill: {result.broken}")
    if every_line:
        return [Point(number, "") for number in range(result.tracing.count)]
    return result.tracing.points


def targets(pipeline: str | None, stage: str | None, like: Target) -> Iterator[Target]:
    """Those that these words mean, in all pipelines that have all of the stages; in everything else as `like`."""
    for name in [pipeline] if pipeline else SPECIMENS:
        stages = [each.name for each in SPECIMENS[name].build().definition().graph.stages]
        if {*like.others, like.after} - {"", *stages}:
            continue
        for each in stages:
            if stage in (None, each) and each not in like.others:
                yield replace(like, pipeline=name, stage=each)


def reviving(target: Target, every: int) -> Iterator[Target]:
    """Its first life ends at one of so many points, and its next one is followed as it comes back."""
    for point in points_of(target)[every // 2 :: every]:
        yield replace(target, dead_at=point.number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", choices=SPECIMENS)
    parser.add_argument("--stage")
    parser.add_argument("--life", type=int, default=0, help="0: its first; 1: the one after a kill of the first; ...")
    parser.add_argument("--with", dest="others", action="append", default=[], help="a stage killed at the same instant")
    parser.add_argument("--after", default="", help="a stage killed earlier")
    parser.add_argument("--again", action="store_true", help="killed once more, later")
    parser.add_argument("--dead-at", type=int, help="the line at which its first life ends; killed as it comes back")
    parser.add_argument("--reviving", type=int, metavar="N", help="the same for one of N points of its first life")
    parser.add_argument("--first", type=int, default=0, help="the first line to be killed at")
    parser.add_argument("--count", type=int, help="how many lines from there")
    parser.add_argument("--every", type=int, default=1, help="one of so many points")
    parser.add_argument("--every-line", action="store_true", help="also where a kill makes no difference")
    arguments = parser.parse_args()
    if not compilation.reason:
        again = [sys.executable, "-m", "tools.campaigns.crash_points", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | {compilation.VARIABLE: "no"})
    began = time.monotonic()
    point_count = broken_count = 0
    like = Target("", "", arguments.life, tuple(arguments.others), arguments.after, arguments.again, arguments.dead_at)
    wanted: Iterable[Target] = targets(arguments.pipeline, arguments.stage, like)
    if arguments.reviving:
        wanted = (each for target in wanted for each in reviving(target, arguments.reviving))
    for target in wanted:
        try:
            every_line = arguments.every_line or arguments.count == 1 or arguments.reviving
            points = points_of(target, every_line=every_line)
        except RuntimeError as error:
            print(error, flush=True)
            broken_count += 1
            continue
        last = arguments.first + arguments.count if arguments.count is not None else float("inf")
        chosen = [point for point in points if arguments.first <= point.number < last][:: arguments.every]
        broken_here = 0
        for point in chosen:
            result = run(target, point.number)
            killed = result.tracing.killed
            if killed is None or point.place not in ("", killed.place):
                result.broken.append(f"line {point.number} is {killed.place if killed else 'not reached'} this time")
            if result.broken:
                broken_here += 1
                print(f"{target} at {point.number}, {killed.place if killed else '?'}")
                print("\n".join([*(f"    {line}" for line in result.broken), f"    {target.command(point.number)}"]))
            if arguments.count == 1 and result.simulation is not None:
                print(result.simulation)
        print(f"{target}: {len(chosen)} points, {broken_here} broken", flush=True)
        point_count += len(chosen)
        broken_count += broken_here
    print(f"{point_count} points, {broken_count} broken, in {time.monotonic() - began:.0f} s")
    return bool(broken_count)


if __name__ == "__main__":
    sys.exit(main())
