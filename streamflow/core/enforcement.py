"""What a stage does with a datum before any work on it, and which of those that wait it serves next.

Run if `now + cost + tail <= deadline` (GROUND §4, latest start). A datum can be on several paths, and work on it
is done if any of them can still be met. Alternative not taken: the tightest deadline alone decides; a logger
would then get nothing of a datum that came too late for the actuator beside it. A path without a deadline, of
which only accounts are kept, has no vote where a declared one goes through: else it would keep alive what SHED
is to give up.

A cheaper variant is used before full work if that meets a path that asks for it (DEGRADE declared, or the path is
degraded as a whole) and no path of a higher class would have been met in full. Were it used only when nothing
can be met in full, one loose path beside the tight one would switch DEGRADE off.

What it does not do: predict. `cost_ns` and `tail_ns` are the supervisor's; a service that runs over them is late.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from streamflow.core.deadline import Criticality, OnMiss


class Act(Enum):
    RUN = "run"
    """Full work; some path can be met."""
    DEGRADE = "degrade"
    """The cheaper variant instead."""
    DELIVER = "deliver"
    """Full work although no path can be met: what comes of it is flagged as missed."""
    CALL = "call"
    """The declared handler instead."""
    HOLD = "hold"
    """The last good result again instead."""
    SHED = "shed"
    """No work; the datum ends here on all its paths."""


class Due(NamedTuple):
    """What a datum owes one path. `deadline_ns` None: the path is only accounted for."""

    path_index: int
    deadline_ns: int | None
    tail_ns: int = 0
    on_miss: OnMiss = OnMiss.DELIVER
    criticality: Criticality = Criticality.NORMAL
    max_age_ns: int | None = None
    """How old a result HOLD may repeat; None is any age."""
    is_degraded: bool = False
    """The path's contract is broken: its stages use their cheaper variants."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`given_up`: bits of the paths that the act cannot meet any more; under SHED, of all.

    `stops`: one of them was declared STOP; the run stops safely, whatever else becomes of the datum.
    """

    act: Act
    given_up: int = 0
    stops: bool = False


RUN = Verdict(Act.RUN)
TRY = Verdict(Act.RUN)
"""Full work on what a cautious estimate would give up: nothing else waits, and there is ample time as a rule."""
TRY_TIMES = 2  # the usual time, from the start of the work to the end of the path


def decide(
    dues: Sequence[Due],
    now_ns: int,
    *,
    cost_ns: int,
    cheap_cost_ns: int | None = None,
    result_age_ns: int | None = None,
) -> Verdict:
    """Before work on one datum. `cheap_cost_ns` None: the node has no cheaper variant.

    `result_age_ns` is the age of the last good result, which HOLD would repeat; None: there is none.
    """
    end_ns = now_ns + cost_ns
    for due in dues:
        deadline_ns = due.deadline_ns
        if deadline_ns is not None and (end_ns + due.tail_ns > deadline_ns or due.is_degraded):
            break
    else:
        return RUN  # the usual case, without a list or an object made
    declared = [due for due in dues if due.deadline_ns is not None]
    met = [due for due in declared if _fits(due, end_ns)]
    met_cheaply: list[Due] = []
    if cheap_cost_ns is not None:
        met_cheaply = [due for due in declared if _fits(due, now_ns + cheap_cost_ns)]
        if _prefers_cheap(met, met_cheaply):
            return _verdict(Act.DEGRADE, declared, met_cheaply)
    if met:
        return _verdict(Act.RUN, declared, met)
    act = _miss_act(declared, has_cheap=cheap_cost_ns is not None, result_age_ns=result_age_ns)
    if act is Act.SHED:
        return Verdict(act, _mask(dues), any(due.on_miss is OnMiss.STOP for due in declared))
    return _verdict(act, declared, met_cheaply if act is Act.DEGRADE else [])


def is_worth_a_try(deadlines_ns: Iterable[tuple[int, int]], now_ns: int, usual_ns: int) -> bool:
    """Of (deadline, usual tail) on each path: whether one leaves twice the time that is usually needed.

    For a datum that was given up although nothing else waits. An estimate of what is rare grows where a machine is
    disturbed, and a stage that stands idle for fear of it does no better than one that comes too late.
    """
    return any(now_ns + TRY_TIMES * (usual_ns + tail_ns) <= deadline_ns for deadline_ns, tail_ns in deadlines_ns)


def _fits(due: Due, end_ns: int) -> bool:
    return due.deadline_ns is not None and end_ns + due.tail_ns <= due.deadline_ns


def _prefers_cheap(met: list[Due], met_cheaply: list[Due]) -> bool:
    wanting = [
        due.criticality
        for due in met_cheaply
        if due.is_degraded or (due.on_miss is OnMiss.DEGRADE and due not in met)
    ]  # fmt: skip
    in_full = [due.criticality for due in met if not due.is_degraded]
    return bool(wanting) and (not in_full or max(wanting) >= max(in_full))


def _miss_act(declared: list[Due], *, has_cheap: bool, result_age_ns: int | None) -> Act:
    """Of what the paths declare, the action that keeps most of the datum."""
    delivering = [due for due in declared if due.on_miss is OnMiss.DELIVER]
    if delivering:
        return Act.DEGRADE if has_cheap and any(due.is_degraded for due in delivering) else Act.DELIVER
    if any(due.on_miss is OnMiss.CALL for due in declared):
        return Act.CALL
    if result_age_ns is not None and any(
        due.on_miss is OnMiss.HOLD and (due.max_age_ns is None or result_age_ns <= due.max_age_ns) for due in declared
    ):
        return Act.HOLD
    return Act.SHED


def _verdict(act: Act, declared: list[Due], met: list[Due]) -> Verdict:
    given_up = [due for due in declared if due not in met]
    return Verdict(act, _mask(given_up), any(due.on_miss is OnMiss.STOP for due in given_up))


def _mask(dues: Sequence[Due]) -> int:
    mask = 0
    for due in dues:
        mask |= 1 << due.path_index
    return mask


class Head(NamedTuple):
    """The datum that an input would hand over next; of several paths, what its highest class and tightest say.

    `ready_ns`: until then it waits for something else (a partner, a batch to fill), and cannot be started.
    """

    criticality: Criticality
    deadline_ns: int | None
    arrival_ns: int
    cost_ns: int
    tail_ns: int = 0
    ready_ns: int = 0


def choose(heads: Sequence[Head], now_ns: int) -> int | None:
    """Index of the head to serve now: the highest class, in it the earliest deadline, of equal ones the first come.

    Work is not interrupted once begun, so one of a lower class is not started if a higher one that waits, and
    could still be on time, would miss because of it. None: nothing may be started now.
    """
    in_order = sorted(range(len(heads)), key=lambda index: _rank(heads[index]))
    passed_over: set[Criticality] = set()  # classes whose first would be in the way; their others do not overtake it
    for index in in_order:
        head = heads[index]
        if head.ready_ns > now_ns or head.criticality in passed_over:
            continue
        if any(_is_in_the_way(head, other, now_ns) for other in heads if other.criticality > head.criticality):
            passed_over.add(head.criticality)
            continue
        return index
    return None


def _rank(head: Head) -> tuple[int, bool, int, int]:
    return -head.criticality, head.deadline_ns is None, head.deadline_ns or 0, head.arrival_ns


def _is_in_the_way(head: Head, higher: Head, now_ns: int) -> bool:
    if higher.deadline_ns is None:
        return False
    latest_start_ns = higher.deadline_ns - higher.tail_ns - higher.cost_ns
    return max(now_ns, higher.ready_ns) <= latest_start_ns < max(now_ns + head.cost_ns, higher.ready_ns)
