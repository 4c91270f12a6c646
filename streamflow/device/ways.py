"""Which of two ways of doing the same is the quicker one on a device, by trying both when a stage opens.

They are tried in turns, and the other way is taken only where it was clearly the quicker in most of the pairs: what
holds up one try on a busy machine is as likely to hold up its neighbour. *Not taken*: medians; of a tie they name one
or the other by chance, and a tie is to go the usual way in every run.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from streamflow.core.timebase import ms, us
from streamflow.device.contract import Device, DeviceArray, Graph, Queue, Refusal, Ticket, Work

LAUNCH: Final = "launch"
GRAPH: Final = "graph"
STAGED: Final = "staged"
STRAIGHT: Final = "straight"

UNTIMED: Final = "in virtual time nothing can be measured"
WARM_UP_COUNT: Final = 2  # the first compiles, the second finds all its memory in the pool
MEASURING_NS: Final = 200 * ms  # a stage's start is not held up by more
PAIRS_MIN: Final = 4  # so many have to agree, whatever their share
PAIRS_MAX: Final = 16
PAIRS_SHARE: Final = 0.75
CLEARLY: Final = 0.95

Attempt = Callable[[], Ticket]
"""Gives what is to be tried; the time until its ticket is done is what it takes, the giving included."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The way for so many rows (None: all that there are), and what each took, or why they were not tried."""

    rows: int | None
    way: str
    took_ns: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""

    def told(self) -> dict[str, Any]:
        """As a report has it."""
        times = {f"{way}_us": round(took_ns / us, 1) for way, took_ns in self.took_ns.items()}
        return {"rows": self.rows, "way": self.way, **times, **({"reason": self.reason} if self.reason else {})}


def choice(rows: int | None, usual: str, usual_ns: Sequence[int], other: str, other_ns: Sequence[int]) -> Choice:
    """Of two ways, by what each took in pairs of tries; told are the medians."""
    clear_count = sum(one <= CLEARLY * its_usual for its_usual, one in zip(usual_ns, other_ns, strict=True))
    way = other if clear_count >= max(PAIRS_MIN, PAIRS_SHARE * len(usual_ns)) else usual
    return Choice(rows, way, {usual: round(median(usual_ns)), other: round(median(other_ns))})


def of_size(choices: Sequence[Choice], rows: int | None) -> Choice | None:
    """Of choices in ascending order that of the smallest size that has room for so many; of all there are only what was
    found for all."""
    if rows is None:
        return next((one for one in choices if one.rows is None), None)
    nth = bisect_left(choices, rows, key=lambda one: one.rows or 0)
    return choices[nth] if nth < len(choices) else None


class Trials:
    """Of one stage: all together take `left_ns` at most, one after the other half of what is left."""

    def __init__(self, left_ns: int = MEASURING_NS) -> None:
        self.left_ns = left_ns

    async def compared(
        self, rows: int | None, usual: str, try_usual: Attempt, other: str, try_other: Attempt
    ) -> Choice:
        """Both have been done before, so nothing has to be compiled. What they raise comes out."""
        usual_ns: list[int] = []
        other_ns: list[int] = []
        took_ns, limit_ns = 0, self.left_ns // 2
        while len(usual_ns) < PAIRS_MAX and (took_ns < limit_ns or not usual_ns):
            usual_ns.append(await _took_ns(try_usual))
            other_ns.append(await _took_ns(try_other))
            took_ns += usual_ns[-1] + other_ns[-1]
        self.left_ns = max(self.left_ns - took_ns, 0)
        if len(usual_ns) < PAIRS_MIN:
            each_ms = took_ns / (2 * len(usual_ns) * ms)
            return Choice(rows, usual, reason=f"it takes {each_ms:.1f} ms, too long to be tried often enough")
        return choice(rows, usual, usual_ns, other, other_ns)

    async def launch_or_graph(
        self, device: Device, queue: Queue, work: Work, arrays: Sequence[DeviceArray], rows: int | None
    ) -> tuple[Choice, Graph | None]:
        """How to give the queue this work; with the graph of it, where that is replayed. What it raises comes out."""

        def launched() -> Ticket:
            queue.launch(work, *arrays)
            return queue.ticket()

        for _ in range(WARM_UP_COUNT):
            await launched().wait()
        graph = device.capture(queue, work, *arrays)
        if isinstance(graph, Refusal):
            return Choice(rows, LAUNCH, reason=graph.reason), None

        def replayed() -> Ticket:
            queue.replay(graph)
            return queue.ticket()

        await replayed().wait()
        chosen = await self.compared(rows, LAUNCH, launched, GRAPH, replayed)
        return chosen, graph if chosen.way == GRAPH else None


async def _took_ns(attempt: Attempt) -> int:
    began_ns = time.monotonic_ns()
    ticket = attempt()
    await ticket.wait()
    return ticket.done_ns - began_ns
