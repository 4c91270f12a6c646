"""Who is restarted after a failure, when, and when to give up: OTP's strategies with a process as the unit.

Stages of one process share its fate, so a strategy that names a stage takes its process with all its stages, and
under REST_FOR_ONE what is downstream of those as well. The intensity is OTP's: a sliding window over the group's
restarts, kept by the instants at which they are to take place, so that delayed ones cannot bunch up behind it.
Law: never more than `intensity` restarts of a group in any `period`. One that fails before it is at work again is not
the first of a new period, however long that took: else what is stuck as it starts would be started for ever.

A process whose end was left alone (TEMPORARY, or TRANSIENT after a normal end) is never taken along later: its
streams have ended, and what was downstream has been told so. OTP would start it again with its siblings; a
recording that was played would be played twice. A TEMPORARY one that still works is not taken along either: to end
it for a neighbour's failure would be for good.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from streamflow.core.graph import Graph, StageDef
from streamflow.core.supervision import GroupDef, Restart, RestartStrategy
from streamflow.core.timebase import nanoseconds, s, seconds
from streamflow.errors import Fault

DOUBLINGS_LIMIT = 40  # 1 ns doubled this often is 18 minutes; only spares arithmetic on huge numbers


@dataclass(frozen=True, slots=True)
class RestartNow:
    """End those of `processes` that still live, and start all of them at `at_ns`, in this order: senders first.

    It takes the place of every restart that any of them still waits for. `attempt` counts the group's restarts
    within its period, this one included.
    """

    processes: tuple[str, ...]
    at_ns: int
    attempt: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop the run, in order, and say why."""

    sentence: str


@dataclass(frozen=True, slots=True)
class LeaveEnded:
    """The process stays ended, and the rest goes on without it."""

    process: str


Decision = RestartNow | GiveUp | LeaveEnded


@dataclass(slots=True)
class _History:
    """A group's restarts within the last period: when each failure was told, and when its restart is due."""

    group: GroupDef
    restarts: deque[tuple[int, int]] = field(default_factory=deque)

    def forget(self, now_ns: int) -> None:
        """Drop what is older than a period. Due instants need not be in order: jitter, and a longest delay."""
        kept = [entry for entry in self.restarts if entry[1] >= now_ns - self.group.period_ns]
        self.restarts = deque(kept)


