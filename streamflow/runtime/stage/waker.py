"""Wakes a stage at an instant although nothing has come for it."""

from __future__ import annotations

from collections.abc import Callable

import trio

from streamflow.runtime.clock import Clock


class Waker:
    """Of one stage. A task of its own, so that the stage waits for data and for an instant at once."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        """`ring` is called at the instant."""
        self._clock = clock
        self._ring = ring
        self._instant_ns: int | None = None
        self._has_rung = True
        self._sleeps_until_ns: int | None = None
        self._sleep = trio.CancelScope()
        self._armed = trio.Event()

    def arm(self, instant_ns: int | None) -> None:
        """In place of the instant before; None: at none. A later one disturbs no sleep."""
        if instant_ns == self._instant_ns:
            return
        self._instant_ns = instant_ns
        self._has_rung = instant_ns is None
        if instant_ns is None:
            return
        if self._sleeps_until_ns is None:
            self._armed.set()
        elif instant_ns < self._sleeps_until_ns:
            self._sleep.cancel()

    def is_due(self) -> bool:
        """Whether the instant has come."""
        return self._instant_ns is not None and self._clock.now_ns() >= self._instant_ns

    async def run(self) -> None:
        """Until it is cancelled."""
        timer = self._clock.timer()
        try:
            while True:
                if self._has_rung or self._instant_ns is None:
                    self._armed = trio.Event()
                    await self._armed.wait()
                    continue
                self._sleeps_until_ns = self._instant_ns
                with trio.CancelScope() as self._sleep:
                    await timer.sleep_until(self._instant_ns)
                self._sleeps_until_ns = None
                if self.is_due():
                    self._has_rung = True
                    self._ring()
        finally:
            timer.close()
