"""One line on stderr while a run goes, when somebody is there to read it; and what happens, as far as it is asked for.

Nothing here waits for who reads standard error: the supervisor tells it between two sweeps.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from streamflow.cli.log_lines import Form
from streamflow.cli.telling import Teller
from streamflow.core.graph import Graph
from streamflow.core.happenings import Level
from streamflow.core.timebase import s

LINE_PERIOD_NS = 5 * s  # between lines where results share the terminal


class Progress:
    """Rewrites its line in place; where results come to the same terminal, a line of its own now and then."""

    def __init__(self, graph: Graph, teller: Teller, *, is_shown: bool, command: str) -> None:
        self._teller = teller
        self._name = graph.name
        self._stage_count = len(graph.stages)
        self._sources = [stage.name for stage in graph.stages if stage.is_source]
        self._sinks = graph.sinks()
        self._is_shown = is_shown
        self._command = command
        self._width = 0
        self._shares_terminal = sys.stdout.isatty()
        self._next_line_ns = LINE_PERIOD_NS

    def starting(self, process_count: int) -> None:
        """The processes of the run are being started."""
        if self._is_shown:
            self._put(f"starting {self._name}: {self._stage_count} stages in {process_count} processes\n")

    def happened(self, event: str, fields: Mapping[str, Any]) -> None:
        """Something is in the log."""
        if self._teller.asks_for(event):
            self.clear()
            self._teller.event(event, fields)

    def seen(self, state: Mapping[str, Any]) -> None:
        """How the run stands now."""
        self._teller.tick(state["at_ns"])
        if not self._is_shown or state["phase"] == "starting":
            return
        stages, elapsed_ns = state["stages"], int(state["elapsed_s"] * s)
        parts = [f"{name} {stages[name]['emitted']:,}" for name in self._sources if name in stages]
        parts += [f"{name} {stages[name]['processed']:,}" for name in self._sinks if name in stages]
        dropped = sum(sum(edge["dropped"].values()) for edge in state["edges"].values())
        parts.append(f"dropped {dropped:,}")
        if any(path["within_ms"] is not None for path in state["paths"].values()):
            parts.append(f"missed {sum(path['missed'] for path in state['paths'].values()):,}")
            parts.append(f"shed {sum(path['shed'] for path in state['paths'].values()):,}")
        line = f"{state['elapsed_s']:6.1f} s  {'  '.join(parts)}"
        line = line[: shutil.get_terminal_size().columns - 1]
        if self._shares_terminal:
            if elapsed_ns >= self._next_line_ns:
                self._next_line_ns += LINE_PERIOD_NS
                self._put(line + "\n", is_needed=False)
            return
        self._put("\r" + line.ljust(self._width), is_needed=False)
        self._width = len(line)

    def draining(self, limit_s: float) -> None:
        """Sources have been told to stop."""
        if self._is_shown:
            self.clear()
            self._put(f"draining, at most {limit_s:g} s; Ctrl-C again kills\n")

    def waiting_for(self, stages: Sequence[str]) -> None:
        """The run waits for stages that somebody starts by hand."""
        for stage in stages:
            name, _, settings = self._command.partition(" ")
            told = f"waiting for {stage}: streamflow node {name} {stage} {settings}".rstrip()
            if self._teller.form is Form.JSON:
                self._teller.say(Level.WARNING, "waiting", told, stage=stage)
            else:
                self._put(told + "\n")

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            self._put("\r" + " " * self._width + "\r")
            self._width = 0

    def _put(self, text: str, *, is_needed: bool = True) -> None:
        self._teller.outlet.put(text, is_needed=is_needed)
