"""Ways to look at a run without a screen: once on paper, or snapshots for scripts."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Sequence
from enum import Enum
from typing import Any

from streamflow.cli.output import ending_quietly
from streamflow.runtime.rundir import RunFolder, find_run
from tools.monitor.model import Model, View, as_text
from tools.monitor.observation import Observation
from tools.monitor.snapshot import Snapshot

ONCE_SETTLE_S = 1.0  # a rate needs two looks, and is of a second
ONCE_VIEWS = (View.PATHS, View.GRAPH, View.STAGES)
WIDTH_ON_PAPER = 120


def show(run: str | None, views: Sequence[str], wanted: str, *, once: bool, as_json: bool, interval_s: float) -> None:
    """Once on paper, or as a stream. Raises UsageError where there is no such run."""
    folder = find_run(run)
    chosen = [View[name.upper()] for name in views]
    with ending_quietly():
        if as_json:
            _stream(folder, interval_s, once=once)
        else:
            _print_once(folder, chosen or list(ONCE_VIEWS), wanted)


def _print_once(folder: RunFolder, views: list[View], wanted: str) -> None:
    observation = Observation(folder)
    try:
        snapshot = _settled(observation)
    finally:
        observation.close()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH_ON_PAPER
    model = Model(wanted=wanted)
    model.follow(observation.resolved)
    print(as_text(model.whole(snapshot, width, views)))


def _settled(observation: Observation) -> Snapshot:
    snapshot = observation.look()
    if not snapshot.is_over:
        time.sleep(ONCE_SETTLE_S)
        snapshot = observation.look()
    return snapshot


def _stream(folder: RunFolder, interval_s: float, *, once: bool) -> None:
    """One line of JSON each time; the last one says how the run ended."""
    observation = Observation(folder)
    try:
        snapshot = _settled(observation)
        due_s = time.monotonic()
        while True:
            print(json.dumps(as_values(snapshot)))
            sys.stdout.flush()
            if once or snapshot.is_over:
                return
            due_s += interval_s
            while time.monotonic() < due_s and observation.is_live:
                time.sleep(min(max(due_s - time.monotonic(), 0.0), 0.2))
                observation.folder.is_live() or observation.look()
            snapshot = observation.look()
    finally:
        observation.close()


def as_values(snapshot: Snapshot) -> dict[str, Any]:
    """For JSON; of misses and events the newest ten."""
    found = dataclasses.asdict(dataclasses.replace(snapshot, misses=snapshot.misses[:10], events=snapshot.events[:10]))
    for stage in found["stages"]:
        del stage["told"]
    return {key: _plain(value) for key, value in found.items()}


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