class Restarts:
    """The decider of one run. `groups` cover every stage of `processes` (see `with_rest`), and have no faults.

    `downstream` has for each stage all those that its data can reach. `chance` gives numbers in [0, 1).
    """

    def __init__(
        self,
        groups: Sequence[GroupDef],
        restart_of: Mapping[str, Restart],
        processes: Mapping[str, Sequence[str]],
        downstream: Mapping[str, Set[str]],
        chance: Callable[[], float],
    ) -> None:
        histories = [_History(group) for group in groups]
        history_of = {stage: history for history in histories for stage in history.group.stages}
        self._processes = {name: tuple(stages) for name, stages in processes.items()}
        self._process_of = {stage: name for name, stages in processes.items() for stage in stages}
        self._downstream = downstream
        self._chance = chance
        self._restart_of = {name: _strongest(restart_of, stages) for name, stages in processes.items()}
        self._history = {name: history_of[stages[0]] for name, stages in processes.items()}
        self._ended: set[str] = set()
        self._given_up: GiveUp | None = None

    @property
    def ended(self) -> frozenset[str]:
        """The processes that stay ended."""
        return frozenset(self._ended)

    def failed(
        self,
        process: str,
        now_ns: int,
        reason: str = "its process ended",
        *,
        is_normal_end: bool = False,
        is_ended_by_us: bool = False,
        was_at_work: bool = True,
    ) -> Decision | None:
        """What follows from the end of `process`; `reason` says how, for people.

        None where we ended it ourselves: it belongs to a restart that was told before. After giving up it is
        always the same GiveUp. A normal end is one after which all its streams have ended. `was_at_work`: this life of
        it had become ready.
        """
        if is_ended_by_us:
            return None
        if self._given_up is not None:
            return self._given_up
        policy = self._restart_of[process]
        if process in self._ended or policy is Restart.TEMPORARY or (policy is Restart.TRANSIENT and is_normal_end):
            self._ended.add(process)
            return LeaveEnded(process)
        history = self._history[process]
        if was_at_work:
            history.forget(now_ns)
        attempt = len(history.restarts) + 1
        if attempt > history.group.intensity:
            self._given_up = GiveUp(self._why(process, now_ns, reason, history))
            return self._given_up
        at_ns = now_ns + self._delay_ns(history.group, attempt)
        history.restarts.append((now_ns, at_ns))
        return RestartNow(self._affected(process, history.group), at_ns, attempt)

    def _delay_ns(self, group: GroupDef, attempt: int) -> int:
        if attempt == 1:
            return 0
        longest_ns = min(group.backoff_ns << min(attempt - 2, DOUBLINGS_LIMIT), group.backoff_ns_max)
        return int(longest_ns * (0.5 + self._chance() / 2))

    def _affected(self, process: str, group: GroupDef) -> tuple[str, ...]:
        match group.strategy:
            case RestartStrategy.ONE_FOR_ONE:
                found = {process}
            case RestartStrategy.ONE_FOR_ALL:
                found = self._companions(group.stages) | {process}
            case RestartStrategy.REST_FOR_ONE:
                found = self._rest(process, group)
        return tuple(sorted((name for name in self._processes if name in found), key=self._rank))

    def _companions(self, stages: Iterable[str]) -> set[str]:
        """The processes of these stages that may be restarted for another's failure."""
        names = {self._process_of[stage] for stage in stages}
        return {name for name in names - self._ended if self._restart_of[name] is not Restart.TEMPORARY}

    def _rest(self, process: str, group: GroupDef) -> set[str]:
        found = {process}
        waiting = [process]
        while waiting:
            reached = {after for stage in self._processes[waiting.pop()] for after in self._downstream.get(stage, ())}
            more = self._companions(reached & set(group.stages)) - found
            found |= more
            waiting += more
        return found

    def _rank(self, process: str) -> int:
        """Ascending along the graph: what sends reaches more stages than what receives from it."""
        return -max(len(self._downstream.get(stage, ())) for stage in self._processes[process])

    def _why(self, process: str, now_ns: int, reason: str, history: _History) -> str:
        group, stages = history.group, self._processes[process]
        subject = f"stage{'s' if len(stages) != 1 else ''} {', '.join(stages)}"
        names = tuple(f"stage {stage}{mark}" for stage in stages for mark in ":,")
        told = reason if reason.startswith((f"{subject}: ", *names)) else f"{subject}: {reason}"
        if group.intensity == 0:
            return f"{told}; no restart is allowed (group {group.name})"
        count = len(history.restarts) + 1
        first_ns = min(failed_ns for failed_ns, _ in history.restarts)
        within = max(0.1, math.ceil(seconds(now_ns - first_ns) * 10) / 10)
        if now_ns - first_ns > group.period_ns + group.backoff_ns_max:
            between = "without being at work in between"
            return f"{subject}: {reason}; {count} failures within {within:g} s {between} (group {group.name})"
        allowed = f"{group.intensity} restart{'s' if group.intensity != 1 else ''} in {group.period_ns / s:g} s"
        return (
            f"{told}; {count} failures within {within:g} s, more than the {allowed} "
            f"that {'are' if group.intensity != 1 else 'is'} allowed (group {group.name})"
        )


def _strongest(restart_of: Mapping[str, Restart], stages: Iterable[str]) -> Restart:
    """What the most demanding stage of a process asks for holds for all of it."""
    asked = {restart_of[stage] for stage in stages}
    return next(each for each in (Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY) if each in asked)


def downstream_of(graph: Graph) -> dict[str, frozenset[str]]:
    """For each stage all those that its data can reach, without what leads back."""
    graph = graph.forward
    found: dict[str, frozenset[str]] = {}

    def reach(stage: str) -> frozenset[str]:
        if stage not in found:
            nexts = {edge.target for edge in graph.edges_from(stage)}
            found[stage] = frozenset(nexts).union(*(reach(each) for each in nexts))
        return found[stage]

    for stage in graph.stages:
        reach(stage.name)
    return found


