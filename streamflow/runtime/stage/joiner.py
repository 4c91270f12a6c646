"""Brings a stage's inputs together: offers what comes to the join, has rows worked on, counts what is left out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from streamflow.core.joins.contract import Decider, Join, Reason
from streamflow.core.joins.exact import Exact
from streamflow.core.joins.feedback import WAIT_NS, Loop, WithFeedback
from streamflow.core.joins.in_order import InOrder
from streamflow.core.message import Message
from streamflow.errors import StreamflowError
from streamflow.recorder import layout
from streamflow.runtime.accounts.logbook import Logbook
from streamflow.runtime.stage.ends import Inlet
from streamflow.runtime.stage.held_back import HeldBack
from streamflow.runtime.stage.joining import Joined, joined, passed_on
from streamflow.runtime.stage.waker import Waker

Work = Callable[[Joined, Inlet], Awaitable[None] | None]


class Joiner:
    """Of one stage. Offline a datum comes, as it were, at its event time: what is joined depends on nothing else."""

    def __init__(
        self,
        stage: str,
        join: Join,
        inlets: Mapping[str, Inlet],
        logbook: Logbook,
        waker: Waker,
        now_ns: Callable[[], int],
        work: Work,
        *,
        loops: Mapping[str, Loop],
        seeds: Mapping[str, Message],
        offline: bool,
    ) -> None:
        """`work` on a row, whose first datum came by the inlet; what is left to wait for. `loops`, `seeds`: of inputs
        that come back.
        """
        self._stage = stage
        self._join = join
        self._inlets = inlets
        self._logbook = logbook
        self._waker = waker
        self._now_ns = now_ns
        self._work = work
        self._held = HeldBack(logbook, {port: inlet.edge for port, inlet in inlets.items()})
        self._forward = forward = [port for port in inlets if port not in loops]
        self._decider: Decider[Message] = join.decider(forward)
        self._in_order: InOrder[Message] | None = None
        if offline and not isinstance(join, Exact):  # which depends on no order of arrival
            self._decider = self._in_order = InOrder(self._decider, forward, join.queue_size)
        self._seeds = seeds
        self._feedback: WithFeedback[Message] | None = None
        if loops:
            max_wait_ns = None if offline else join.max_wait or WAIT_NS
            self._decider = self._feedback = WithFeedback(self._decider, forward, loops, max_wait_ns)
        self._uses_clock = not offline and (join.uses_clock or bool(loops))
        recorder = logbook.recorder
        edges = {name: edge for (name, _), edge in zip(recorder.shape.in_edges, recorder.inputs, strict=True)}
        self._recorded = {port: edges[inlet.edge] for port, inlet in inlets.items()}
        self._skew = recorder.skew
        by_edge = {name: age for (name, _), age in zip(recorder.shape.in_edges, recorder.ages, strict=False)}
        self._ages = {port: by_edge[inlet.edge] for port, inlet in inlets.items() if inlet.edge in by_edge}
        self._counts = [
            (layout.IDLE_COUNT, self._decider.idle_counts),
            (layout.STEP_COUNT, self._decider.step_counts),
        ]
        self._promised_ns = dict.fromkeys(inlets, -1)
        self._seq = 0  # of rows that have no datum of their own

    def has_room(self, port: str) -> bool:
        """Whether to take from the input now."""
        return self._in_order is None or port not in self._forward or self._in_order.has_room(port)

    def is_over(self) -> bool:
        """Whether nothing more is to be done although some inputs, which come back, have not ended."""
        return self._feedback is not None and self._feedback.is_over()

    def is_due(self) -> bool:
        """Whether there may be a row although nothing has come."""
        return self._waker.is_due()

    async def take(self, port: str, message: Message) -> None:
        """A datum that came."""
        self._held.hold(port, message)
        self._decider.offer(port, message, self._now_ns())
        await self.make_rows()

    def heard(self, port: str, watermark_ns: int) -> Awaitable[None] | None:
        """There is nothing at the input, whose sender has promised that nothing older comes."""
        if watermark_ns <= self._promised_ns[port]:
            return None
        self._promised_ns[port] = watermark_ns
        self._decider.advance(port, watermark_ns, self._now_ns())
        return self.make_rows()

    async def end(self, port: str) -> None:
        """Nothing more will come there."""
        self._decider.end(port, self._now_ns())
        await self.make_rows()

    async def make_rows(self) -> None:
        """All that are ready."""
        decider, held = self._decider, self._held
        while (row := decider.ready(self._now_ns())) is not None:
            for _, message in row.consumed:
                held.leave_out(message, None)
            if self._skew is not None:
                self._skew.record(row.skew_ns)
                for port, part in row.parts.items():
                    if part.age_ns is not None:
                        self._ages[port].record(part.age_ns)
            first = next(iter(row.fresh), None)
            if first is None:
                self._seq += 1
            await self._work_on(
                joined(row, self._join, self._stage, self._seq, self._seeds), first or next(iter(self._inlets))
            )
        if self._feedback is not None and self._feedback.is_over():
            self._feedback.discard()
        for name, message, reason in decider.left_out():
            if reason is Reason.LATE and self._join.late:
                await self._work_on(passed_on(message, self._join.late), name)
            else:
                held.leave_out(message, reason)
        if self._uses_clock:
            self._waker.arm(decider.wake_ns())
        for word, counts in self._counts:
            for port, count in counts().items():
                if count:
                    self._recorded[port].set(word, count)

    async def _work_on(self, row: Joined, port: str) -> None:
        self._held.begin(row)
        try:
            rest = self._work(row, self._inlets[port])
            if rest is not None:
                await rest
        except StreamflowError:
            self._held.lose(row)
            raise
        self._held.end(row)

    def pass_over(self, port: str, message: Message) -> None:
        """What comes back when everything is done."""
        self._held.hold(port, message)
        self._held.leave_out(message, Reason.PASSED_OVER)

    def lose_all(self) -> None:
        """The stage has failed."""
        self._held.lose_all()
