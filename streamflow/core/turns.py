"""Which of the stages that share a device gives it work next, and when it will be free for that.

A device does what it was given in that order, so it is given one batch that runs and one that is staged, of all its
stages together: with more there is nothing left to decide. Of the stages that wait for a turn it goes to the one with
the least latest start: its deadline, less what the work takes, less the margin (Clockwork, OSDI 2020). Who has no
deadline comes last, in the order of asking. Alternative not taken: a turn for each in the round; a stage with much time
then comes before one with little. What it does not do: take back a turn, or keep the device free for who may come.

When it will be free is told twice: as soon as that may be, for who must not come too late to be the next, and as late
as it usually is, for who reckons with deadlines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

FLIGHT_LIMIT: Final = 2  # batches of one stage that a device has: one that runs, one that is staged


class Cost(NamedTuple):
    """How long the device will be at some work, in ns; 0: unknown."""

    soonest_ns: int
    usual_ns: int


class Free(NamedTuple):
    """When the device is done with all that it has; not after now where it has nothing."""

    soonest_ns: int
    usual_ns: int


@dataclass(slots=True)
class _Claim:
    """Of one stage. `latest_ns`: when its work must start; 0: it is due at no time. `nth`: in the order of asking."""

    latest_ns: int
    nth: int


@dataclass(slots=True)
class _Turn:
    """Work that a stage makes, or that the device has since `given_ns`."""

    stage: str
    given_ns: int
    cost: Cost


class TurnOrder:
    """Of one device. `limit`: how many turns are taken at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._claims: dict[str, _Claim] = {}
        self._turns: list[_Turn] = []
        self._claim_count = 0
        self._free_since_ns = 0

    def claim(self, stage: str, latest_ns: int) -> None:
        """It wants the next turn, and does until it begins it or withdraws; claimed again, it keeps its place."""
        claim = self._claims.get(stage)
        if claim is None:
            self._claim_count += 1
            self._claims[stage] = _Claim(latest_ns, self._claim_count)
        else:
            claim.latest_ns = latest_ns

    def withdraw(self, stage: str) -> None:
        self._claims.pop(stage, None)

    def claims(self, stage: str) -> bool:
        return stage in self._claims

    def has_turn(self, stage: str) -> bool:
        return any(turn.stage == stage for turn in self._turns)

    @property
    def next(self) -> str | None:
        """The stage whose turn it is; None where nobody wants one, or all are taken."""
        if not self._claims or len(self._turns) >= self._limit:
            return None
        return min(self._claims, key=self._place)

    def _place(self, stage: str) -> tuple[bool, int, int]:
        claim = self._claims[stage]
        return claim.latest_ns == 0, claim.latest_ns, claim.nth

    def begin(self, stage: str, now_ns: int, cost: Cost) -> None:
        """The stage makes work of that cost, which it will give to the device."""
        self._claims.pop(stage, None)
        self._turns.append(_Turn(stage, now_ns, cost))

    def given(self, stage: str, now_ns: int) -> None:
        """The device has what the stage has made last."""
        last = next(turn for turn in reversed(self._turns) if turn.stage == stage)
        last.given_ns = now_ns

    def done(self, stage: str, done_ns: int) -> int:
        """The device is done with what it had from the stage for longest. Returns how long it was at that alone."""
        turn = next(turn for turn in self._turns if turn.stage == stage)
        self._turns.remove(turn)
        since_ns = max(turn.given_ns, self._free_since_ns)
        self._free_since_ns = max(self._free_since_ns, done_ns)
        return max(done_ns - since_ns, 0)

    def leave(self, stage: str) -> None:
        """It wants nothing any more, and nobody waits for what it has given."""
        self._claims.pop(stage, None)
        self._turns = [turn for turn in self._turns if turn.stage != stage]

    def free(self, now_ns: int) -> Free:
        soonest_ns = usual_ns = self._free_since_ns
        for turn in self._turns:
            soonest_ns = max(soonest_ns, turn.given_ns) + turn.cost.soonest_ns
            usual_ns = max(usual_ns, turn.given_ns) + turn.cost.usual_ns
            if turn is self._turns[0]:  # one that takes longer than expected may end at any instant
                soonest_ns, usual_ns = max(soonest_ns, now_ns), max(usual_ns, now_ns)
        return Free(soonest_ns, usual_ns)