def with_rest(groups: Sequence[GroupDef], default: GroupDef, stages: Sequence[str]) -> tuple[GroupDef, ...]:
    """The groups, and `default` with the stages that are in none of them, if there are any."""
    named = {stage for group in groups for stage in group.stages}
    rest = tuple(stage for stage in stages if stage not in named)
    return (*groups, replace(default, stages=rest)) if rest else tuple(groups)


def groups_of(graph: Graph, limit: tuple[int, float] | None = None) -> tuple[GroupDef, ...]:
    """The groups of a graph, the last for what is in no other; `limit`: (intensity, period in s) for all of them."""
    groups = with_rest(graph.groups, GroupDef(graph.name, ()), [stage.name for stage in graph.stages])
    if limit is None:
        return groups
    intensity, period_s = limit
    return tuple(replace(group, intensity=intensity, period_ns=nanoseconds(period_s)) for group in groups)


def stop_order(order: Sequence[str], processes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Processes against the graph's order: the one with the last stage of `order` is stopped first."""
    place = {stage: index for index, stage in enumerate(order)}
    return tuple(sorted(processes, key=lambda name: max(place[stage] for stage in processes[name]), reverse=True))


def group_faults(groups: Sequence[GroupDef], stages: Sequence[StageDef]) -> list[Fault]:
    """Every fault of the declared groups; stages in none of them are not at fault."""
    faults = []
    for name, count in Counter(group.name for group in groups).items():
        if count > 1:
            faults.append(Fault(f"group {name}", f"{count} groups of this name", "one", "name them apart"))
    for group in groups:
        faults += _own_faults(group, [stage.name for stage in stages])
    return faults + _shared_faults(groups, stages)


def _own_faults(group: GroupDef, names: Sequence[str]) -> list[Fault]:
    subject = f"group {group.name}"
    faults = []
    if not group.stages:
        faults.append(Fault(subject, "no stages", "at least one"))
    for stage in dict.fromkeys(group.stages):
        if stage not in names:
            close = difflib.get_close_matches(stage, names, 1)
            faults.append(
                Fault(subject, f"no stage {stage}", f"one of {', '.join(names)}" if names else "none: there is none",
                      f"did you mean {close[0]}?" if close else "")
            )  # fmt: skip
    if group.intensity < 0:
        faults.append(Fault(subject, f"a restart intensity of {group.intensity}", "0 or more"))
    if group.period_ns <= 0:
        faults.append(Fault(subject, f"a restart period of {group.period_ns / s:g} s", "more than 0"))
    if group.backoff_ns < 0:
        faults.append(Fault(subject, f"a backoff of {group.backoff_ns / s:g} s", "0 or more"))
    elif group.backoff_ns_max < group.backoff_ns:
        found = f"a longest backoff of {group.backoff_ns_max / s:g} s"
        faults.append(Fault(subject, found, f"at least the first, {group.backoff_ns / s:g} s"))
    return faults


def _shared_faults(groups: Sequence[GroupDef], stages: Sequence[StageDef]) -> list[Fault]:
    """Stages in several groups, and processes that are not in one group as a whole."""
    faults = []
    groups_of = {stage.name: [group.name for group in groups if stage.name in group.stages] for stage in stages}
    for stage, names in groups_of.items():
        if len(names) > 1:
            faults.append(Fault(f"stage {stage}", f"in the groups {' and '.join(names)}", "one group"))
    for process in dict.fromkeys(stage.process for stage in stages):
        own = {stage.name: groups_of[stage.name] for stage in stages if stage.process == process}
        if len({tuple(names) for names in own.values()}) > 1 and all(len(names) <= 1 for names in own.values()):
            who = ", ".join(f"{stage} in {names[0] if names else 'none'}" for stage, names in own.items())
            faults.append(
                Fault(f"process {process}", f"its stages are in several groups ({who})", "one group",
                      "a process is restarted as a whole")
            )  # fmt: skip
    return faults
