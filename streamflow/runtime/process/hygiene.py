"""Gives a stage's process what it asked for so that it works without jitter, as far as this user may have it.

In two steps: where it may run and in how many threads before anything of its own is loaded or started, so that all of
that inherits it; priority, locked memory and a frozen heap when all its stages are open, so that slow and greedy
opening is done as anybody. What took effect is read back, not believed, and told to the supervisor.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from streamflow.core import realtime
from streamflow.core.graph import Graph
from streamflow.core.realtime import Effect, RealTime, cpu_list, merged, wishes
from streamflow.core.slack import Collecting
from streamflow.core.timebase import ms, us
from streamflow.recorder import layout
from streamflow.runtime.accounts.logbook import Logbook
from streamflow.runtime.clock import now_ns
from streamflow.runtime.process import blas
from streamflow.runtime.stage.ends import Inlet

CAP_IPC_LOCK, CAP_SYS_NICE = 14, 23  # linux/capability.h
SOON_NS = 2 * ms  # a source that is to wake so soon has no slack: a young collection takes a fraction of that
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # linux/mman.h
_PR_SET_TIMERSLACK, _PR_GET_TIMERSLACK = 29, 30  # linux/prctl.h
_POLICIES = {"fifo": os.SCHED_FIFO, "rr": os.SCHED_RR}
_POLICY_NAMES = {os.SCHED_FIFO: "SCHED_FIFO", os.SCHED_RR: "SCHED_RR", os.SCHED_OTHER: "SCHED_OTHER"}
_REMEDY = "streamflow doctor has the remedy"
_libc = ctypes.CDLL(None, use_errno=True)


class Stage(Protocol):
    """What is looked at of an actor to see whether it has slack."""

    inlets: dict[str, Inlet]
    logbook: Logbook


class Hygiene:
    """Of one process; a process that nothing is asked for is not touched."""

    def __init__(self, graph: Graph, stages: Sequence[str], *, is_own: bool = True) -> None:
        """`is_own`: these stages have the process for themselves; else it is left as it is, and that is told."""
        self._settings = merged(graph.stage(name).realtime for name in stages)
        self._is_own = is_own
        self._unready = set(stages)
        self._effects: list[Effect] = []
        self._collecting: Collecting | None = None

    def prepare(self) -> None:
        """Before this process starts any thread."""
        settings = self._settings
        if settings is None or not self._is_own:
            return
        asked = wishes(settings)
        if settings.cpus is not None:
            self._effects.append(_bind(frozenset(settings.cpus), asked[realtime.CPUS]))
        if settings.thread_count is not None:
            blas.set_environment(settings.thread_count, overrules=settings.threads is not None)
            blas.read_environment()
            blas.set_threads(settings.thread_count, overrules=settings.threads is not None)
        if settings.switch_interval is not None:
            self._effects.append(_switch(settings.switch_interval, asked[realtime.SWITCH_INTERVAL]))
        if settings.timer_slack is not None:
            set_timer_slack(settings.timer_slack)

    def ready(self, stage: str) -> list[Effect]:
        """One of its stages is open. With the last the rest is done, and what all has come to is returned, once."""
        settings = self._settings
        if settings is None or stage not in self._unready:
            return []
        self._unready.discard(stage)
        if self._unready:
            return []
        asked = wishes(settings)
        if not self._is_own:
            everything = ", ".join(f"{knob} {wish}" for knob, wish in asked.items())
            why_not = "its stages run in the supervisor's process, which stays as it is"
            return [Effect("real time", everything, "none of it", why_not)]
        effects = self._effects
        if settings.thread_count is not None:  # again: `open` may have loaded what was not there before
            found = blas.set_threads(settings.thread_count, overrules=settings.threads is not None)
            effects.append(_threads_told(settings.thread_count, asked[realtime.THREADS], found))
        effects.append(self._freeze(settings, asked[realtime.COLLECTION]))
        if settings.lock_memory:
            effects.append(_lock(asked[realtime.LOCKED_MEMORY]))
        if settings.priority is not None:
            effects.append(_prioritise(settings, settings.priority, asked[realtime.PRIORITY]))
        if settings.timer_slack is not None:
            effects.append(_slack_told(settings.timer_slack, asked[realtime.TIMER_SLACK]))
        return effects

    def _freeze(self, settings: RealTime, asked: str) -> Effect:
        gc.collect()
        gc.freeze()
        how = "automatic"
        if settings.collects == "in_slack":
            gc.disable()
            self._collecting = Collecting(now_ns())
            how = "in slack"
        return Effect(realtime.COLLECTION, asked, f"{how}, {gc.get_freeze_count():,} objects frozen")

    def collector(self, stages: Sequence[Stage]) -> Callable[[int], None] | None:
        """What the loop calls at each of its beats where it is to collect in slack; else None."""
        if self._settings is None or not self._is_own or self._settings.collects != "in_slack":
            return None

        def beat(at_ns: int) -> None:
            rule = self._collecting
            if rule is None:
                return  # not all are open
            generation = rule.due(at_ns, gc.get_count()[0], lambda: has_slack(stages, at_ns))
            if generation is not None:
                gc.collect(generation)
                rule.collected(generation, at_ns, now_ns())

        return beat


def has_slack(stages: Sequence[Stage], at_ns: int) -> bool:
    """Whether nothing waits to be served, and no source is about to wake."""
    for stage in stages:
        if any(inlet.receiver.backlog().depth for inlet in stage.inlets.values()):
            return False
        due_ns = stage.logbook.recorder.get(layout.DUE_NS)
        if due_ns and due_ns - at_ns < SOON_NS:
            return False
    return True


def _threads() -> Iterator[int]:
    """Of this process, those included that libraries have started; one may end meanwhile."""
    for path in Path("/proc/self/task").iterdir():
        yield int(path.name)


def _for_all_threads(change: Callable[[int], Any]) -> int:
    """To how many it was done; raises OSError where it may not be done."""
    count = 0
    for thread in _threads():
        try:
            change(thread)
            count += 1
        except ProcessLookupError:
            continue
    return count


def _refusal(error: OSError) -> str:
    number = error.errno or 0
    return f"{os.strerror(number).lower()} ({errno.errorcode.get(number, number)})"


def _bind(cpus: frozenset[int], asked: str) -> Effect:
    why_not = ""
    try:
        _for_all_threads(lambda thread: os.sched_setaffinity(thread, cpus))
    except OSError as error:
        why_not = f"{_refusal(error)}; a container or cpuset leaves it no other"
    got = os.sched_getaffinity(0)
    if got != cpus and not why_not:
        why_not = "a container or cpuset leaves it no other"
    return Effect(realtime.CPUS, asked, cpu_list(got), why_not)


def _threads_told(wanted: int, asked: str, libraries: Sequence[blas.Library]) -> Effect:
    if not libraries:
        why_not = "neither OpenBLAS nor OpenMP is loaded, and others are told by OMP_NUM_THREADS before the run"
        return Effect(realtime.THREADS, asked, "what they had", why_not)
    got = [f"{library.thread_count()} in {library.name}" for library in libraries]
    why_not = ""
    if any(library.thread_count() > wanted for library in libraries):
        why_not = "the library keeps what it has"
    elif any(library.spins and library.thread_count() > 1 for library in libraries):
        got.append("which spin while they wait")
    return Effect(realtime.THREADS, asked, ", ".join(got), why_not)


def _switch(interval_ns: int, asked: str) -> Effect:
    sys.setswitchinterval(interval_ns / 1e9)
    return Effect(realtime.SWITCH_INTERVAL, asked, f"{sys.getswitchinterval() * 1e6:g} us")


def set_timer_slack(slack_ns: int) -> int:
    """Of the thread that calls it, and of those that it starts; returns what it has now, as `timer_slack_ns`."""
    _libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(slack_ns), 0, 0, 0)
    return timer_slack_ns()


def timer_slack_ns() -> int:
    """How late the kernel may wake this thread; 0 in real time, negative where the kernel does not tell."""
    return int(_libc.prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0))


def _slack_told(wanted_ns: int, asked: str) -> Effect:
    """A thread of real-time priority has none, whatever was asked."""
    got_ns = timer_slack_ns()
    why_not = "" if 0 <= got_ns <= wanted_ns else "the kernel keeps what it has"
    return Effect(realtime.TIMER_SLACK, asked, f"{got_ns / us:g} us", why_not)


def _prioritise(settings: RealTime, priority: int, asked: str) -> Effect:
    policy = _POLICIES[settings.policy] | os.SCHED_RESET_ON_FORK  # programs that a node starts are to be ordinary
    parameter = os.sched_param(priority)
    try:
        count = _for_all_threads(lambda thread: os.sched_setscheduler(thread, policy, parameter))
    except OSError as error:
        limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
        return Effect(realtime.PRIORITY, asked, _has(), f"{_refusal(error)}, RLIMIT_RTPRIO is {limit}; {_REMEDY}")
    return Effect(realtime.PRIORITY, asked, f"{_has()} in {count} threads")


def _has() -> str:
    policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
    name = _POLICY_NAMES.get(policy, f"policy {policy}")
    priority = os.sched_getparam(0).sched_priority
    return f"{name} {priority}" if priority else name


def lock_memory() -> str:
    """Keep what this process has touched, and what it will touch, from being paged out; why not, or ''.

    Only what is touched: with all that is mapped a process with NumPy would take 177 MB in place of 39. Where the
    limit is finite, what is mapped later is left out: beyond the limit it would not stay unlocked, but be refused.
    """
    later = _MCL_FUTURE if _may_lock_any() else 0
    if _libc.mlockall(_MCL_CURRENT | later | _MCL_ONFAULT) < 0:
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        found = _refusal(OSError(ctypes.get_errno(), ""))
        return f"{found}, RLIMIT_MEMLOCK is {limit // 1024:,} KiB, and {_status('VmSize')} are mapped"
    return "" if later else "RLIMIT_MEMLOCK is finite, so only what is mapped already is locked"


def unlock_memory() -> None:
    """As if it had never been locked."""
    _libc.munlockall()


def _may_lock_any() -> bool:
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return limit == resource.RLIM_INFINITY or is_capable(CAP_IPC_LOCK)


def is_capable(capability: int) -> bool:
    """Whether this process may, as proc(5) tells its effective capabilities."""
    return bool(int(_status("CapEff") or "0", 16) >> capability & 1)


def _lock(asked: str) -> Effect:
    why_not = lock_memory()
    if why_not:
        why_not += f"; {_REMEDY}"
    return Effect(realtime.LOCKED_MEMORY, asked, f"{_status('VmLck')} as touched", why_not)


def _status(field: str) -> str:
    """A field of this process's status, as proc(5) has it; '' where it is not shown."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:")), "")
