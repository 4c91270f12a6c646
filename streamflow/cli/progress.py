"""One line on stderr while a run goes, when somebody is there to read it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from streamflow.core.graph import Graph
from streamflow.core.timebase import s, seconds

LINE_PERIOD_NS = 5 * s  # between lines where results share the terminal


class Progress:
    """Rewrites its line in place; where results come to the same terminal, a line of its own now and then."""

    def __init__(self, graph: Graph, *, is_shown: bool, command: str) -> None:
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
            click.echo(f"starting {self._name}: {self._stage_count} stages in {process_count} processes", err=True)

    def counted(self, counts: Mapping[str, Mapping[str, Any]], elapsed_ns: int) -> None:
        """New counts have come."""
        if not self._is_shown:
            return
        parts = [f"{name} {counts[name]['emitted']:,}" for name in self._sources if name in counts]
        parts += [f"{name} {counts[name]['processed']:,}" for name in self._sinks if name in counts]
        ends = [end for mine in counts.values() for end in (*mine["senders"].values(), *mine["receivers"].values())]
        dropped = sum(sum(end["dropped"].values()) for end in ends)
        line = f"{max(seconds(elapsed_ns), 0):6.1f} s  {'  '.join(parts)}  dropped {dropped:,}"
        line = line[: shutil.get_terminal_size().columns - 1]
        if self._shares_terminal:
            if elapsed_ns >= self._next_line_ns:
                self._next_line_ns += LINE_PERIOD_NS
                click.echo(line, err=True)
            return
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)

    def draining(self, limit_s: float) -> None:
        """Sources have been told to stop."""
        if self._is_shown:
            self.clear()
            click.echo(f"draining, at most {limit_s:g} s; Ctrl-C again kills", err=True)

    def waiting_for(self, stages: Sequence[str]) -> None:
        """The run waits for stages that somebody starts by hand."""
        for stage in stages:
            name, _, settings = self._command.partition(" ")
            click.echo(f"waiting for {stage}: streamflow node {name} {stage} {settings}".rstrip(), err=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0
