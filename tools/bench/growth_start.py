"""How long starts take from outside: `streamflow --help`, a run until all its stages are ready, and a restart.

Processes find their bytecode compiled, as they do from the second start on: in a folder of the measurement's own, since
the environment may forbid to write it (`PYTHONDONTWRITEBYTECODE`). `python -m tools.bench.growth_start` prints figures
and judges nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamflow.recorder import layout
from streamflow.recorder.reader import Recording
from tools.bench.growth import PIPELINE, recordings, running_folder
from tools.claims.command import a_run, wait_until
from tools.claims.framework import ROOT, ShortfallError, environment

COMMANDS = {
    "python -c pass": (sys.executable, "-c", "pass"),
    "import click": (sys.executable, "-c", "import click"),
    "streamflow --help": (str(Path(sys.executable).with_name("streamflow")), "--help"),
}
COUNT = 10
RESTART_COUNT = 20
STAGE_COUNT = 6
STRUCK = "s2"
RESTART_LIMIT = ("--restart-limit", "100000/0.1")  # what is timed is a restart, not the backoff of a crash loop
GAP_S = 0.3
BACK_LIMIT_S = 20.0


@contextmanager
def warm_cache() -> Iterator[None]:
    """Processes that are started here read bytecode, and write what is missing, in a folder that goes in the end."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="bytecode-", ignore_cleanup_errors=True) as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        try:
            for command in COMMANDS.values():
                _run(command)
            ready_ms()
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _run(command: Sequence[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return (time.monotonic() - began) * 1e3


def commands_ms(count: int = COUNT) -> dict[str, float]:
    """Medians of the commands, which take turns."""
    took: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(count):
        for name, command in COMMANDS.items():
            took[name].append(_run(command))
    return {name: statistics.median(each) for name, each in took.items()}


@dataclass(frozen=True, slots=True)
class Ready:
    """A run's start, in ms after the command was started."""

    loaded_ms: float
    """The pipeline was imported, built and checked: processes are started from here on."""
    ready_ms: float
    """The last stage was ready."""


def ready_ms(stages: int = STAGE_COUNT) -> Ready:
    """One start of a chain of so many NumPy stages, each a process."""
    began_ns = time.monotonic_ns()
    with a_run(f"{PIPELINE}:chain", (), {"stages": stages}) as run:
        at_ns = {event["event"]: event["at_ns"] for event in _events(running_folder(run))}
    return Ready((at_ns["started"] - began_ns) / 1e6, (at_ns["priority"] - began_ns) / 1e6)


def _events(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "recordings" / "events.jsonl").read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


@dataclass(frozen=True, slots=True)
class Restart:
    """One restart after `kill -9`, in ms after the signal."""

    seen_ms: float
    """The supervisor knows of the death."""
    asked_ms: float
    """Neighbours are told, what was lost is read; the fork server is asked for a copy."""
    attached_ms: float
    """The copy has opened its flight recorder: it is forked, and has joined the run."""
    told_ms: float
    """All that is left to the supervisor is done: the stage was ready, and is told to start."""
    ready_ms: float
    """The stage works."""


PARTS = ("seen_ms", "asked_ms", "attached_ms", "told_ms", "ready_ms")


def restarts(count: int = RESTART_COUNT, launcher: str = "local") -> list[Restart]:
    """So many restarts of a NumPy stage in the middle of a chain."""
    arguments = (*RESTART_LIMIT, "--launcher", launcher)
    with a_run(f"{PIPELINE}:chain", arguments, {"stages": STAGE_COUNT, "rate_hz": 20}) as run:
        folder = running_folder(run)
        with recordings(folder, [STRUCK]) as opened:
            found = []
            for _ in range(count):
                time.sleep(GAP_S)
                found.append(_restart(folder, opened[STRUCK]))
            return found


def _restart(folder: Path, recording: Recording) -> Restart:
    before = recording.word(layout.PID)
    struck_ns = time.monotonic_ns()
    os.kill(before, signal.SIGKILL)
    if wait_until_fast(lambda: recording.word(layout.PID) != before) is None:
        raise ShortfallError(f"stage {STRUCK} did not come back")
    attached_ns = time.monotonic_ns()
    is_back = wait_until(lambda: recording.word(layout.READY_NS) > struck_ns, BACK_LIMIT_S)
    time.sleep(GAP_S / 3)
    at_ns = {event["event"]: event["at_ns"] for event in _events(folder) if event["at_ns"] > struck_ns}
    if is_back is None or "back" not in at_ns:
        raise ShortfallError(f"stage {STRUCK} did not come back")
    instants = (at_ns["failed"], at_ns["restarting"], attached_ns, at_ns["back"], recording.word(layout.READY_NS))
    return Restart(*((instant - struck_ns) / 1e6 for instant in instants))


def wait_until_fast(is_so: Any) -> float | None:
    """As `wait_until`, looking twice a millisecond."""
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > BACK_LIMIT_S:
            return None
        time.sleep(0.0005)
    return time.monotonic() - began


def parts_text(found: Sequence[Restart]) -> str:
    """Medians of the parts, for people."""
    names = ("death seen", "asked to fork", "joined", "told to start", "at work")
    medians = [statistics.median(getattr(one, part) for one in found) for part in PARTS]
    return ", ".join(f"{name} {value:.0f}" for name, value in zip(names, medians, strict=True)) + " ms"


def main() -> None:
    parser = argparse.ArgumentParser(prog="growth_start", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--restarts", type=int, default=RESTART_COUNT)
    asked = parser.parse_args()
    print(environment())
    with warm_cache():
        print(", ".join(f"{name} {value:.0f} ms" for name, value in commands_ms(asked.count).items()))
        starts = [ready_ms() for _ in range(asked.count)]
        loaded, ready = (
            statistics.median(each) for each in zip(*((x.loaded_ms, x.ready_ms) for x in starts), strict=True)
        )
        print(f"{STAGE_COUNT} stages: loaded after {loaded:.0f} ms, ready after {ready:.0f} ms")
        found = restarts(asked.restarts)
        print(f"restart: {parts_text(found)}; longest {max(one.ready_ms for one in found):.0f} ms of {len(found)}")


if __name__ == "__main__":
    main()
