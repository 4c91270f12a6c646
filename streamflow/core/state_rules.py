"""How a stage keeps recurrent states: what a gap means for them, how many streams there may be, and who makes room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streamflow.core.gaps import GapRule, OnGap
from streamflow.core.slots import Eviction, Slots
from streamflow.errors import StateError

STREAM_COUNT: Final = 64  # memory for all of them is taken at the start, twice each; more is for who says so


@dataclass(frozen=True, slots=True)
class StateRules:
    """Declared by a node; times in ns. Raises StateError for what cannot be."""

    on_gap: OnGap = OnGap.FREEZE
    max_gap_ns: int | None = None
    """Between the data of two steps: beyond it the state begins anew. None: never, for that reason."""
    max_gap_count: int | None = None
    """The same in missing data."""
    repeat_count_max: int = 8
    period_ns: int = 0
    """From one datum to the next; 0: not known."""
    stride: int | None = None
    """From one datum's number to the next one's; 0: numbers do not tell what is missing. None: as the graph says, 1
    unless a stage before cuts the signal anew."""
    stream_count_max: int = STREAM_COUNT
    eviction: Eviction = Eviction.REFUSE
    idle_ns: int = 0
    """Under Eviction.IDLE: who had no step for so long makes room."""

    def __post_init__(self) -> None:
        self.gap_rule(is_numbered=True)
        Slots(self.stream_count_max, self.eviction, idle_ns=self.idle_ns)

    def gap_rule(self, *, is_numbered: bool) -> GapRule:
        """`is_numbered`: by the graph, each datum's number follows the one before."""
        stride = int(is_numbered) if self.stride is None else self.stride
        if self.max_gap_ns is not None and type(self.max_gap_ns) is not int:
            raise StateError("gaps", f"a longest gap of {self.max_gap_ns!r}", "whole nanoseconds", "as in 500 * ms")
        return GapRule(self.on_gap, self.repeat_count_max, self.max_gap_ns, self.max_gap_count, self.period_ns, stride)
