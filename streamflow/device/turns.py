"""Whose turn it is to give a device work, of the stages of a process that share it: `core.turns`, and telling them."""

from __future__ import annotations

from collections.abc import Callable

from streamflow.core.turns import Cost, Free, TurnOrder


class Turns:
    """Of one opened device. Not thread-safe: it belongs to the loop."""

    def __init__(self, limit: int) -> None:
        """`limit`: how many batches the device is given at once, of all stages together."""
        self.limit = limit
        self._order = TurnOrder(limit)
        self._rings: dict[str, Callable[[], None]] = {}
        self._told: str | None = None

    def seat(self, stage: str, ring: Callable[[], None]) -> Seat:
        """The stage's place among the others; `ring` is called when it is its turn and was not before."""
        self._rings[stage] = ring
        return Seat(self, self._order, stage)

    @property
    def is_shared(self) -> bool:
        return len(self._rings) > 1

    def tell(self, asking: str = "") -> None:
        """Whose turn it is, if that is somebody else than before; `asking` sees it itself."""
        following = self._order.next
        if following is not None and following not in (self._told, asking):
            self._rings[following]()
        self._told = following

    def tell_again(self) -> None:
        """The same, also where it was told before: the device may be free sooner than was reckoned with then."""
        self._told = None
        self.tell()

    def leave(self, stage: str) -> None:
        self._order.leave(stage)
        self._rings.pop(stage, None)
        self.tell_again()


class Seat:
    """One stage's: it claims a turn, begins it when it has it, and gives it back when the device is done."""

    def __init__(self, turns: Turns, order: TurnOrder, stage: str) -> None:
        self._turns = turns
        self._order = order
        self._stage = stage

    @property
    def limit(self) -> int:
        return self._turns.limit

    @property
    def is_shared(self) -> bool:
        """Whether others want turns of this device."""
        return self._turns.is_shared

    @property
    def is_waiting(self) -> bool:
        """Whether it has claimed a turn."""
        return self._order.claims(self._stage)

    @property
    def is_at_work(self) -> bool:
        """Whether it has begun a turn and not given it back."""
        return self._order.has_turn(self._stage)

    def claim(self, latest_ns: int) -> bool:
        """Whether it may begin now, with work that must start by `latest_ns` (0: at no time); if not, it is rung."""
        self._order.claim(self._stage, latest_ns)
        self._turns.tell(self._stage)
        return self._order.next == self._stage

    def withdraw(self) -> None:
        """It has nothing to give now."""
        if self.is_waiting:
            self._order.withdraw(self._stage)
            self._turns.tell()

    def begin(self, now_ns: int, cost: Cost) -> None:
        """It makes work that it will give to the device."""
        self._order.begin(self._stage, now_ns, cost)
        self._turns.tell()

    def given(self, now_ns: int) -> None:
        """The device has it."""
        self._order.given(self._stage, now_ns)

    def done(self, done_ns: int) -> int:
        """The device is done with the oldest of what it has of this stage, which it was at alone for so many ns."""
        took_ns = self._order.done(self._stage, done_ns)
        self._turns.tell_again()
        return took_ns

    def leave(self) -> None:
        """The stage has failed, or has ended."""
        self._turns.leave(self._stage)

    def free(self, now_ns: int) -> Free:
        """When the device will be."""
        return self._order.free(now_ns)
