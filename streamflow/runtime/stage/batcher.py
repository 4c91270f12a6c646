"""Brings data of several streams together in batches: holds back what comes, has batches worked on, gives up the rest.

What goes into a batch, what is given up for it and when to look again is `core.batching`'s to say. Data that wait are
held back as those of a join are, no more than `queue_limit`: beyond that they wait on their edge, under its policy.
While a batch runs nothing is decided; what has come meanwhile is taken when it is done.

To the accounts the data of a batch are in service one after the other: the first while the batch is worked on, each of
the others when the results of the one before it were sent. Until then it is held back, and lost as such if the process
dies. So what each has sent is known by its own turn. *Not taken*: the batch in service as a whole, as a row of a join;
of what its turn has sent nobody could say which datum it belongs to.

What is given up is done with as its deadlines say, each datum by itself: DEGRADE, CALL and HOLD as for one that is
worked on alone, before the next batch. A datum that is late and to be delivered all the same has no deadline any more:
it has the places that cost nothing, and after `patience` one in each batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio

from streamflow.core.batch import Batch
from streamflow.core.batching import Plan, Timing, Waiting, choose, choose_in_order
from streamflow.core.cost import MARGIN_NS_MIN
from streamflow.core.enforcement import Act, Verdict
from streamflow.core.joins.contract import Reason
from streamflow.core.message import Flag, Message
from streamflow.core.verdict import Kind
from streamflow.device.on_device import OnDevice
from streamflow.errors import NodeError, StreamflowError
from streamflow.recorder import layout
from streamflow.runtime.guard import RAISED, blamed
from streamflow.runtime.node import Node, Output
from streamflow.runtime.stage.ends import Inlet
from streamflow.runtime.stage.handling import Handling
from streamflow.runtime.stage.held_back import HeldBack
from streamflow.runtime.stage.interference import Interference
from streamflow.runtime.stage.joining import Joined
from streamflow.runtime.stage.promises import Promises
from streamflow.runtime.stage.waker import Waker
from streamflow.wire.data import lightened

WHERE: Final = "process_batch"
LEAD_SHARE: Final = 8  # the last of so many leads counts
_MISSED: Final = int(Flag.MISSED)


@dataclass(slots=True, eq=False)
class _Datum:
    """One that waits. `passed_ns`: its deadlines up to there were given up; `is_overdue`: all of them."""

    message: Message
    arrival_ns: int
    passed_ns: int = 0
    is_overdue: bool = False
    due_ns: int = 0
    latest_ns: int = 0


class Batcher:
    """Of one stage."""

    def __init__(
        self,
        stage: str,
        node: Node,
        batch: Batch,
        port: str,
        inlet: Inlet,
        accepted: Callable[[Message], Message | None],
        handling: Handling,
        promises: Promises | None,
        waker: Waker,
        interference: Interference | None,
        *,
        offline: bool,
    ) -> None:
        """`accepted`: what a datum is to the node, or None where it was dropped for its age.

        Offline batches follow from the order of arrival alone, so that a run is reproducible.
        """
        self._stage = stage
        self._process: Callable[[Sequence[Message]], Any] = node.process_batch  # type: ignore[attr-defined]
        self._process_one: Callable[[Message], Any] | None = getattr(node, "process", None)
        self._batch = batch
        self._rule = batch.rule(MARGIN_NS_MIN)
        self._profile = batch.profile()
        self._is_stateful = node.stateful
        self._port = port
        self._inlet = inlet
        self._accepted = accepted
        self._handling = handling
        self._enforcer = handling.enforcer
        self._logbook = handling.logbook
        self._sending = handling.sending
        self._now_ns = handling.now_ns
        self._promises = promises
        self._waker = waker
        self._interference = interference
        self._is_offline = offline
        self._on_device: OnDevice | None = None  # what came of the batch at hand, where a device made it
        self._held = HeldBack(handling.logbook, {port: inlet.edge})
        self._waiting: list[_Datum] = []  # as they came
        self._is_undecided = False
        self._has_ended = False
        self._lead_ns = 0  # from the look at what waits to the start of the batch: the choice, and what is shed for it
        self._last_undated_ns = 0
        self._newest_ns = -1  # event time of what was taken
        self._is_orderly = True  # so that what was taken promises something

    # ------------------------------------------------------------------------------- what comes

    def has_room(self, port: str) -> bool:
        """Whether to take one more."""
        return len(self._waiting) < self._batch.queue_limit

    def is_over(self) -> bool:
        """Nothing is done before its input has ended."""
        return False

    def is_due(self) -> bool:
        """Whether there is something to decide."""
        return self._is_undecided or self._waker.is_due()

    def take(self, port: str, message: Message) -> Awaitable[None] | None:
        """A datum that came; with it all that are there, so that a batch is chosen from all of them."""
        self._hold(message)
        if self._is_offline:
            return self.make_rows()  # whenever it came: the choice is by the order alone
        receiver = self._inlet.receiver
        while self.has_room(port) and (more := receiver.take()) is not None:
            self._hold(more)
        return None

    def _hold(self, message: Message) -> None:
        accepted = self._accepted(message)
        if accepted is None:
            return
        message = self._enforcer.with_deadline(accepted)
        self._held.hold(self._port, message)
        self._waiting.append(_Datum(message, message.enqueued_ns or self._now_ns()))
        self._is_undecided = True
        self._is_orderly = self._is_orderly and message.event_time_ns >= self._newest_ns
        self._newest_ns = max(self._newest_ns, message.event_time_ns)

    def heard(self, port: str, watermark_ns: int) -> None:
        """There is nothing at the input, whose sender has promised that nothing older comes."""
        if self._promises is not None:
            oldest_ns = min([datum.message.event_time_ns for datum in self._waiting], default=watermark_ns)
            self._promises.heard(port, min(watermark_ns, oldest_ns), self._now_ns())

    async def end(self, port: str) -> None:
        """Nothing more will come: what waits is worked on in batches, as far as it fills them."""
        self._has_ended = True
        while self._waiting:
            before = len(self._waiting)
            await trio.lowlevel.checkpoint()
            await self.make_rows()
            if len(self._waiting) == before and not self._is_undecided:
                await self._leave_rest()
        if self._promises is not None:
            self._promises.ended(port, self._now_ns())

    async def _leave_rest(self) -> None:
        """What fills no batch: each by itself, if the node has a way, or left out."""
        for datum in self._waiting.copy():
            if self._process_one is None:
                self._waiting.remove(datum)
                self._held.leave_out(datum.message, Reason.UNMATCHED)
            else:
                await self._work_on([datum], self._process_one)

    # ------------------------------------------------------------------------------- what is done

    async def make_rows(self) -> None:
        """Give up what cannot be in time, and work on one batch, if one is to start now."""
        self._is_undecided = False
        self._waker.arm(None)
        if self._enforcer.is_degraded and not self._is_offline and await self._degrade():
            return
        decided_ns = self._now_ns()
        asked, waiting = self._asked()
        plan = self._plan(waiting)
        if plan.given_up and not plan.start:
            if len(self._waiting) == 1 and self._enforcer.is_worth_a_try(asked[0].message, self._now_ns()):
                plan = Plan((0,))
            else:
                self._profile.given_up(self._now_ns())
                self._enforcer.cost.given_up(self._now_ns())
        # In the order in which they came, in which each stream is.
        given_up = [asked[index] for index in sorted(plan.given_up)]
        started = [asked[index] for index in sorted(plan.start)]
        if given_up and await self._give_up(given_up):
            self._is_undecided = True  # it took its time: a choice of then is out of date
        elif started:
            self._lead_ns += (self._now_ns() - decided_ns - self._lead_ns) // LEAD_SHARE
            await self._work_on(started, None)
            self._is_undecided = bool(self._waiting) and not self._is_offline
        elif given_up:
            self._is_undecided = bool(self._waiting)
        else:
            self._waker.arm(plan.wake_ns)
        self._promise()

    def _plan(self, waiting: Sequence[Waiting]) -> Plan:
        if self._is_offline:
            return choose_in_order(waiting, self._rule, has_ended=self._has_ended)
        rule = self._rule
        if self._has_ended and rule.timing is Timing.LAZY:  # it cannot grow any more
            rule = Batch(rule.size_max, rule.fill, patience=rule.patience_ns).rule(rule.margin_ns)
        now_ns = self._now_ns() + self._lead_ns
        return choose(waiting, now_ns, self._profile, rule, last_undated_ns=self._last_undated_ns)

    def _asked(self) -> tuple[list[_Datum], list[Waiting]]:
        """What may be started now, and the same as the decider sees it.

        Of a stream either all have a deadline or none has. So where those at its head are overdue, and the next are
        not, or the other way round, these wait until the others are gone.
        """
        now_ns, enforcer = self._now_ns(), self._enforcer
        margin_ns = int(enforcer.cost.margin_ns)
        if margin_ns != self._rule.margin_ns:
            self._rule = self._batch.rule(margin_ns)
        least_ns = now_ns + self._lead_ns + margin_ns + self._profile.cost_ns(1, now_ns)
        asked: list[_Datum] = []
        waiting: list[Waiting] = []
        is_dated: dict[str, bool] = {}
        closed: set[str] = set()
        for datum in self._waiting:
            message = datum.message
            datum.latest_ns = datum.due_ns = 0
            if not datum.is_overdue:
                datum.latest_ns, datum.due_ns = enforcer.due_in_batch(message, now_ns, least_ns, datum.passed_ns)
            stream = message.stream if self._is_stateful else None
            if stream is not None:
                if is_dated.setdefault(stream, datum.latest_ns > 0) is not (datum.latest_ns > 0):
                    closed.add(stream)
                if stream in closed:
                    continue
            asked.append(datum)
            waiting.append(Waiting(datum.latest_ns, datum.arrival_ns, stream, enforcer.criticality(message)))
        return asked, waiting

    async def _give_up(self, data: Sequence[_Datum]) -> bool:
        """Do with each what its deadlines say; whether that took time."""
        has_worked = False
        for datum in data:
            message, now_ns = datum.message, self._now_ns()
            if self._enforcer.due_in_batch(message, now_ns, 0, datum.due_ns) != (0, 0):
                datum.passed_ns = datum.due_ns  # there is another, which can be met still
                if stopping := self._enforcer.stops(message, datum.due_ns):
                    self._handling.stop_wanted(stopping)
                continue
            verdict = self._enforcer.given_up(message, now_ns, self._handling.result_age_ns(now_ns))
            if verdict.act is Act.DELIVER:
                datum.is_overdue = True
                if verdict.stops:
                    self._handling.stop_wanted(self._enforcer.stops(message))
                continue
            if verdict.act is Act.SHED and not verdict.stops:  # in overload most of what comes: the shortest way
                row = self._row(datum)
                self._waiting.remove(datum)
                self._held.begin(row)
                self._logbook.shed(message, self._inlet.sender, now_ns, (), 1)
                self._held.end(row)
                continue
            has_worked = has_worked or verdict.act is not Act.SHED
            await self._handle_alone(datum, verdict)
        return has_worked

    async def _degrade(self) -> bool:
        """While a path is degraded: work, in the cheaper way, on the first datum for which that is asked."""
        now_ns = self._now_ns()
        cost_ns = self._profile.cost_ns(1, now_ns) + self._rule.margin_ns
        passed: set[str] = set()
        for datum in self._waiting:
            if datum.message.stream in passed:
                continue
            age_ns = self._handling.result_age_ns(now_ns)
            verdict = self._enforcer.judged_alone(datum.message, now_ns, cost_ns, age_ns)
            if verdict.act is Act.DEGRADE:
                await self._handle_alone(datum, verdict)
                self._is_undecided = bool(self._waiting)
                self._promise()
                return True
            passed.add(datum.message.stream)
        return False

    async def _handle_alone(self, datum: _Datum, verdict: Verdict) -> None:
        row = self._row(datum)
        self._waiting.remove(datum)
        self._held.begin(row)
        try:
            await self._handling.give_up(row, self._inlet, verdict)
        except StreamflowError:
            self._held.lose(row)
            raise
        self._held.end(row)

    def _row(self, datum: _Datum, flags: int = 0) -> Joined:
        message = datum.message
        return Joined(message.replace(flags=message.flags | flags) if flags else message, None, (message,))

    # --------------------------------------------------------------------------------- the batch

    async def _work_on(self, data: Sequence[_Datum], alone: Callable[[Message], Any] | None) -> None:
        """Work on these at once, and send what comes of each in its own name; `alone`: of one, by this instead."""
        started_ns = self._now_ns()
        blocked_before = self._sending.blocked_ns
        recorder = self._logbook.recorder
        assert recorder.batch_wait is not None
        rows = []
        for datum in data:
            self._waiting.remove(datum)
            recorder.batch_wait.record(started_ns - datum.arrival_ns)
            is_late = datum.is_overdue and started_ns > datum.message.deadline_ns
            rows.append(self._row(datum, _MISSED if is_late else 0))
            if not datum.latest_ns:
                self._last_undated_ns = started_ns
        self._begin(rows[0], started_ns)
        row = rows[0]
        try:
            results = await self._results([one.message for one in rows], alone)
            where = WHERE if alone is None else "process"
            busy_ns = 0
            for row, result in zip(rows, results, strict=True):
                if row is not rows[0]:
                    self._begin(row, started_ns)
                rest = self._handling.send_good(result, row.message, where)
                if rest is not None:
                    await rest
                busy_ns = self._finish(row, started_ns, self._sending.blocked_ns - blocked_before, len(rows), busy_ns)
        except StreamflowError:
            self._held.lose(row)
            raise
        recorder.batched(len(rows))
        self._learn(data, started_ns, self._sending.blocked_ns - blocked_before)

    def _begin(self, row: Joined, started_ns: int) -> None:
        self._handling.last = lightened(row.message)
        self._held.begin(row)
        self._logbook.begin(row.message, self._inlet.sender, started_ns)

    async def _results(self, messages: list[Message], alone: Callable[[Message], Any] | None) -> Sequence[Any]:
        self._on_device = None
        if self._interference is not None:
            await self._interference.before_batch(self._stage, messages)
        try:
            found = self._process(messages) if alone is None else alone(messages[0])
            if inspect.isawaitable(found):
                if type(found) is OnDevice:
                    self._on_device = found
                    found = await self._handling.done_on_device(found)
                else:
                    found = await found
        except RAISED as error:
            raise blamed(self._stage, error, WHERE if alone is None else "process") from error
        return [found] if alone is not None else results_of(self._stage, found, len(messages))

    def _finish(self, row: Joined, started_ns: int, blocked_ns: int, size: int, busy_before_ns: int) -> int:
        """What came of one datum was sent; returns how long the batch has taken until now."""
        logbook, message = self._logbook, row.message
        ended_ns = self._now_ns()
        flags = message.flags & ~_MISSED | (_MISSED if self._enforcer.is_late(message, ended_ns) else 0)
        given_ns, done_ns = ended_ns, 0
        busy_ns = service_ns = ended_ns - started_ns - blocked_ns
        if self._on_device is not None:
            given_ns, done_ns = self._on_device.span_ns(started_ns, ended_ns)
            service_ns = given_ns - started_ns
        goes_on = logbook.ended(
            Kind.RUN, message, self._inlet.sender, started_ns, given_ns, blocked_ns, flags, (), size, done_ns
        )
        logbook.service(service_ns, 1, busy_ns - busy_before_ns)
        if not goes_on and self._sending.outlets:
            logbook.recorder.add(layout.ABSORBED)
        self._held.end(row)
        if self._interference is not None:
            self._interference.handled(self._stage, message)
        return busy_ns

    def _learn(self, data: Sequence[_Datum], started_ns: int, blocked_ns: int) -> None:
        """What the batch took, and whether its tightest datum was in time but for the wait for room."""
        service_ns = self._now_ns() - started_ns - blocked_ns
        tightest_ns = min([datum.latest_ns for datum in data if datum.latest_ns], default=0)
        is_late = bool(tightest_ns) and started_ns + service_ns > tightest_ns
        self._profile.served(len(data), service_ns, is_late=is_late)
        self._enforcer.cost.served(service_ns, is_late=is_late)

    def _promise(self) -> None:
        """How far event time has come: up to the oldest that waits still."""
        if self._promises is not None and self._is_orderly:
            oldest_ns = min([datum.message.event_time_ns for datum in self._waiting], default=self._newest_ns)
            self._promises.handled(self._port, oldest_ns, self._now_ns())

    def lose_all(self) -> None:
        """The stage has failed: what it held back is lost with it."""
        self._held.lose_all()


def results_of(stage: str, found: Any, count: int) -> Sequence[Any]:
    """What `process_batch` has returned for `count` data: one each. Raises NodeError."""
    kind = type(found).__name__
    if isinstance(found, str | bytes | Mapping | Output | Message) or not hasattr(found, "__len__"):
        raise NodeError(stage, f"{WHERE} returned a {kind}, expected a sequence with a result for each of {count} data")
    if getattr(found, "shape", None) == ():
        raise NodeError(
            stage, f"{WHERE} returned an array of no dimensions, expected a result for each of {count} data"
        )
    if len(found) != count:
        raise NodeError(
            stage, f"{WHERE} returned {len(found)} results for {count} data, expected one for each; None where none is"
        )
    results: Sequence[Any] = found
    return results
