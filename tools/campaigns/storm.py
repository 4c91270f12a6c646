"""Kills and stops stages of a run at random moments, times how they come back, and counts what went with them.

    python -m tools.campaigns.storm [--blows 40] [--seed 1] [--shape line] [--overflow block]

runs a pipeline of numbered data (`numbered.py`) and holds the product's account of what was lost against what its
sinks have on disk. A blow falls only when all stages are at work, further from the last than the restart period, so
that what is timed is a restart, and not the backoff that is meant for what fails again and again.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamflow.core.verdict import WORK, Kind
from streamflow.recorder import layout
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import to_records
from streamflow.runtime.rundir import RunFolder
from tools.claims.command import Run, a_run, wait_until
from tools.claims.framework import ShortfallError

NUMBERED = "tools/campaigns/numbered.py"
RESTART_LIMIT = ("--restart-limit", "100000/0.1")
GAP_S = (0.15, 0.45)
START_LIMIT_S = 60.0
BACK_LIMIT_S = 20.0
CATCH_LIMIT_S = 0.2  # for a stage to begin with something, where it is to be struck in the midst of it
QUIET_S = 0.3  # a stage that got nothing for so long had nothing to do: it was back when ready
END_MARGIN_S = 2.0  # no blows in the last seconds of a recording


@dataclass(frozen=True, slots=True)
class Blow:
    """What was done to a process. `back_ms`: from the signal to the first work of its new life."""

    process: str
    number: signal.Signals
    back_ms: float
    others_stayed: bool


class Patient:
    """A live run, seen through its flight recorders."""

    def __init__(self, run: Run, stages: Mapping[str, str]) -> None:
        """`stages`: the process of each. Returns when all are at work. Raises ShortfallError."""
        self._run = run
        self._process_of = dict(stages)
        took_s = wait_until(lambda: self._folders() or not run.is_running, START_LIMIT_S)
        if took_s is None or not run.is_running:
            raise ShortfallError(f"the run did not start: {' '.join(run.errors())}")
        self.folder = RunFolder(self._folders()[0])
        wait_until(lambda: all(self.folder.recording(stage).exists() for stage in stages), START_LIMIT_S)
        time.sleep(0.1)  # the files are there before they are whole
        self.recordings = {stage: Recording.open(self.folder.recording(stage)) for stage in stages}
        if wait_until(lambda: self.are_all_at_work or not run.is_running, START_LIMIT_S) is None:
            raise ShortfallError("not all stages went to work")

    def _folders(self) -> list[Path]:
        return [path for path in self._run.scratch.glob("*/[!.]*") if (path / "run.json").exists()]

    @property
    def are_all_at_work(self) -> bool:
        return all(recording.word(layout.PHASE) == layout.RUNNING for recording in self.recordings.values())

    @property
    def processes(self) -> list[str]:
        return list(dict.fromkeys(self._process_of.values()))

    def pids(self) -> dict[str, int]:
        return {self._process_of[stage]: one.word(layout.PID) for stage, one in self.recordings.items()}

    def strike(self, process: str, number: signal.Signals, *, is_in_service: bool = False) -> Blow | None:
        """Send the signal, and wait until the process is back at work; None when the run ended meanwhile.

        `is_in_service`: while it works on a datum, if it comes to that soon.
        """
        wait_until(lambda: self.are_all_at_work or not self._run.is_running, BACK_LIMIT_S)
        before = self.pids()
        stages = [stage for stage, own in self._process_of.items() if own == process]
        if is_in_service:
            self._catch(stages)
        heads = {stage: self.recordings[stage].head for stage in stages}
        struck_ns = time.monotonic_ns()
        try:
            os.kill(before[process], number)
        except ProcessLookupError:
            return None
        backs_ns = [self._back_ns(stage, heads[stage]) for stage in stages]
        if None in backs_ns:
            return None
        back_ns = max(each for each in backs_ns if each is not None)
        after = self.pids()
        stayed = all(before[other] == after[other] for other in before if other != process)
        return Blow(process, number, (back_ns - struck_ns) / 1e6, stayed)

    def _catch(self, stages: Sequence[str]) -> None:
        """Awake: work may take a tenth of a millisecond."""
        end_s = time.monotonic() + CATCH_LIMIT_S
        while time.monotonic() < end_s:
            if any(self.recordings[stage].word(layout.SERVING) for stage in stages):
                return

    def _back_ns(self, stage: str, head: int) -> int | None:
        """When the stage's next life has handled its first datum, or was ready, where nothing was there to handle."""
        recording = self.recordings[stage]
        ready_ns = 0
        end_s = time.monotonic() + BACK_LIMIT_S
        quiet_s = 0.0
        while time.monotonic() < end_s and self._run.is_running:
            for record in to_records(recording.tail(head).records):
                if record.kind == Kind.RESTARTED:
                    ready_ns = record.ended_ns
                    quiet_s = quiet_s or time.monotonic() + QUIET_S
                elif ready_ns and (record.kind in WORK or record.kind == Kind.ADMITTED):
                    return record.ended_ns
            if quiet_s and time.monotonic() > quiet_s:
                return ready_ns
            ready_ns = 0
            time.sleep(0.004)
        if self._run.is_running:
            raise ShortfallError(f"stage {stage} is not back {BACK_LIMIT_S:g} s after it was struck")
        return None

    def close(self) -> None:
        for recording in self.recordings.values():
            recording.close()


