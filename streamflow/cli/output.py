"""What commands that read a run share: words, tables, and an end without a word when nobody reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from streamflow.errors import ClosedOutputError, StreamflowError
from streamflow.runtime.inspection import RunState, read_state
from streamflow.runtime.rundir import RunFolder

Decorated = Callable[..., Any]


def liveness(folder: RunFolder) -> str:
    """As in `run speech-4711-a0b1 is live`; one that was kept `has ended`, any other `was killed`."""
    try:
        has_ended = told(read_state(folder)) == "has ended"
    except StreamflowError:  # killed before it told how it is
        has_ended = False
    name = f"run {folder.path.name}"
    return f"{name} has ended" if has_ended else f"{name} is live" if folder.is_live() else f"{name} was killed"


def told(state: RunState) -> str:
    """How far its state can be trusted to be of now."""
    if not state.is_live:
        return "has ended" if "ending" in state.content else "killed"
    return "live" if state.age_s < 2.0 else f"live, but nothing was told for {state.age_s:.0f} s"


@contextmanager
def ending_quietly() -> Iterator[None]:
    """Where standard output is closed, as after `| head`, the command ends as any Unix tool does, with 141."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end, and would complain: let it write where that never fails.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        sys.exit(ClosedOutputError.exit_code)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], words: Container[str] = ()) -> list[str]:
    """Aligned lines; the first column and those that `words` names to the left, figures to the right."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    is_left = [i == 0 or name in words for i, name in enumerate(head)]
    lines = []
    for row in [head, *rows]:
        aligned = zip(row, widths, is_left, strict=True)
        lines.append("  ".join(c.ljust(width) if left else c.rjust(width) for c, width, left in aligned).rstrip())
    return lines
