"""How far event time has come at a stage: the promise that nothing older will be sent, and on which edges it is made.

A *watermark* is an instant of event time: nothing older than it will come. Data in order promise that by themselves; it
has to be said where a stage takes data and sends nothing, so that a join behind it need not wait for what never comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from streamflow.core.graph import Graph
from streamflow.core.joins.exact import Exact
from streamflow.core.joins.inputs import FOREVER

NEVER: Final = -FOREVER
"""Nothing is promised yet."""


class Watermarks:
    """Of a stage's inputs, and the one that follows for what it sends: the least of them, which never goes back."""

    def __init__(self, inputs: Iterable[str]) -> None:
        self._promised_ns = dict.fromkeys(inputs, NEVER)
        self._seen_ns = dict.fromkeys(inputs, NEVER)
        self._is_orderly = True
        self.merged_ns = NEVER

    def handled(self, name: str, event_time_ns: int) -> None:
        """A datum of that input is done with. Where data are out of order they promise nothing any more."""
        if event_time_ns < self._seen_ns[name]:
            self._is_orderly = False
        else:
            self._seen_ns[name] = event_time_ns
            if self._is_orderly:
                self._promise(name, event_time_ns)

    def advance(self, name: str, watermark_ns: int) -> None:
        """The sender has promised it."""
        self._promise(name, watermark_ns)

    def end(self, name: str) -> None:
        """Nothing more comes there."""
        self._promise(name, FOREVER)

    def _promise(self, name: str, watermark_ns: int) -> None:
        if watermark_ns > self._promised_ns[name]:
            self._promised_ns[name] = watermark_ns
            merged_ns = min(self._promised_ns.values())
            if merged_ns < FOREVER:  # when all have ended, the stage ends its streams
                self.merged_ns = max(self.merged_ns, merged_ns)


def timed_edges(graph: Graph) -> frozenset[str]:
    """Names of the edges whose watermark somebody waits for: from which data come to a join by event time, or back.

    The exact join is none: of data of one event time it waits for whichever comes.
    """
    joins = {stage.name for stage in graph.stages if stage.is_joined and not isinstance(stage.join, Exact)}
    joins |= {edge.target for edge in graph.edges if edge.loop is not None}
    timed: set[str] = set()
    behind = set(joins)
    while behind:
        into = {edge for edge in graph.edges if edge.target in behind and edge.name not in timed}
        timed.update(edge.name for edge in into)
        behind = {edge.source for edge in into}
    return frozenset(timed)
