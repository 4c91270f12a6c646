"""Starts the processes of a run, follows its roll call, and leaves nothing behind.

What happens next is decided in `core.rollcall`; this carries it out: spawns and kills, passes telegrams on,
arms timers, catches signals, and collects what the stages counted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import trio

from streamflow.core.rollcall import (
    Arm,
    Connect,
    Drain,
    Failure,
    Finish,
    Instruction,
    Kill,
    Leave,
    Limit,
    Phase,
    RollCall,
    Start,
)
from streamflow.core.timebase import nanoseconds
from streamflow.runtime.clock import now_ns
from streamflow.runtime.control import ControlServer, InProcessControl, Telegram
from streamflow.runtime.interrupts import INTERRUPTED, killing_when_stuck
from streamflow.runtime.launch import ForeignProcess, StageProcess
from streamflow.runtime.loader import Loaded
from streamflow.runtime.rundir import OwnedRunFolder
from streamflow.runtime.worker import COUNTS_PERIOD_S, Worker, WorkerOptions
from streamflow.transport.zmq_socket import ZmqContext

START_LEAD_NS = 50_000_000  # recordings begin this long after the last stage was ready: the word must reach all
SILENCE_LIMIT_S = 4 * COUNTS_PERIOD_S  # a process that runs tells its counts far more often
INLINE = "inline"  # the name of the one process of an inline run


class LinkKind(Enum):
    IPC = "ipc"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run; durations in seconds. `by_hand`: stages that somebody starts with `streamflow node`."""

    offline: bool = False
    inline: bool = False
    speed: float = 1.0
    duration_s: float | None = None
    startup_timeout_s: float = 60.0
    drain_timeout_s: float = 10.0
    exit_timeout_s: float = 5.0
    link: LinkKind = LinkKind.IPC
    by_hand: Sequence[str] = ()


@dataclass(slots=True)
class Outcome:
    """What became of a run; `counts` by stage, as each told them last."""

    failure: Failure | None = None
    interrupted: bool = False
    duration_ns: int = 0
    counts: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    was_killed: bool = False
    is_complete: bool = False
    """Every stage has closed in order, and told its last counts."""


class Watcher(Protocol):
    """Whoever wants to follow a run while it goes: the progress line."""

    def counted(self, counts: Mapping[str, Mapping[str, Any]], elapsed_ns: int) -> None: ...
    def waiting_for(self, stages: Sequence[str]) -> None: ...
    def draining(self, limit_s: float) -> None: ...


