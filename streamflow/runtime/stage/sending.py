"""What a stage sends, on its way to its edges: checked, put where others read it, entered in the accounts, offered.

Everything that can be done at once is; what must be waited for is returned, so that a datum that need not wait costs
no coroutine. *Not taken*: an `async` chain throughout, which makes six of them a datum.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

import numpy as np
import trio

from streamflow.core.message import Message
from streamflow.core.ports import PortType
from streamflow.errors import NodeError
from streamflow.recorder import layout
from streamflow.runtime.accounts.logbook import Logbook
from streamflow.runtime.clock import Clock, ClockTimer
from streamflow.runtime.guard import RAISED, blamed
from streamflow.runtime.stage.conformity import Conformity
from streamflow.runtime.stage.emission import may_be_several, message_of, messages_of, only_output
from streamflow.runtime.stage.ends import Outlet
from streamflow.runtime.stage.interference import Interference
from streamflow.runtime.stage.placing import Placing


class Sending:
    """Of one stage. `is_live`: what does not fit at once is rejected and counted. Offline nothing has its own time.

    `outlets`: by output port; `placing`: where its data go to other processes. Both are the wiring's to set.
    """

    def __init__(
        self,
        stage: str,
        outputs: Mapping[str, PortType],
        conformity: Conformity,
        logbook: Logbook,
        clock: Clock,
        timer: ClockTimer,
        interference: Interference | None,
        *,
        is_source: bool,
        is_live: bool,
        offline: bool,
    ) -> None:
        self.outlets: dict[str, list[Outlet]] = {port: [] for port in outputs}
        self.placing: Placing | None = None
        self.resident: set[str] = set()
        """Ports whose tensors stay on the device, so that nobody in another process gets them."""
        self.blocked_ns = 0
        """Spent waiting for room downstream: not the stage's own service time."""
        self._stage = stage
        self._outputs = outputs
        self._only_output = only_output(outputs)
        self._conformity = conformity
        self._logbook = logbook
        self._recorder = logbook.recorder
        self._clock_ns = clock.now_ns
        self._timer = timer
        self._interference = interference
        self._is_source = is_source
        self._live = is_live
        self._offline = offline

    def send_result(self, result: Any, handled: Message, where: str) -> Awaitable[None] | None:
        """Send what `where` has returned for `handled`; what is still to be waited for, or None."""
        if result is None:
            return None
        if type(result) is np.ndarray and self._only_output is not None:
            port, tensor = self._only_output
            return self.send(port, message_of(result, tensor, handled, 0 if self._offline else self._clock_ns()))
        return self._send_each(result, handled, where)

    async def _send_each(self, result: Any, handled: Message, where: str) -> None:
        """A generator's work is the node's own, and fails as such."""
        if may_be_several(result, self._outputs):
            self._logbook.keep()
        try:
            for port, message in messages_of(result, handled, self._outputs, 0 if self._offline else self._clock_ns()):
                rest = self.send(port, message)
                if rest is not None:
                    await rest
        except RAISED as error:
            raise blamed(self._stage, error, where) from error

    def send(self, port: str, message: Message) -> Awaitable[None] | None:
        """Offer to every edge first, so that a full one holds back no other; then those that block are waited for."""
        self._conformity.require_sent(port, message)
        if self._interference is not None:
            self._interference.sent(self._stage, port, message)
        outlets = self.outlets[port]
        if self.placing is not None and port not in self.resident:
            placed = self.placing.placed(message)
            if placed is None:
                return self._send_late(self.placing, message, outlets)
            message = placed
        return self._offer(message, outlets)

    async def _send_late(self, placing: Placing, message: Message, outlets: list[Outlet]) -> None:
        since_ns, waits = self._clock_ns(), not self._live and all(outlet.waits for outlet in outlets)
        placed = await placing.placed_late(message, self._timer, self._clock_ns, waits=waits)
        self.blocked_ns += self._clock_ns() - since_ns
        rest = self._offer(placed, outlets)
        if rest is not None:
            await rest

    def _offer(self, message: Message, outlets: list[Outlet]) -> Awaitable[None] | None:
        logbook = self._logbook
        if self._is_source:
            new = 0
            for outlet in outlets:
                new |= outlet.mask
            logbook.admitting(message, new)
        for outlet in outlets:
            logbook.sending(message, outlet.mask)  # of all first: what one leads to may be over before the next
        full = None
        for outlet in outlets:
            if outlet.is_timed:
                outlet.sends(message.event_time_ns)
            if not outlet.sender.offer(message):
                full = [outlet] if full is None else [*full, outlet]
        if not self._is_source:
            self._recorder.add(layout.EMITTED)
        if full is None:
            return None
        if not self._live:
            return self._send_blocked(message, full)
        for outlet in full:
            logbook.rejected(message, outlet.edge)
        return None

    async def _send_blocked(self, message: Message, full: list[Outlet]) -> None:
        blocked_since = self._clock_ns()
        waits_since = blocked_since
        while full:
            outlet = full[0]
            if outlet.sender.is_jammed:
                raise self._too_many(outlet)
            outlet.trace.blocked(True)
            try:
                await outlet.sender.wait_for_room()
            except trio.Cancelled:
                for never in full:  # drained while it waited: these edges never got the datum
                    self._logbook.rejected(message, never.edge)
                raise
            finally:
                outlet.trace.blocked(False)
            if outlet.sender.offer(message):
                full.pop(0)
                now_ns = self._clock_ns()
                self._logbook.blocked(outlet.edge, waits_since, now_ns)
                waits_since = now_ns
        self.blocked_ns += self._clock_ns() - blocked_since

    def _too_many(self, outlet: Outlet) -> NodeError:
        """What comes over a lossless edge is done whole or not at all, so none of its results may leave before all."""
        sentence = (
            f"one datum that came over a lossless edge gave more results than edge {outlet.edge} has room for, "
            "expected no more than its capacity; give it more, as in capacity=64"
        )
        return NodeError(self._stage, sentence)

    def advance(self, watermark_ns: int) -> None:
        """A source promises that nothing older comes."""
        for outlets in self.outlets.values():
            for outlet in outlets:
                if outlet.is_timed and watermark_ns > outlet.newest_ns:
                    outlet.newest_ns = watermark_ns
                    outlet.sender.advance(watermark_ns)

    def close_gates(self) -> None:
        """What is sent from now on stays here until they are opened: a datum is done whole, or not at all."""
        for outlets in self.outlets.values():
            for outlet in outlets:
                outlet.sender.close_gate()

    def open_gates(self) -> None:
        for outlets in self.outlets.values():
            for outlet in outlets:
                outlet.sender.open_gate()

    @property
    def holds_data(self) -> bool:
        """Whether something waits here to be sent."""
        ends = (outlet.sender for outlets in self.outlets.values() for outlet in outlets)
        return any(sender.statistics().held_count for sender in ends)

    def end(self) -> None:
        """Nothing more will be sent: every stream ends after what was sent so far."""
        for outlets in self.outlets.values():
            for outlet in outlets:
                outlet.sender.end()
