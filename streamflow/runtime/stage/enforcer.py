"""What a stage does with a datum before any work on it: `core.enforcement` with this stage's deadlines and costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final

from streamflow.core.cost import MARGIN_NS_MAX, RESERVE_SHARE, ServiceCost
from streamflow.core.deadline import Criticality, OnMiss, PathDef
from streamflow.core.enforcement import RUN, TRY, Act, Due, Head, Verdict, decide, is_worth_a_try
from streamflow.core.message import Message
from streamflow.core.paths import Paths
from streamflow.runtime.node import Node
from streamflow.transport.link import Backlog

Handler = Callable[[str, Any], Any]
_GIVEN_UP: Final = (Act.SHED, Act.HOLD, Act.CALL)
NEVER_DONE_NS: Final = 1 << 61  # a cost that no deadline has room for


@dataclass(frozen=True)
class Budget:
    """What the supervisor tells a stage: the longest way from it to each path's sink, and how their contracts stand."""

    tails_ns: Mapping[int, int]
    usual_tails_ns: Mapping[int, int] = field(default_factory=dict)
    degraded: Set[int] = frozenset()
    profile_ns: int = 0
    """The usual service time by the stored profile; 0 where there is none."""
    broken: Set[int] = frozenset()
    """Paths whose contract is, whatever was declared to follow from that."""


