"""The exact join: data of the same event time, one from each input, together.

Branches of one source keep its event time, so they meet again even where an edge between dropped some of them. What can
no longer find its partners, because a later datum of another input has passed it, is left out. Only the heads of the
inputs are compared, so several streams may share the inputs as long as their data come in the same order everywhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from streamflow.core.joins.assembly import Assembly, single
from streamflow.core.joins.contract import Decider, Join, LeftOut, OnMissing, Reason, Row, T
from streamflow.core.joins.inputs import FOREVER, Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact(Join):
    """A row for each event time that all inputs have; what a node with several inputs and one `process` does by itself.

    Several data of one event time are matched in the order of their arrival.
    """

    @property
    def is_plain(self) -> bool:
        return self.on_missing is OnMissing.SKIP

    def decider(self, inputs: Sequence[str]) -> Decider[T]:
        return ExactJoin(self, inputs)

    def faults(self, inputs: Sequence[str]) -> list[str]:
        found = Join.faults(self, inputs)
        if self.disorder or self.idle_timeout is not None:
            found.append("disorder or idle_timeout, expected neither: `exact` compares what comes first")
        return found


class ExactJoin(Generic[T]):
    def __init__(self, settings: Exact, inputs: Sequence[str]) -> None:
        self._queues: dict[str, deque[Entry[T]]] = {name: deque() for name in inputs}
        self._assembly: Assembly[T] = Assembly(settings, inputs)
        self._passed_ns = dict.fromkeys(inputs, -FOREVER)
        self._size = settings.queue_size
        self._max_wait_ns = settings.max_wait
        self._needs_all = settings.on_missing is OnMissing.SKIP
        self._left_out: list[LeftOut[T]] = []
        self._waits_since_ns: int | None = None
        self._floor_ns = -FOREVER  # what waited no longer: a partner that comes now is late

    def offer(self, name: str, item: T, now_ns: int) -> None:
        queue = self._queues[name]
        queue.append(Entry(item, item.event_time_ns, now_ns))
        if len(queue) > self._size:
            self._left_out.append(LeftOut(name, queue.popleft().item, Reason.OVERFLOW))

    def advance(self, name: str, watermark_ns: int, now_ns: int) -> None:
        self._passed_ns[name] = max(self._passed_ns[name], watermark_ns - 1)

    def end(self, name: str, now_ns: int) -> None:
        self._passed_ns[name] = FOREVER

    def left_out(self) -> list[LeftOut[T]]:
        found, self._left_out = self._left_out, []
        return found

    def idle_counts(self) -> Mapping[str, int]:
        return dict.fromkeys(self._queues, 0)

    step_counts = idle_counts

    def wake_ns(self) -> int | None:
        if self._waits_since_ns is None or self._max_wait_ns is None:
            return None
        return self._waits_since_ns + self._max_wait_ns

    def ready(self, now_ns: int) -> Row[T] | None:
        queues = self._queues
        self._waits_since_ns = None
        while heads := {name: queue[0] for name, queue in queues.items() if queue}:
            time_ns = min(entry.time_ns for entry in heads.values())
            here = {name: entry for name, entry in heads.items() if entry.time_ns == time_ns}
            unknown = []
            if len(here) < len(queues):
                lacking = [name for name in queues if name not in here]
                unknown = [name for name in lacking if name not in heads and self._passed_ns[name] < time_ns]
                if unknown and not (self._needs_all and len(unknown) < len(lacking)):
                    since_ns = min(entry.arrived_ns for entry in here.values())
                    if self._max_wait_ns is None or now_ns < since_ns + self._max_wait_ns:
                        self._waits_since_ns = since_ns
                        return None
                else:
                    unknown = []
            for name in here:
                queues[name].popleft()
            if time_ns <= self._floor_ns:
                self._left_out += [LeftOut(name, entry.item, Reason.LATE) for name, entry in here.items()]
                continue
            if unknown:
                self._floor_ns = time_ns
            choices = {name: single(entry) for name, entry in here.items()}
            row = self._assembly.row(time_ns, choices, timed_out=bool(unknown))
            if row is not None:
                return row
            reason = Reason.TIMED_OUT if unknown else Reason.UNMATCHED
            self._left_out += [LeftOut(name, entry.item, reason) for name, entry in here.items()]
        return None
