"""How many lines of one kind may be told in a second: beyond, they are counted, and the count is told once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from streamflow.core.timebase import s

LINES_MAX: Final = 20  # of a kind in a period; more nobody reads
PERIOD_NS: Final = s


class Untold(NamedTuple):
    """So many of that kind were not told."""

    kind: str
    line_count: int


@dataclass(slots=True)
class _Period:
    began_ns: int
    told: int = 0
    untold: int = 0


class Flood:
    """Law: of each kind, told + untold is all there were, and at most `LINES_MAX` are told in a period."""

    def __init__(self) -> None:
        self._periods: dict[str, _Period] = {}

    def admits(self, kind: str, now_ns: int) -> bool:
        """Whether this one may be told; to be asked once for each, after `over` was."""
        period = self._periods.get(kind)
        if period is None:
            period = self._periods[kind] = _Period(now_ns)
        if period.told < LINES_MAX:
            period.told += 1
            return True
        period.untold += 1
        return False

    @property
    def is_behind(self) -> bool:
        """Whether some were not told, and not counted yet."""
        return any(period.untold for period in self._periods.values())

    def over(self, now_ns: int, *, is_last: bool = False) -> list[Untold]:
        """Of which kinds a period is over in which some were not told; `is_last`: all are."""
        ended = [k for k, one in self._periods.items() if is_last or now_ns - one.began_ns >= PERIOD_NS]
        return [Untold(kind, untold) for kind in ended if (untold := self._periods.pop(kind).untold)]
