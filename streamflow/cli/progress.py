"""One line on stderr while a run goes, when somebody is there to read it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from streamflow.core.graph import Graph
from streamflow.core.timebase import s

LINE_PERIOD_NS = 5 * s  # between lines where results share the terminal
_SENTENCES = {
    "restarting": "{reason}; starting it again",
    "back": "stage {stages_named}: back at work after {down_ms:.0f} ms",
    "left": "{reason}; the rest goes on without it",
    "broken": "deadline {path}: its contract is broken, {met} of the last {of} on time",
    "recovered": "deadline {path}: its contract holds again",
    "refused": "{sentence}",
    "states": "{sentence}",
    "variant": "stage {stage}: works with {variant} from now on",
    "broken_sum": "{sentence}; a fault of streamflow's own",
    "silent": "deadline {rate}: nothing was sent to {stage}.{port} for {gap_ms:.0f} ms",
    "heard": "deadline {rate}: {stage}.{port} is heard again, after {gap_ms:.0f} ms",
}


class Progress:
    """Rewrites its line in place; where results come to the same terminal, a line of its own now and then."""

    def __init__(self, graph: Graph, *, is_shown: bool, tells: bool, command: str) -> None:
        """`tells`: what breaks and comes back is told, a line each, whether or not the line is shown."""
        self._tells = tells
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

    def happened(self, event: str, fields: Mapping[str, Any]) -> None:
        """Something is in the log that a person should know at once."""
        if event == "raised" and self._tells:
            self.clear()
            click.echo(fields["traceback"].rstrip(), err=True)
        sentence = _SENTENCES.get(event)
        if sentence is not None and self._tells:
            self.clear()
            click.echo(
                "streamflow: " + sentence.format(**fields, stages_named=", ".join(fields.get("stages", ()))), err=True
            )

    def seen(self, state: Mapping[str, Any]) -> None:
        """How the run stands now."""
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
