"""Brings data of several streams together in batches: holds back what comes, has batches worked on, gives up the rest.

What goes into a batch, what is given up for it and when to look again is `core.batching`'s to say; the batch itself is
worked on by `batch_work`. Data that wait are held back as those of a join are, no more than `queue_limit`: beyond that
they wait on their edge, under its policy.

While the stage itself works on a batch nothing is decided; what has come meanwhile is taken when it is over. While a
device does, the stage takes what comes, and chooses the next batch as late as leaves the device no pause: before it may
be done with what it has by what choosing and making the last ones took, and a wake-up's jitter. Nothing is given up
before that instant either, for the device may be done sooner than it is reckoned with. Where other stages give work to
the same device, it is chosen when it is this one's turn (`core.turns`). A stream has nothing more at work while it has
something in flight, unless its states follow each other on the device (`Node.steps_on_device`) or it has none.

What is given up is done with as its deadlines say, each datum by itself: DEGRADE, CALL and HOLD as for one that is
worked on alone, before the next batch. A datum that is late and to be delivered all the same has no deadline any more:
it has the places that cost nothing, and after `patience` one in each batch. What follows it in its stream waits for it:
nothing that a stage sends overtakes what is older in its stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Final

import trio

from streamflow.core.batch import Batch
from streamflow.core.batching import BatchRule, Fill, Plan, Timing, Waiting, choose, choose_in_order, is_worth_staging
from streamflow.core.cost import MARGIN_NS_MIN
from streamflow.core.enforcement import Act, Verdict
from streamflow.core.joins.contract import Reason
from streamflow.core.message import Message
from streamflow.device.turns import Seat, Turns
from streamflow.errors import StreamflowError
from streamflow.runtime.node import Node
from streamflow.runtime.stage.batch_work import BatchWork, Datum, results_of, row_of
from streamflow.runtime.stage.ends import Inlet
from streamflow.runtime.stage.handling import Handling
from streamflow.runtime.stage.held_back import HeldBack
from streamflow.runtime.stage.interference import Interference
from streamflow.runtime.stage.promises import Promises
from streamflow.runtime.stage.waker import Waker
from streamflow.transport.link import Bell

__all__ = ["Batcher", "results_of"]

LEAD_SHARE: Final = 8  # the last of so many leads counts
_ALWAYS_NS: Final = 1 << 61  # to be staged so long before: whenever it is asked


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
        bell: Bell,
        interference: Interference | None,
        turns: Turns | None,
        *,
        offline: bool,
    ) -> None:
        """`accepted`: what a datum is to the node, or None where it was dropped for its age. `bell`: wakes who serves.
        `turns`: at the device on which batches are in flight; not offline.

        Offline batches follow from the order of arrival alone, so that a run is reproducible.
        """
        self._process_one: Callable[[Message], Any] | None = getattr(node, "process", None)
        self._batch = batch
        self._seat = None if turns is None else turns.seat(stage, self._called)
        if turns is not None and (handling.enforcer.cheap is not None or batch.fill is Fill.FULL):
            handling.take_turns(turns, f"{stage}, alone")  # what it does on single data is not in flight
        self._rule = self._rule_of(batch, MARGIN_NS_MIN)
        self._is_stateful = node.stateful
        self._steps_on_device = node.steps_on_device
        self._port = port
        self._inlet = inlet
        self._accepted = accepted
        self._handling = handling
        self._enforcer = handling.enforcer
        self._logbook = handling.logbook
        self._now_ns = handling.now_ns
        self._promises = promises
        self._waker = waker
        self._bell = bell
        self._is_offline = offline
        self._held = HeldBack(handling.logbook, {port: inlet.edge})
        self._work = BatchWork(stage, node, batch, inlet, self._held, handling, interference, self._seat, bell.ring)
        self._profile = self._work.profile
        self._waiting: list[Datum] = []  # as they came
        self._is_undecided = False
        self._has_ended = False
        self._lead_ns = 0  # from the look at what waits to the start of the batch: the choice, and what is shed for it
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
        return self._is_undecided or self._waker.is_due() or self._work.is_landing_due()

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
        self._waiting.append(Datum(message, message.enqueued_ns or self._now_ns()))
        self._is_undecided = True
        self._is_orderly = self._is_orderly and message.event_time_ns >= self._newest_ns
        self._newest_ns = max(self._newest_ns, message.event_time_ns)

    def heard(self, port: str, watermark_ns: int) -> None:
        """There is nothing at the input, whose sender has promised that nothing older comes."""
        if self._promises is not None:
            self._promises.heard(port, min(watermark_ns, self._oldest_ns(watermark_ns)), self._now_ns())

    async def end(self, port: str) -> None:
        """Nothing more will come: what waits is worked on in batches, as far as it fills them."""
        self._has_ended = True
        while self._waiting or self._work.is_flying:
            before = len(self._waiting)
            await trio.lowlevel.checkpoint()
            await self.make_rows()
            if len(self._waiting) < before or self.is_due():
                continue
            if self._work.is_flying or (self._seat is not None and self._seat.is_waiting):
                await self._bell.wait()
            else:
                await self._leave_rest()
        self._work.leave()
        if self._promises is not None:
            self._promises.ended(port, self._now_ns())

    async def _leave_rest(self) -> None:
        """What fills no batch: each by itself, if the node has a way, or left out."""
        for datum in self._waiting.copy():
            if self._process_one is None:
                self._waiting.remove(datum)
                self._held.leave_out(datum.message, Reason.UNMATCHED)
            else:
                self._waiting.remove(datum)
                await self._work.start([datum], self._process_one)

    # ------------------------------------------------------------------------------- what is done

    async def make_rows(self) -> None:
        """Send what a device is done with, give up what cannot be in time, and work on a batch, if one is to start."""
        self._is_undecided = False
        self._waker.arm(None)
        while self._work.is_landing_due():
            self._let_others_go()
            await self._work.land()
        if self._enforcer.is_degraded and not self._is_offline and await self._degrade():
            return
        if self._seat is None or self._has_turn(self._seat):
            await self._decide()
        self._promise()

    def _has_turn(self, seat: Seat) -> bool:
        """Whether to choose a batch for the device now; if not, what is waited for wakes the stage."""
        now_ns = self._now_ns()
        busy = self._busy_streams()
        could_start = [datum for datum in self._waiting if datum.message.stream not in busy]
        if not could_start or not self._work.has_room or not self._is_worth_staging(could_start):
            seat.withdraw()
            return False
        has_turn = seat.claim(self._latest_start_ns(could_start, now_ns) if seat.is_shared else 0)
        look_ns = seat.free(now_ns).soonest_ns - self._lead_ns - self._work.making_ns - MARGIN_NS_MIN
        if now_ns < look_ns:
            self._waker.arm(look_ns)
            return False
        return has_turn

    def _is_worth_staging(self, could_start: Sequence[Datum]) -> bool:
        """Whether not to wait for those whose stream is in flight, to be worked on together."""
        if len(could_start) == len(self._waiting):
            return True
        free, waiting = ({datum.message.stream for datum in data} for data in (could_start, self._waiting))
        pause_ns = self._lead_ns + self._work.making_ns + self._work.landing_ns
        return is_worth_staging(len(free), len(waiting), pause_ns, self._profile, self._batch.size_max)

    def _called(self) -> None:
        """It is this stage's turn."""
        self._is_undecided = True
        self._bell.ring()

    def _busy_streams(self) -> Collection[str]:
        """Those that have something in flight which has to land before they have more."""
        return self._work.streams if self._is_stateful and not self._steps_on_device else ()

    def _is_behind(self, datum: Datum) -> bool:
        """Whether something of its stream is in flight, so that what comes of it comes later."""
        return datum.message.stream in self._work.streams

    def _latest_start_ns(self, data: Sequence[Datum], now_ns: int) -> int:
        """When work on the tightest of them must start; 0 where none is due."""
        dated = [datum.message for datum in data if datum.message.deadline_ns and not datum.is_overdue]
        tightest = min(dated, key=lambda message: message.deadline_ns, default=None)
        room_ns = None if tightest is None else self._enforcer.room_ns(tightest, now_ns)
        if room_ns is None:
            return 0
        return max(now_ns + room_ns - self._profile.cost_ns(1, now_ns) - self._rule.margin_ns, 1)

    async def _decide(self) -> None:
        decided_ns = self._now_ns()
        asked, waiting = self._asked()
        plan = self._plan(waiting)
        if plan.given_up and not plan.start and self._work.free(decided_ns).usual_ns <= decided_ns:
            if len(self._waiting) == 1 and self._enforcer.is_worth_a_try(asked[0].message, self._now_ns()):
                plan = Plan((0,))
            else:
                self._profile.given_up(self._now_ns())
                self._enforcer.cost.given_up(self._now_ns())
        # In the order in which they came, in which each stream is.
        given_up = [asked[index] for index in sorted(plan.given_up)]
        started = [asked[index] for index in sorted(plan.start)]
        has_worked, postponed_count = await self._give_up(given_up) if given_up else (False, 0)
        if given_up:  # what was given up and stays is not overtaken by what follows it
            staying = {datum.message.stream for datum in given_up if datum in self._waiting}
            started = [datum for datum in started if datum.message.stream not in staying]
        if has_worked:
            self._is_undecided = True  # it took its time: a choice of then is out of date
            return
        if started:
            self._lead_ns += (self._now_ns() - decided_ns - self._lead_ns) // LEAD_SHARE
            for datum in started:
                self._waiting.remove(datum)
            await self._work.start(started)
            self._is_undecided = bool(self._waiting) and not self._is_offline
            return
        self._let_others_go()
        if len(given_up) > postponed_count:
            self._is_undecided = bool(self._waiting)
        elif plan.wake_ns is not None:
            self._waker.arm(plan.wake_ns - self._work.making_ns)

    def _plan(self, waiting: Sequence[Waiting]) -> Plan:
        if self._is_offline:
            return choose_in_order(waiting, self._rule, has_ended=self._has_ended)
        rule = self._rule
        if self._has_ended and rule.timing is Timing.LAZY:  # it cannot grow any more
            rule = replace(rule, timing=Timing.EAGER)
        now_ns = self._now_ns()
        free_ns = self._work.free(now_ns).usual_ns
        now_ns += self._lead_ns + self._work.making_ns
        last_undated_ns = self._work.last_undated_ns
        return choose(waiting, now_ns, self._profile, rule, free_ns=free_ns, last_undated_ns=last_undated_ns)

    def _rule_of(self, batch: Batch, margin_ns: int) -> BatchRule:
        """It is asked when the next is to be staged, and not before."""
        rule = batch.rule(margin_ns)
        return rule if self._seat is None else replace(rule, stage_ns=_ALWAYS_NS)

    def _asked(self) -> tuple[list[Datum], list[Waiting]]:
        """What may be started now, and the same as the decider sees it.

        Of a stream either all have a deadline or none has, and none an earlier one than what is older. So where those
        at its head are overdue, and the next are not, or the other way round, these wait until the others are gone.
        """
        now_ns, enforcer = self._now_ns(), self._enforcer
        work = self._work
        margin_ns = int(enforcer.cost.margin_ns) + work.landing_ns
        if margin_ns != self._rule.margin_ns:
            self._rule = self._rule_of(self._batch, margin_ns)
        start_ns = max(now_ns + self._lead_ns + work.making_ns, work.free(now_ns).usual_ns)
        least_ns = start_ns + margin_ns + self._profile.cost_ns(1, now_ns)
        asked: list[Datum] = []
        waiting: list[Waiting] = []
        newest_ns: dict[str, int] = {}  # the latest start of what was last asked of each stream
        closed: set[str] = set()
        busy = self._busy_streams()
        for datum in self._waiting:
            message = datum.message
            if message.stream in busy:
                continue
            datum.latest_ns = datum.due_ns = 0
            if not datum.is_overdue:
                datum.latest_ns, datum.due_ns = enforcer.due_in_batch(message, now_ns, least_ns, datum.passed_ns)
            stream, latest_ns = message.stream, datum.latest_ns
            before_ns = newest_ns.setdefault(stream, latest_ns)
            if (before_ns > 0) is not (latest_ns > 0) or (latest_ns < before_ns and not self._is_stateful):
                closed.add(stream)
            if stream in closed:
                continue
            newest_ns[stream] = latest_ns
            asked.append(datum)
            step_of = stream if self._is_stateful else None  # of which a batch may have but one, and those in order
            waiting.append(Waiting(latest_ns, datum.arrival_ns, step_of, enforcer.criticality(message)))
        return asked, waiting

    async def _give_up(self, data: Sequence[Datum]) -> tuple[bool, int]:
        """Do with each what its deadlines say; whether that took time, and with how many it has to wait: what is sent
        instead does not overtake what is in flight of its stream."""
        has_worked, postponed_count = False, 0
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
                row = row_of(datum)
                self._waiting.remove(datum)
                self._held.begin(row)
                self._logbook.shed(message, self._inlet.sender, now_ns, (), 1)
                self._held.end(row)
                continue
            if self._is_behind(datum):
                postponed_count += 1
                continue
            has_worked = has_worked or verdict.act is not Act.SHED
            await self._handle_alone(datum, verdict)
        return has_worked, postponed_count

    async def _degrade(self) -> bool:
        """While a path is degraded: work, in the cheaper way, on the first datum for which that is asked."""
        now_ns = self._now_ns()
        cost_ns = self._profile.cost_ns(1, now_ns) + self._rule.margin_ns
        passed: set[str] = set()
        for datum in self._waiting:
            if datum.message.stream in passed or self._is_behind(datum):
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

    def _let_others_go(self) -> None:
        """What is sent may wait for room, which may be made by a stage that waits for its turn behind this one's."""
        if self._seat is not None:
            self._seat.withdraw()

    async def _handle_alone(self, datum: Datum, verdict: Verdict) -> None:
        self._let_others_go()
        row = row_of(datum)
        self._waiting.remove(datum)
        self._held.begin(row)
        try:
            await self._handling.give_up(row, self._inlet, verdict)
        except StreamflowError:
            self._held.lose(row)
            raise
        self._held.end(row)

    def _promise(self) -> None:
        """How far event time has come: up to the oldest that waits still."""
        if self._promises is not None and self._is_orderly:
            self._promises.handled(self._port, self._oldest_ns(self._newest_ns), self._now_ns())

    def _oldest_ns(self, otherwise_ns: int) -> int:
        """The event time of the oldest that was taken and is not done with."""
        messages = [*(datum.message for datum in self._waiting), *self._work.in_flight]
        return min([message.event_time_ns for message in messages], default=otherwise_ns)

    async def watch(self) -> None:
        """Wake the stage when a device is done with a batch, until it is cancelled."""
        await self._work.watch()

    def lose_all(self) -> None:
        """The stage has failed: what it held back is lost with it."""
        self._work.leave()
        self._held.lose_all()