class Enforcer:
    """One stage's. Where no declared deadline goes through, everything runs."""

    def __init__(
        self, stage: str, node: Node, paths: Paths, handlers: Mapping[str, Handler], *, is_enforced: bool
    ) -> None:
        self._paths: dict[str, list[tuple[int, PathDef]]] = {}
        for index, path in enumerate(paths.definitions):
            if path.within_ns is not None and stage in paths.route(index) and stage != path.source:
                self._paths.setdefault(path.source, []).append((index, path))
        self._own_paths = {index for own in self._paths.values() for index, _ in own}
        self.has_contract = any(path.firm is not None for own in self._paths.values() for _, path in own)
        self._within_ns = {
            stream: min(path.within_ns for _, path in own if path.within_ns is not None)
            for stream, own in self._paths.items()
        }
        self._handlers = handlers
        self._cheap: Callable[[Message], Any] | None = getattr(node, "degrade", None)
        # Where nothing but shedding can come of it, as in most pipelines: what `decide` says, at a tenth of the cost.
        self._shed_alone = {
            stream: Verdict(Act.SHED, 1 << own[0][0])
            for stream, own in self._paths.items()
            if len(own) == 1 and own[0][1].on_miss is OnMiss.SHED and self._cheap is None
        }
        self._budget = Budget({})
        self._tail_ns = 0
        tightest_ns = min(self._within_ns.values(), default=0)
        self.margin_limit_ns = limit_ns = tightest_ns // RESERVE_SHARE if tightest_ns else MARGIN_NS_MAX
        self.cost = self._profiled_cost = ServiceCost(limit_ns)
        """Of whichever variant is in use; the stored profile is the best one's."""
        self.cheap_cost = ServiceCost(limit_ns)
        self.is_active = is_enforced and bool(self._paths)
        self.holds_results = is_enforced and any(
            path.on_miss is OnMiss.HOLD for own in self._paths.values() for _, path in own
        )
        from_here = [path.within_ns for path in paths.definitions if path.source == stage and path.within_ns]
        self._source_within_ns = min(from_here, default=0)
        self.classes = {stream: max(path.criticality for _, path in own) for stream, own in self._paths.items()}

    @property
    def cheap(self) -> Callable[[Message], Any] | None:
        """The node's own cheaper way of processing."""
        return self._cheap

    def set_budget(self, budget: Budget) -> None:
        self._budget = budget
        self._tail_ns = max(budget.tails_ns.values(), default=0)
        if not self._profiled_cost.usual_ns:
            self._profiled_cost.usual_ns = budget.profile_ns

    @property
    def has_broken_contract(self) -> bool:
        """Whether that of a path through the stage is, so that it is to do with the cheapest."""
        return self.is_active and not (self._budget.broken | self._budget.degraded).isdisjoint(self._own_paths)

    def room_ns(self, message: Message, now_ns: int) -> int | None:
        """From now to when work on it must end for it to be on time; None where it is due at no time."""
        return message.deadline_ns - self._tail_ns - now_ns if message.deadline_ns and self.is_active else None

    def source_deadline_ns(self, event_time_ns: int) -> int:
        """The tightest deadline of a datum that this source makes; 0 without one."""
        return event_time_ns + self._source_within_ns if self._source_within_ns else 0

    def with_deadline(self, message: Message) -> Message:
        """The message with the tightest deadline of those that go through this stage."""
        deadline_ns = 0
        if not message.origins:
            within_ns = self._within_ns.get(message.stream)
            if within_ns is not None:
                deadline_ns = message.event_time_ns + within_ns
        for origin in message.origins:
            within_ns = self._within_ns.get(origin.stream)
            if within_ns is not None:
                due_ns = origin.event_time_ns + within_ns
                deadline_ns = min(deadline_ns, due_ns) if deadline_ns else due_ns
        return message if message.deadline_ns == deadline_ns else message.replace(deadline_ns=deadline_ns)

    def verdict(
        self, message: Message, now_ns: int, result_age_ns: int | None, backlog: Callable[[], Backlog]
    ) -> Verdict:
        """Whether and how to work on it; `backlog` tells what waits behind it."""
        if not message.deadline_ns or not self.is_active:
            return RUN
        is_degraded = bool(self._budget.degraded)
        shed = None if is_degraded or message.origins else self._shed_alone.get(message.stream)
        cost_ns = self.cost.expected_ns()
        spare_ns = message.deadline_ns - now_ns - cost_ns - self._tail_ns
        if not is_degraded and spare_ns >= 0:
            if shed is None or not self._is_in_the_way(message, now_ns, cost_ns, spare_ns, backlog):
                return RUN
            verdict = shed
        else:
            verdict = self._decide(message, now_ns, self.cost.eased(cost_ns, now_ns), result_age_ns, shed)
            is_given_up = verdict.act in _GIVEN_UP and not verdict.stops and not is_degraded
            if is_given_up and self.is_worth_a_try(message, now_ns) and not backlog().depth:
                return TRY
        if verdict.act is not Act.RUN:
            self.cost.given_up(now_ns)
        return verdict

    def _is_in_the_way(
        self, message: Message, now_ns: int, cost_ns: int, spare_ns: int, backlog: Callable[[], Backlog]
    ) -> bool:
        """Whether the last of those that wait behind it would come too late because of it.

        One of them must be given up then, and of equals it is the oldest: those that follow have the more time to
        spare for what is rare (Moore 1968: any one may go, to have as many as possible on time).
        """
        waited_ns = now_ns - message.event_time_ns
        if spare_ns > waited_ns:
            return False  # it has not waited for half of what it may: those that came after it have not either
        depth, last = backlog()
        if last is None or last.stream != message.stream or last.origins:
            return False
        last_deadline_ns = last.event_time_ns + self._within_ns[message.stream]
        work_ns = self.cost.usual_ns * depth + cost_ns
        return now_ns + work_ns + self._tail_ns > last_deadline_ns

    def _decide(
        self, message: Message, now_ns: int, cost_ns: int, result_age_ns: int | None, shed: Verdict | None
    ) -> Verdict:
        if shed is not None:
            tail_ns = self.cost.eased(self._budget.tails_ns.get(shed.given_up.bit_length() - 1, 0), now_ns)
            return RUN if now_ns + cost_ns + tail_ns <= message.deadline_ns else shed
        return self._judged(message, now_ns, cost_ns, result_age_ns)

    def is_worth_a_try(self, message: Message, now_ns: int) -> bool:
        """Whether a datum that was given up is to be worked on all the same, where nothing else waits."""
        usual = self._budget.usual_tails_ns
        timed = [
            (origin.event_time_ns + path.within_ns, usual[index])
            for origin in message.origins or (message,)
            for index, path in self._paths.get(origin.stream, ())
            if path.within_ns is not None and index in usual
        ]
        return self.cost.usual_ns > 0 and is_worth_a_try(timed, now_ns, self.cost.usual_ns)

    def _dues(self, message: Message, now_ns: int) -> list[Due]:
        budget = self._budget
        return [
            Due(
                index,
                None if path.within_ns is None else origin.event_time_ns + path.within_ns,
                self.cost.eased(budget.tails_ns.get(index, 0), now_ns),
                path.on_miss,
                path.criticality,
                path.max_age_ns,
                index in budget.degraded,
            )
            for origin in message.origins or (message,)
            for index, path in self._paths.get(origin.stream, ())
        ]

    @property
    def is_degraded(self) -> bool:
        """Whether some path is degraded, and the node has a cheaper way."""
        return self.is_active and bool(self._budget.degraded) and self._cheap is not None

    def due_in_batch(self, message: Message, now_ns: int, least_ns: int, passed_ns: int) -> tuple[int, int]:
        """When a batch with it must have ended, and for which deadline: the tightest that can be met; 0, 0: for none.

        No batch ends before `least_ns`. Deadlines up to `passed_ns` have been given up; where that is all, 0, 0.
        """
        if not message.deadline_ns or not self.is_active:
            return 0, 0
        budget = self._budget
        found = (0, 0)
        for origin in message.origins or (message,):
            for index, path in self._paths.get(origin.stream, ()):
                if path.within_ns is None:
                    continue
                due_ns = origin.event_time_ns + path.within_ns
                if due_ns <= passed_ns:
                    continue
                latest_ns = max(due_ns - self.cost.eased(budget.tails_ns.get(index, 0), now_ns), 1)
                is_met, has_met = latest_ns >= least_ns, found[0] >= least_ns
                if not found[0] or (is_met and not has_met) or (is_met == has_met and (latest_ns < found[0]) == is_met):
                    found = latest_ns, due_ns
        return found

    def given_up(self, message: Message, now_ns: int, result_age_ns: int | None) -> Verdict:
        """What becomes of a datum for which there is no batch in time; also DEGRADE, where that is in time."""
        shed = None if self._budget.degraded or message.origins else self._shed_alone.get(message.stream)
        return shed or self._judged(message, now_ns, NEVER_DONE_NS, result_age_ns)

    def judged_alone(self, message: Message, now_ns: int, cost_ns: int, result_age_ns: int | None) -> Verdict:
        """What `verdict` would say of a datum by itself, if work on it took so long."""
        if not message.deadline_ns or not self.is_active:
            return RUN
        return self._judged(message, now_ns, cost_ns, result_age_ns)

    def _judged(self, message: Message, now_ns: int, cost_ns: int, result_age_ns: int | None) -> Verdict:
        cheap_cost_ns = None if self._cheap is None else self.cost.eased(self.cheap_cost.expected_ns(), now_ns)
        return decide(
            self._dues(message, now_ns),
            now_ns,
            cost_ns=cost_ns,
            cheap_cost_ns=cheap_cost_ns,
            result_age_ns=result_age_ns,
        )

    def criticality(self, message: Message) -> Criticality:
        """The highest class of what it was made from."""
        return max(self.classes.get(origin.stream, Criticality.NORMAL) for origin in message.origins or (message,))

    def is_late(self, message: Message, ended_ns: int) -> bool:
        """Whether what ended here can no longer be on time at the end of its tightest path."""
        return bool(message.deadline_ns) and ended_ns + self._tail_ns > message.deadline_ns

    def handler(self, message: Message) -> Handler | None:
        """What was declared to be called for a datum that is too late."""
        for origin in message.origins or (message,):
            for _, path in self._paths.get(origin.stream, ()):
                if path.on_miss is OnMiss.CALL:
                    return self._handlers[path.name]
        return None

    def stops(self, message: Message, until_ns: int = NEVER_DONE_NS) -> str:
        """The deadline, of those up to an instant, that says STOP for this datum; nothing where none does."""
        for origin in message.origins or (message,):
            for _, path in self._paths.get(origin.stream, ()):
                is_due = path.within_ns is not None and origin.event_time_ns + path.within_ns <= until_ns
                if is_due and path.on_miss is OnMiss.STOP:
                    return path.name
        return ""

    def head(self, message: Message) -> Head:
        """What is known of a datum that waits, for the choice of the next."""
        deadline_ns = message.deadline_ns or None
        arrival_ns = message.enqueued_ns or message.sent_ns
        return Head(self.criticality(message), deadline_ns, arrival_ns, self.cost.expected_ns(), self._tail_ns)
