"""A long run of `host` whose stages are killed and stopped every few seconds: does anything grow, does all add up?

    python -m tools.campaigns.soak [--seconds 600] [--seed 1]

Once a second it looks from outside: memory of the supervisor and of the stages, descriptors, shared memory, zombies,
and whether the state that the run publishes says that all data are accounted for.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.campaigns.storm import Blow, Patient, a_patient, broken_account, quantile
from tools.claims.command import Run
from tools.claims.framework import ROOT

PIPELINE = "pipelines/host.py"
RESTART_LIMIT = ("--restart-limit", "100000/1")
PERIOD_S = (2.0, 5.0)
LOOK_S = 1.0
WARM_S = 15.0  # what a process needs is there by then: histograms, caches, the first restarts
MB = 1 << 20
MEMORY_GROWTH = 0.05  # of the median of the first third, to that of the last
MEMORY_SLACK_MB = 4.0
DESCRIPTOR_SLACK = 2
SHARED_SLACK_MB = 0.1  # the state file is a little longer or shorter; the event log is bounded and counted apart


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment."""

    at_s: float
    supervisor_mb: float
    stages_mb: float
    descriptors: int
    shared_mb: float
    zombies: int


@dataclass(slots=True)
class Soaked:
    """What a run has shown."""

    seconds: float
    blows: list[Blow] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    code: int = 0

    def rows(self) -> Iterator[tuple[str, str, str, bool | None]]:
        """(what, bound, measured, holds)."""
        kills = sum(blow.number is signal.SIGKILL for blow in self.blows)
        backs = [blow.back_ms for blow in self.blows]
        text = f"{kills} kills, {len(self.blows) - kills} stops in {self.seconds:.0f} s"
        median = f"back in {quantile(backs, 0.5):.0f} ms median, {quantile(backs, 0.99):.0f} ms p99"
        yield "faults", "", f"{text}; {median}", None
        for name, slack in (("supervisor_mb", MEMORY_SLACK_MB), ("stages_mb", 5 * MEMORY_SLACK_MB)):
            first, last = self._thirds(name)
            is_flat = last - first <= max(first * MEMORY_GROWTH, slack)
            yield f"memory, {name[:-3]}", "flat", f"{first:.1f} MB, then {last:.1f} MB", is_flat
        first, last = self._thirds("descriptors")
        yield "descriptors of the supervisor", "flat", f"{first:.0f}, then {last:.0f}", last - first <= DESCRIPTOR_SLACK
        first, last = self._thirds("shared_mb")
        yield "shared memory", "flat", f"{first:.2f} MB, then {last:.2f} MB", last - first <= SHARED_SLACK_MB
        most = max((look.zombies for look in self.looks), default=0)
        lasting = min((look.zombies for look in self.looks[-3:]), default=0)
        yield "zombies", "none that stays", f"{lasting} in the end, {most} at most at one moment", lasting == 0
        told = "; ".join(self.broken[:4]) or f"{len(self.looks)} looks and the report"
        yield "conserved", "at every look, and at the end", told, not self.broken
        yield "exit code", "0", str(self.code), self.code == 0

    def _thirds(self, name: str) -> tuple[float, float]:
        values = [float(getattr(look, name)) for look in self.looks if look.at_s >= min(WARM_S, self.seconds / 4)]
        third = max(len(values) // 3, 1)
        return statistics.median(values[:third] or [0.0]), statistics.median(values[-third:] or [0.0])


def soak(seconds: float, seed: int) -> Soaked:
    """Run `host` for so long under faults."""
    chance, soaked = random.Random(seed), Soaked(seconds)
    arguments = [*RESTART_LIMIT, "--duration", str(seconds)]
    with a_patient(PIPELINE, arguments, {"out": "{}/alerts"}, _stages()) as (run, patient):
        started = time.monotonic()
        blow_at = started + chance.uniform(*PERIOD_S)
        while run.is_running and time.monotonic() - started < seconds - 3.0:
            time.sleep(LOOK_S)
            soaked.broken += _unaccounted(patient)
            if look := _look(run, patient, time.monotonic() - started):
                soaked.looks.append(look)
            if time.monotonic() >= blow_at:
                number = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
                blow = patient.strike(chance.choice(patient.processes), number)
                soaked.blows += [blow] if blow is not None else []
                blow_at = time.monotonic() + chance.uniform(*PERIOD_S)
        soaked.code = run.wait(60.0)
        soaked.broken += broken_account(run.report())
    return soaked


def _stages() -> dict[str, str]:
    from streamflow.runtime.loading.loader import Reference, load

    graph = load(Reference(str(ROOT / PIPELINE), {})).resolved.graph
    return {stage.name: stage.process for stage in graph.stages}


def _unaccounted(patient: Patient) -> list[str]:
    try:
        conserved = json.loads(patient.folder.state.read_text())["conserved"]
    except (OSError, ValueError):
        return []  # it ends just now
    return [] if conserved is True else [f"while it ran: {line}" for line in conserved]


def _look(run: Run, patient: Patient, at_s: float) -> Look | None:
    try:
        stages = [pid for pid, words in run.processes().items() if "streamflow.runtime.process.stage_process" in words]
        return Look(
            at_s,
            _memory_mb(run.pid),
            sum(_memory_mb(pid) for pid in stages),
            len(list(Path(f"/proc/{run.pid}/fd").iterdir())),
            sum(path.stat().st_size for path in patient.folder.recordings.iterdir() if path.suffix == ".rec") / MB,
            sum(state == "Z" for state in _children_states(run.pid)),
        )
    except (OSError, ValueError):
        return None  # one of them ended meanwhile


def _memory_mb(pid: int) -> float:
    """Its proportional share of memory: pages that copies of the warm process have in common count once."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.partition("\nPss:")[2].split()[0]) / 1024


def _children_states(pid: int) -> list[str]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    states = []
    for child in children:
        try:
            states.append(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0])
        except OSError:
            continue
    return states


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="soak", description="Kill and stop stages of pipelines/host.py for a while.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    is_well = True
    for name, bound, measured, holds in soak(asked.seconds, asked.seed).rows():
        print(f"{name:32} {bound:30} {measured:60} {'-' if holds is None else 'yes' if holds else 'NO'}", flush=True)
        is_well = is_well and holds is not False
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
