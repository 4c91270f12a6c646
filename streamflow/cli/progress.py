"""One line on stderr while a run goes, when somebody is there to read it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from streamflow.core.graph import Graph
from streamflow.core.timebase import seconds


class Progress:
    """Rewrites its line in place; says what a run waits for."""

    def __init__(self, graph: Graph, *, is_shown: bool, command: str) -> None:
        self._sources = [stage.name for stage in graph.stages if stage.is_source]
        self._sinks = graph.sinks()
        self._is_shown = is_shown
        self._command = command
        self._width = 0

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
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)

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
