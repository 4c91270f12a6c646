"""Starts the processes of a run, watches them, starts again what fails, and leaves nothing behind.

What happens next is decided in `core.rollcall`; this carries it out: starts and kills, passes telegrams on, arms
timers, catches signals. What is going on in the stages is read by `watch`, which asks nobody.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterable, Callable, Sequence
from pathlib import Path
from typing import Any

import trio

from streamflow.core.firm import Broken, Escalated, Escalation, FirmEvent, Recovered
from streamflow.core.restart import Restarts, downstream_of, groups_of
from streamflow.core.rollcall import (
    Abandon,
    Arm,
    Attach,
    Begin,
    Connect,
    Detach,
    Drain,
    Failure,
    Finish,
    Instruction,
    Kill,
    Leave,
    Limit,
    Phase,
    Retire,
    Revive,
    RollCall,
    Start,
)
from streamflow.core.timebase import ms, s, seconds
from streamflow.runtime.loading.loader import Loaded
from streamflow.runtime.process.control import ControlServer, Telegram
from streamflow.runtime.process.launch import ForeignProcess
from streamflow.runtime.process.priority import NONE
from streamflow.runtime.process.worker import WorkerOptions
from streamflow.runtime.supervision.events import EventLog
from streamflow.runtime.supervision.interrupts import INTERRUPTED, killing_when_stuck
from streamflow.runtime.supervision.lives import Lives
from streamflow.runtime.supervision.observatory import Observatory
from streamflow.runtime.supervision.rounds import Rounds
from streamflow.runtime.supervision.run_options import Outcome, RunOptions, Watcher, description_of
from streamflow.runtime.supervision.snapshotting import Snapshotting
from streamflow.runtime.supervision.venue import Held, LocalVenue, TaskVenue, Venue

START_LEAD_NS = 50 * ms  # recordings begin this long after the last stage was ready: the word must reach all
SILENT_NS = 2 * s  # a loop that runs is seen far more often
INLINE = "inline"  # the name of the one process of an inline run


class Supervisor:
    """One run of a loaded pipeline."""

    def __init__(self, loaded: Loaded, options: RunOptions, watcher: Watcher, venue: Venue | None = None) -> None:
        """Without a venue the run takes place on this host, in processes or, `inline`, in this one."""
        self._loaded = loaded
        self._options = options
        self._watcher = watcher
        self._graph = graph = loaded.resolved.graph
        stages = [stage.name for stage in graph.stages]
        self._processes = {INLINE: stages} if options.inline else graph.processes()
        self._process_of = {stage: process for process, own in self._processes.items() for stage in own}
        self._can_restart = options.restarts and not (options.offline or options.inline or options.by_hand)
        self._venue = venue or self._default_venue()
        sources = {stage.name for stage in graph.stages if stage.is_source}
        self._roll_call = RollCall(
            self._processes,
            loaded.resolved.order,
            self._make_restarts() if self._can_restart else None,
            frozenset(process for process, own in self._processes.items() if set(own) <= sources),
            graph.observers,
        )
        self._outcome = Outcome()
        self._held: dict[str, Held] = {}
        self._told_tracebacks: set[str] = set()
        self._awaited: set[str] = set()  # being started, and not in hand yet
        self._doomed: set[str] = set()  # of those, the ones to be killed once they are
        self._started_ns = 0
        self._priority = NONE
        self._control: ControlServer
        self._observatory: Observatory
        self._rounds: Rounds
        self._snapshotting: Snapshotting
        self._lives: Lives
        self._log: EventLog
        self._nursery: trio.Nursery

    def _default_venue(self) -> Venue:
        if not self._options.inline:
            return LocalVenue(self._loaded, keep=self._options.keep, is_warm=self._options.is_warm)
        return TaskVenue(self._loaded, self._worker_options(), self._processes, keep=self._options.keep)

    def _worker_options(self) -> WorkerOptions:
        options = self._options
        can_restart, enforces = self._can_restart, options.enforces
        return WorkerOptions(
            options.offline, options.speed, "memory://e{}", Path(), 0, can_restart, enforces, state=options.state
        )

    def _make_restarts(self) -> Restarts:
        restart_of = {stage.name: stage.restart for stage in self._graph.stages}
        groups = groups_of(self._graph, self._options.restart_limit)
        return Restarts(groups, restart_of, self._processes, downstream_of(self._graph), self._venue.chance)

    async def run(self, signals: AsyncIterable[int] | None = None) -> Outcome:
        """Run to the end; the outcome says how it went. Ctrl-C and SIGTERM drain, a second one kills.

        `signals`: heard in place of this process's own.
        """
        if signals is not None:
            await self._run(signals)
        else:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as own:
                if self._options.inline:
                    with killing_when_stuck(INTERRUPTED, self._leave_venue):
                        await self._run(own)
                else:
                    await self._run(own)
        return self._outcome

    def _leave_venue(self) -> None:
        self._venue.__exit__(None, None, None)

    async def _run(self, signals: AsyncIterable[int]) -> None:
        with self._venue as venue:
            folder = venue.folder
            self._snapshotting = Snapshotting(self._options, self._graph, folder)
            folder.describe(description_of(self._loaded, self._options, folder, restarts=self._can_restart))
            self._log = EventLog(folder.events, venue.clock.now_ns, venue.clock.wall_ns)
            self._log.listeners.append(self._watcher.happened)
            self._observatory = Observatory(
                self._loaded,
                folder,
                venue.clock,
                self._log,
                self._process_of,
                self._state_of,
                self._contract_changed,
                self._options.profile,
                is_offline=self._options.offline,
            )
            self._control = ControlServer(venue.context, venue.control_endpoint, self._loaded.key)
            self._rounds = Rounds(venue.clock, self._observatory, self._control, self._hung, self._publish)
            self._lives = Lives(self._graph, self._processes, self._control, self._observatory)
            try:
                await self._supervise(signals, venue)
            finally:
                for held in self._held.values():
                    held.close()
                self._control.close()
                self._conclude(self._snapshotting.finish())
                self._observatory.close()
                self._log.close()

    async def _supervise(self, signals: AsyncIterable[int], venue: Venue) -> None:
        async with trio.open_nursery() as self._nursery:
            if isinstance(venue, TaskVenue):
                venue.nursery = self._nursery
                venue.set_recordings(venue.folder.recordings)
            self._nursery.start_soon(self._follow_signals, signals)
            self._nursery.start_soon(self._follow_workers)
            self._log.write(
                "started",
                pipeline=self._graph.name,
                stages=[stage.name for stage in self._graph.stages],
                supervisor=os.getpid(),
            )
            if self._options.by_hand:
                self._watcher.waiting_for(self._options.by_hand)
            self._carry_out(self._roll_call.begun())
            for process, stages in self._processes.items():
                if not set(stages) & set(self._options.by_hand):
                    await self._start(process)

    def _conclude(self, unkept: str) -> None:
        """`unkept`: why states could not be written at the end."""
        outcome, roll_call = self._outcome, self._roll_call
        outcome.failure = roll_call.failure or (Failure("states", unkept) if unkept else None)
        outcome.interrupted = roll_call.interrupt_count > 0
        if self._started_ns:
            outcome.duration_ns = max(self._venue.clock.now_ns() - self._started_ns, 0)
        how = "failed" if outcome.failure else "killed" if outcome.was_killed else "done"
        how = "interrupted" if how == "done" and outcome.interrupted else how
        self._log.write("ended", how=how)
        outcome.report = self._observatory.report(how, outcome.duration_ns, outcome.failure, self._lives.generations)
        outcome.report["supervisor"] = {"priority": self._priority}
        outcome.broken_contracts = self._observatory.broken_contracts()

    # ---------------------------------------------------------------------------------- what happened

    async def _follow_signals(self, signals: AsyncIterable[int]) -> None:
        async for _ in signals:
            self._carry_out(self._roll_call.interrupted())

    async def _follow_workers(self) -> None:
        while True:
            process, telegram = await self._control.hear()
            self._carry_out(self._heard(process, telegram))

    def _heard(self, process: str, telegram: Telegram) -> list[Instruction]:
        match telegram["is"]:
            case "hello":
                return self._greet(process, telegram["pid"])
            case "bound":
                self._lives.bound.add(process)
                self._observatory.follow(self._processes[process])
                return self._roll_call.bound(process, telegram["endpoints"])
            case "opened":
                return self._roll_call.opened(telegram["stage"])
            case "ready":
                return self._roll_call.ready(telegram["stage"])
            case "realtime" | "device" | "device_work" | "ways" | "states" | "logged":
                self._observatory.heard(telegram)
                return []
            case "closed":
                return self._roll_call.closed(telegram["stage"])
            case "received":
                self._lives.received(telegram["edge"], telegram["count"], has_ended=telegram["has_ended"])
                return []
            case "stop":
                sentence = f"deadline {telegram['deadline']}: missed at stage {telegram['stage']}, which stops the run"
                return self._roll_call.stop(Failure(f"deadline {telegram['deadline']}", sentence))
            case "failed":
                failure = Failure(telegram["stage"], telegram["sentence"], telegram["traceback"], telegram["exit_code"])
                self._tell_traceback(failure)
                self._lives.lost_device(process, telegram["lost_device"])
                is_contained = telegram["is_contained"]
                ending = "" if is_contained or telegram["is_final"] else process
                return self._roll_call.failed(failure, is_contained=is_contained, process=ending)
            case _:
                return []

    def _tell_traceback(self, failure: Failure) -> None:
        """Once for each fault in user code after which the run goes on."""
        text = failure.traceback_text
        if self._can_restart and text and text not in self._told_tracebacks:
            self._told_tracebacks.add(text)
            self._log.write("raised", stage=failure.subject, sentence=failure.sentence, traceback=text)

    def _greet(self, process: str, pid: int) -> list[Instruction]:
        """A process is there: it is told which life it is."""
        if process not in self._processes:
            return []
        if process not in self._held and process not in self._awaited:  # ours may greet before we have it in hand
            self._hold(ForeignProcess(process, pid))
        self._lives.greet(process)
        if self._roll_call.phase is Phase.ABORTING:
            self._control.tell(process, {"is": "exit"})  # it came too late to have heard
        return []

    async def _start(self, process: str) -> None:
        self._awaited.add(process)
        held = await self._venue.start(process, self._lives.generations[process])
        self._awaited.discard(process)
        if self._roll_call.phase is Phase.DONE:
            held.close()
            return
        self._hold(held)
        if process in self._doomed:
            self._doomed.discard(process)
            held.kill()

    def _hold(self, held: Held) -> None:
        former = self._held.get(held.process)
        if former is not None:
            former.close()
        self._held[held.process] = held
        self._nursery.start_soon(self._follow_exit, held)

    async def _follow_exit(self, held: Held) -> None:
        how = await held.wait()
        while (heard := self._control.hear_nowait()) is not None:
            self._carry_out(self._heard(*heard))  # what it said last comes before its end
        now_ns = self._venue.clock.now_ns()
        self._lives.went_down(held.process, now_ns)
        self._carry_out(self._roll_call.exited(held.process, how, now_ns))
        self._venue.reap_orphans([other.pid for other in self._held.values()])

    def _state_of(self, process: str) -> str:
        held = self._held.get(process)
        return held.stop_state() if held is not None else "X"

    async def _follow_limit(self, limit: Limit, duration_s: float, phase: Phase) -> None:
        await trio.sleep(duration_s)
        if self._roll_call.phase is phase:
            self._carry_out(self._roll_call.expired(limit, self._observatory.silent(SILENT_NS)))

    async def _follow_startup(self, process: str, generation: int) -> None:
        await trio.sleep(self._options.startup_timeout_s)
        if self._lives.generations[process] == generation:
            self._carry_out(self._roll_call.expired(Limit.STARTUP, process=process))

    async def _follow_duration(self, duration_s: float) -> None:
        """From when data flow, which is a lead after the word was given."""
        await trio.sleep(duration_s + seconds(self._started_ns - self._venue.clock.now_ns()))
        self._carry_out(self._roll_call.duration_elapsed())

    # ------------------------------------------------------------------------------- while it runs

    def _publish(self) -> None:
        self._observatory.tell_states(self._snapshotting.faults())
        self._watcher.seen(self._observatory.publish(self._roll_call.phase.name.lower(), self._lives.generations))

    def _hung(self, stage: str, why: str) -> None:
        if self._process_of[stage] in self._lives.down_since:
            return
        self._log.write("hung", stage=stage, reason=why)
        self._carry_out(self._roll_call.hung(self._process_of[stage], f"stage {stage}: {why}"))

    def _contract_changed(self, path: str, event: FirmEvent, culprit: str) -> None:
        """What a firm contract demands, or takes back."""
        definition = next(one for one in self._graph.deadlines if one.name == path)
        self._rounds.contract(path, is_broken=not isinstance(event, Recovered))
        if isinstance(event, Recovered):
            if Escalation.DEGRADE not in definition.escalation[: event.level]:
                self._rounds.degrade(path, is_degraded=False)
        elif isinstance(event, Broken | Escalated):
            match event.step:
                case Escalation.DEGRADE:
                    self._rounds.degrade(path, is_degraded=True)
                case Escalation.RESTART if culprit:
                    reason = f"stage {culprit}: blamed for most misses of deadline {path}, whose contract is broken"
                    self._carry_out(self._roll_call.hung(self._process_of[culprit], reason))
                case Escalation.STOP:
                    sentence = f"deadline {path}: its contract is broken, {event.met} of the last {event.of} on time"
                    self._carry_out(self._roll_call.stop(Failure(f"deadline {path}", sentence)))
                case _:
                    pass

    # ------------------------------------------------------------------------------------ what to do

    def _carry_out(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            act: Callable[[Any], None] = getattr(self, f"_do_{type(instruction).__name__.lower()}")
            act(instruction)

    def _do_connect(self, instruction: Connect) -> None:
        self._control.tell_all({"is": "connect", "endpoints": dict(instruction.endpoints)})

    def _do_start(self, instruction: Start) -> None:
        self._started_ns = self._venue.clock.now_ns() + START_LEAD_NS
        self._observatory.started(self._started_ns)
        self._rounds.tell_budgets(self._started_ns)
        self._control.tell_all({"is": "start", "at_ns": self._started_ns})
        if self._options.raises_priority:
            self._priority = self._venue.raise_priority()
        self._log.write("priority", priority=self._priority)
        self._nursery.start_soon(self._rounds.run)
        if self._options.duration_s is not None:
            self._nursery.start_soon(self._follow_duration, self._options.duration_s)

    def _do_drain(self, instruction: Drain) -> None:
        self._control.tell_all({"is": "drain"})
        if self._roll_call.interrupt_count:
            self._watcher.draining(self._options.drain_timeout_s)

    def _do_leave(self, instruction: Leave) -> None:
        self._control.tell_all({"is": "exit"})
        self._write_off_absent()

    def _do_retire(self, instruction: Retire) -> None:
        self._log.write("stopped", process=instruction.process)
        if not self._control.tell(instruction.process, {"is": "exit"}):
            self._kill([instruction.process])

    def _do_kill(self, instruction: Kill) -> None:
        self._kill(instruction.processes)

    def _do_arm(self, instruction: Arm) -> None:
        duration_s = {
            Limit.STARTUP: self._options.startup_timeout_s,
            Limit.DRAIN: self._options.drain_timeout_s,
            Limit.EXIT: self._options.exit_timeout_s,
        }[instruction.limit]
        self._nursery.start_soon(self._follow_limit, instruction.limit, duration_s, self._roll_call.phase)

    def _do_finish(self, instruction: Finish) -> None:
        while (heard := self._control.hear_nowait()) is not None:
            self._heard(*heard)
        self._nursery.cancel_scope.cancel()

    def _do_detach(self, instruction: Detach) -> None:
        for process in instruction.processes:
            self._log.write("failed", process=process, stages=list(self._processes[process]))
            self._lives.ended(process)

    def _do_revive(self, plan: Revive) -> None:
        delay_ns = max(plan.at_ns - self._venue.clock.now_ns(), 0)
        self._log.write("restarting", processes=list(plan.processes), delay_ms=delay_ns / ms, reason=plan.reason)
        self._nursery.start_soon(self._revive, plan)

    async def _revive(self, plan: Revive) -> None:
        await trio.sleep(seconds(max(plan.at_ns - self._venue.clock.now_ns(), 0)))
        if not self._roll_call.waits_to_revive(plan):
            return
        self._roll_call.revived(plan.processes)
        self._awaited.update(plan.processes)
        for process in plan.processes:
            self._lives.generations[process] += 1
            await self._start(process)
            self._nursery.start_soon(self._follow_startup, process, self._lives.generations[process])

    def _do_attach(self, instruction: Attach) -> None:
        self._lives.attach(instruction.process, instruction.endpoints)

    def _do_begin(self, instruction: Begin) -> None:
        process = instruction.process
        self._control.tell(process, {"is": "start", "at_ns": self._started_ns})
        down_since_ns = self._lives.down_since.pop(process)
        now_ns = self._venue.clock.now_ns()
        self._observatory.came_back(self._processes[process], now_ns)
        self._log.write(
            "back",
            process=process,
            stages=list(self._processes[process]),
            down_ms=(now_ns - down_since_ns) / ms,
            warm=self._venue.is_warm,
        )
        self._rounds.tell_budgets(now_ns)

    def _do_abandon(self, instruction: Abandon) -> None:
        self._log.write("left", process=instruction.process, reason=instruction.reason)
        self._lives.abandon(instruction.process)

    def _write_off_absent(self) -> None:
        """A stage that was to be started by hand and never was has nothing to leave."""
        for name, stages in self._processes.items():
            if name not in self._held and set(stages) & set(self._options.by_hand):
                self._carry_out(self._roll_call.exited(name, "was never started"))

    def _kill(self, processes: Sequence[str]) -> None:
        if self._roll_call.phase in (Phase.ABORTING, Phase.LEAVING):
            self._outcome.was_killed = True
        for name in processes:
            if name in self._awaited:
                self._doomed.add(name)
            elif name in self._held:
                self._held[name].kill()
        if self._roll_call.phase is Phase.ABORTING:
            self._write_off_absent()