@contextmanager
def a_patient(
    pipeline: str, arguments: Sequence[str], settings: Mapping[str, object], stages: Mapping[str, str]
) -> Iterator[tuple[Run, Patient]]:
    """A run that is at work."""
    with a_run(pipeline, arguments, settings) as run:
        patient = Patient(run, stages)
        try:
            yield run, patient
        finally:
            patient.close()


def storm(
    run: Run, patient: Patient, chance: random.Random, count: int, gap_s: tuple[float, float], length_s: float,
    *, signals: Sequence[signal.Signals] = (signal.SIGKILL,), victims: Sequence[str] = (), is_in_service: bool = False,
) -> list[Blow]:  # fmt: skip
    """Up to `count` blows, in turn, none in the last seconds of a run of `length_s`: at random moments, or when the
    victim next works on a datum after those."""
    end = time.monotonic() + length_s - END_MARGIN_S
    names = list(victims or patient.processes)
    blows: list[Blow] = []
    while len(blows) < count and time.monotonic() < end and run.is_running:
        time.sleep(chance.uniform(*gap_s))
        if len(blows) % len(names) == 0:
            chance.shuffle(names)
        name, number = names[len(blows) % len(names)], signals[len(blows) % len(signals)]
        blow = patient.strike(name, number, is_in_service=is_in_service)
        if blow is None:
            break
        blows.append(blow)
    return blows


def broken_account(report: Mapping[str, Any]) -> list[str]:
    """The sums that do not hold, recomputed here, and whatever the report itself found."""
    broken = [] if report["conserved"] is True else list(report["conserved"])
    for name, path in report["paths"].items():
        parts = ("met", "missed", "absorbed", "shed", "dropped", "rejected", "lost", "in_flight")
        if path["produced"] != sum(path[part] for part in parts) or path["in_flight"]:
            broken.append(f"path {name}: {path['produced']} produced, {', '.join(f'{path[p]} {p}' for p in parts)}")
    for name, edge in report["edges"].items():
        gone = edge["delivered"] + sum(edge["dropped"].values()) + edge["lost"] + edge["in_flight"]
        if edge["sent"] != gone or edge["in_flight"]:
            broken.append(f"edge {name}: {edge['sent']} sent, {gone} accounted for, {edge['in_flight']} in flight")
    return broken


# ---------------------------------------------------------------------------------------- numbered data


@dataclass(frozen=True, slots=True)
class Shape:
    """A pipeline of `numbered.py`: its stages with their processes. `copies`: data that its sinks get of each."""

    stages: Mapping[str, str]
    copies: int = 1

    @property
    def sinks(self) -> list[str]:
        return [stage for stage in self.stages if "sink" in stage]


def _alone(*stages: str) -> dict[str, str]:
    return {stage: stage for stage in stages}


SHAPES = {
    "line": Shape(_alone("source", "middle", "sink")),
    "fan": Shape(_alone("source", "left", "right", "left_sink", "right_sink")),
    "join": Shape(_alone("source", "left", "right", "sink")),
    "shared": Shape({"source": "source", "middle": "rest", "sink": "rest"}),
    "split": Shape(_alone("source", "middle", "sink"), copies=2),
}