class Supervisor:
    """One run of a loaded pipeline."""

    def __init__(self, loaded: Loaded, options: RunOptions, watcher: Watcher) -> None:
        self._loaded = loaded
        self._options = options
        self._watcher = watcher
        graph = loaded.resolved.graph
        stages = [stage.name for stage in graph.stages]
        self._processes = {INLINE: stages} if options.inline else graph.processes()
        self._roll_call = RollCall(self._processes)
        self._outcome = Outcome()
        self._running: dict[str, StageProcess | ForeignProcess] = {}
        self._tell_all: Callable[[Telegram], None] = lambda telegram: None
        self._hear_nowait: Callable[[], tuple[str, Telegram] | None] = lambda: None
        self._started_ns = 0
        self._heard_ns: dict[str, int] = {}
        self._nursery: trio.Nursery
        self._inline_scope = trio.CancelScope()

    async def run(self) -> Outcome:
        """Run to the end; the outcome says how it went. Ctrl-C and SIGTERM drain, a second one kills."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            if self._options.inline:
                with killing_when_stuck(INTERRUPTED):
                    await self._run_inline(signals)
            else:
                await self._run_processes(signals)
        self._outcome.failure = self._roll_call.failure
        self._outcome.is_complete = self._roll_call.is_complete
        self._outcome.interrupted = self._roll_call.interrupt_count > 0
        if self._started_ns:
            self._outcome.duration_ns = now_ns() - self._started_ns
        return self._outcome

    # ------------------------------------------------------------------------------ two ways to run

    async def _run_processes(self, signals: Any) -> None:
        folder = OwnedRunFolder(self._loaded.resolved.graph.name)
        try:
            endpoint = folder.edge_endpoint if self._options.link is LinkKind.IPC else "tcp://127.0.0.1:*"
            reference = self._loaded.reference
            folder.describe(
                {
                    "reference": reference.text,
                    "settings": dict(reference.settings),
                    "pipeline": self._loaded.resolved.graph.name,
                    "key": self._loaded.key,
                    "offline": self._options.offline,
                    "speed": self._options.speed,
                    "endpoint": endpoint,
                    "by_hand": list(self._options.by_hand),
                    "search_path": [path for path in sys.path if path],
                    "working_folder": str(Path.cwd()),
                    "supervisor": os.getpid(),
                }
            )
            with ZmqContext() as context:
                control = ControlServer(context, folder.control_endpoint, self._loaded.key)
                self._tell_all, self._hear_nowait = control.tell_all, control.hear_nowait
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._follow_signals, signals)
                    self._nursery.start_soon(self._follow_workers, control.hear)
                    for process, stages in self._processes.items():
                        if not set(stages) & set(self._options.by_hand):
                            self._watch(StageProcess(folder, process))
                    if self._options.by_hand:
                        self._watcher.waiting_for(self._options.by_hand)
                    self._carry_out(self._roll_call.begun())
        finally:
            for running in self._running.values():
                running.close()
            folder.close()

    async def _run_inline(self, signals: Any) -> None:
        loaded = self._loaded
        options = WorkerOptions(self._options.offline, self._options.speed, "")
        control = InProcessControl(INLINE)
        self._tell_all, self._hear_nowait = control.tell_all, control.hear_worker_nowait
        with ZmqContext() as context:
            stages = self._processes[INLINE]
            worker = Worker(loaded.definition, loaded.resolved, stages, options, control, context)
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._follow_signals, signals)
                self._nursery.start_soon(self._follow_workers, control.hear_worker)
                self._nursery.start_soon(self._work_inline, worker)
                self._carry_out(self._roll_call.begun())

    async def _work_inline(self, worker: Worker) -> None:
        with self._inline_scope:
            await worker.run()
        self._carry_out(self._roll_call.exited(INLINE, "has ended"))

    # ---------------------------------------------------------------------------------- what happened

    async def _follow_signals(self, signals: Any) -> None:
        async for _ in signals:
            self._carry_out(self._roll_call.interrupted())

    async def _follow_workers(self, hear: Callable[[], Any]) -> None:
        while True:
            process, telegram = await hear()
            self._heard_ns[process] = now_ns()
            self._carry_out(self._heard(process, telegram))

    def _heard(self, process: str, telegram: Telegram) -> list[Instruction]:
        match telegram["is"]:
            case "hello":
                if process in self._processes and process not in self._running:
                    self._watch(ForeignProcess(process, telegram["pid"]))
                if self._roll_call.phase is Phase.ABORTING:
                    self._tell_all({"is": "exit"})  # it came too late to have heard
                return []
            case "bound":
                return self._roll_call.bound(process, telegram["endpoints"])
            case "opened":
                return self._roll_call.opened(telegram["stage"])
            case "ready":
                return self._roll_call.ready(telegram["stage"])
            case "counts":
                self._outcome.counts.update(telegram["stages"])
                self._watcher.counted(self._outcome.counts, now_ns() - self._started_ns)
                return []
            case "closed":
                self._outcome.counts[telegram["stage"]] = telegram["counts"]
                return self._roll_call.closed(telegram["stage"])
            case "failed":
                if telegram["counts"]:
                    self._outcome.counts[telegram["stage"]] = telegram["counts"]
                failure = Failure(telegram["stage"], telegram["sentence"], telegram["traceback"], telegram["exit_code"])
                return self._roll_call.failed(failure, is_contained=telegram["is_contained"])
            case _:
                return []

    def _watch(self, process: StageProcess | ForeignProcess) -> None:
        self._running[process.process] = process
        self._nursery.start_soon(self._follow_exit, process)

    async def _follow_exit(self, process: StageProcess | ForeignProcess) -> None:
        how = await process.wait()
        self._carry_out(self._roll_call.exited(process.process, how))

    async def _follow_limit(self, limit: Limit, duration_s: float, phase: Phase) -> None:
        await trio.sleep(duration_s)
        if self._roll_call.phase is phase:
            self._carry_out(self._roll_call.expired(limit, self._silent()))

    def _silent(self) -> set[str]:
        """Processes not heard of for longer than one whose loop runs can be silent."""
        limit_ns = now_ns() - nanoseconds(SILENCE_LIMIT_S)
        return {name for name in self._processes if self._heard_ns.get(name, 0) < limit_ns}

    async def _follow_duration(self, duration_s: float) -> None:
        await trio.sleep(duration_s)
        self._carry_out(self._roll_call.duration_elapsed())

    # ------------------------------------------------------------------------------------ what to do

    def _carry_out(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Connect():
                    self._tell_all({"is": "connect", "endpoints": dict(instruction.endpoints)})
                case Start():
                    self._started_ns = now_ns() + START_LEAD_NS
                    self._tell_all({"is": "start", "at_ns": self._started_ns})
                    if self._options.duration_s is not None:
                        self._nursery.start_soon(self._follow_duration, self._options.duration_s)
                case Drain():
                    self._tell_all({"is": "drain"})
                    if self._roll_call.interrupt_count:
                        self._watcher.draining(self._options.drain_timeout_s)
                case Leave():
                    self._tell_all({"is": "exit"})
                    self._write_off_absent()
                case Kill():
                    self._kill(instruction.processes)
                case Arm():
                    duration_s = {
                        Limit.STARTUP: self._options.startup_timeout_s,
                        Limit.DRAIN: self._options.drain_timeout_s,
                        Limit.EXIT: self._options.exit_timeout_s,
                    }[instruction.limit]
                    self._nursery.start_soon(self._follow_limit, instruction.limit, duration_s, self._roll_call.phase)
                case Finish():
                    while (heard := self._hear_nowait()) is not None:
                        self._heard(*heard)  # the last counts of those that have just left
                    self._nursery.cancel_scope.cancel()

    def _write_off_absent(self) -> None:
        """A stage that was to be started by hand and never was has nothing to leave."""
        if not self._options.inline:
            for name in self._processes:
                if name not in self._running:
                    self._carry_out(self._roll_call.exited(name, "was never started"))

    def _kill(self, processes: Sequence[str]) -> None:
        self._outcome.was_killed = True
        if self._options.inline:
            self._inline_scope.cancel()
        for name in processes:
            if name in self._running:
                self._running[name].kill()
        self._write_off_absent()