@dataclass(slots=True)
class Count:
    """Of one sink: numbers emitted by its source, found on disk, and given up or lost by the report's account."""

    sink: str
    emitted: int
    found: int
    given_up: int
    lost: int
    unnumbered: int
    kills: int
    twice: int

    @property
    def is_exact(self) -> bool:
        """What a sink had written and not recorded when it was killed counts as lost: at most one for each kill."""
        missing = self.emitted - self.found - self.given_up - self.lost
        return -self.kills <= missing <= 0 and self.unnumbered == 0 and self.twice == 0


@dataclass(slots=True)
class Result:
    """What a storm over numbered data has shown."""

    blows: list[Blow]
    counts: list[Count]
    broken: list[str]
    stayed: bool = field(init=False)

    def __post_init__(self) -> None:
        self.stayed = all(blow.others_stayed for blow in self.blows)

    @property
    def lost(self) -> int:
        return sum(count.lost for count in self.counts)


def numbered_storm(
    shape_name: str, overflow: str, count: int, seed: int, *, gap_s: tuple[float, float] = GAP_S,
    rate_hz: float = 500.0, work_s: float = 0.001, victims: Sequence[str] = (), length_s: float | None = None,
    link: str = "ipc",
) -> Result:  # fmt: skip
    """`count` kills over a run that is as long as they take, or as told. Raises ShortfallError when the run fails."""
    shape = SHAPES[shape_name]
    length_s = length_s or count * (sum(gap_s) / 2 + 0.12) + END_MARGIN_S + 1
    numbers = int(length_s * rate_hz)
    settings = {
        "out": "{}", "shape": shape_name, "overflow": overflow, "count": numbers, "rate_hz": rate_hz, "work_s": work_s,
    }  # fmt: skip
    with a_patient(NUMBERED, (*RESTART_LIMIT, "--link", link), settings, shape.stages) as (run, patient):
        blows = storm(run, patient, random.Random(seed), count, gap_s, length_s, victims=victims)
        run.wait()
        report = run.report()
        kills = {name: sum(blow.process == name for blow in blows) for name in patient.processes}
        counts = [
            _count(run.folder, sink, numbers, report["paths"][f"source->{sink}"], kills[shape.stages[sink]], shape)
            for sink in shape.sinks
        ]
    return Result(blows, counts, broken_account(report))


def _count(folder: Path, sink: str, numbers: int, path: Mapping[str, int], kills: int, shape: Shape) -> Count:
    written = [int(line) for line in (folder / sink).read_text().split()]
    times = dict.fromkeys(written, 0)
    for number in written:
        times[number] += 1
    whole = [number for number, found in times.items() if found == shape.copies]
    return Count(
        sink,
        emitted=numbers,
        found=len(whole),
        given_up=path["dropped"] + path["shed"] + path["rejected"],
        lost=path["lost"],
        unnumbered=numbers - path["produced"],
        kills=kills,
        twice=sum(found > shape.copies for found in times.values()),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that is not exceeded by that share of them."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def main(arguments: Sequence[str] | None = None, tell: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(prog="storm", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--blows", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shape", choices=[*SHAPES, "all"], default="all")
    parser.add_argument("--overflow", choices=["block", "drop_oldest", "all"], default="all")
    parser.add_argument("--link", choices=["ipc", "tcp", "direct"], default="ipc")
    asked = parser.parse_args(arguments)
    shapes = list(SHAPES) if asked.shape == "all" else [asked.shape]
    overflows = ["block", "drop_oldest"] if asked.overflow == "all" else [asked.overflow]
    is_well = True
    for shape in shapes:
        for overflow in overflows:
            result = numbered_storm(shape, overflow, asked.blows, asked.seed, link=asked.link)
            is_exact = all(count.is_exact for count in result.counts)
            is_well = is_well and is_exact and result.stayed and not result.broken
            backs = [blow.back_ms for blow in result.blows]
            tell(
                f"{shape} {overflow}: {len(backs)} kills, back in {quantile(backs, 0.5):.0f} ms (median), "
                f"{max(backs, default=0):.0f} ms (longest), {result.lost} lost, "
                f"{'exact' if is_exact else 'NOT EXACT'}, "
                f"{'conserved' if not result.broken else 'BROKEN'}"
            )
            for line in result.broken:
                tell(f"    {line}")
            for count in result.counts:
                if not count.is_exact:
                    tell(f"    {count}")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
