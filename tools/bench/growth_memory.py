"""What stages take of memory: by themselves, and over minutes of frames while stages are killed at random.

`python -m tools.bench.growth_memory [--seconds 60]` prints figures and judges nothing.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from tools.bench.growth import PIPELINE, running_folder, stage_pids
from tools.campaigns.storm import RESTART_LIMIT, Blow, a_patient, broken_account
from tools.claims.command import Run, a_run
from tools.claims.framework import environment

MB = 1 << 20
STAGE_COUNT = 5
SETTLE_S = 4.0
FRAME_LENGTH = 150_000  # float32: 600 KB
FRAME_RATE_HZ = 30.0
PERIOD_S = (1.0, 4.0)
LOOK_S = 0.5
WARM_S = 15.0


def private_mb(launcher: str = "local", stages: int = STAGE_COUNT) -> dict[str, float]:
    """Private memory of each stage of a NumPy pipeline at work: what would be free again if it were not there."""
    with a_run(f"{PIPELINE}:chain", ("--launcher", launcher), {"stages": stages, "length": 50_000}) as run:
        running_folder(run)
        time.sleep(SETTLE_S)
        found = {name: _smaps_mb(pid, "Private_") for name, pid in stage_pids(run).items()}
        return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment, in MB: of all stages together, of the supervisor, and of the shared pools."""

    at_s: float
    stages_mb: float
    supervisor_mb: float
    pools_mb: float


@dataclass(slots=True)
class Endured:
    """What a run under fire has shown."""

    seconds: float
    blows: list[Blow] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    frames: int = 0
    broken: list[str] = field(default_factory=list)

    def thirds(self, name: str) -> tuple[float, float]:
        """Medians of the first third of the looks and of the last; what starts up is left out."""
        values: list[float] = [getattr(look, name) for look in self.looks if look.at_s >= min(WARM_S, self.seconds / 4)]
        third = max(len(values) // 3, 1)
        return statistics.median(values[:third] or [0.0]), statistics.median(values[-third:] or [0.0])

    def most(self, name: str) -> float:
        values: list[float] = [getattr(look, name) for look in self.looks]
        return max(values)


def under_fire(seconds: float, seed: int = 1) -> Endured:
    """Frames through a chain of stages, one of which is killed every few seconds."""
    chance, endured = random.Random(seed), Endured(seconds)
    stages = {f"s{number}": f"s{number}" for number in range(STAGE_COUNT)}
    settings = {"stages": STAGE_COUNT, "length": FRAME_LENGTH, "rate_hz": FRAME_RATE_HZ, "capacity": 4}
    arguments = [*RESTART_LIMIT, "--duration", str(seconds)]
    with a_patient(f"{PIPELINE}:chain", arguments, settings, stages) as (run, patient):
        began = time.monotonic()
        blow_at = began + chance.uniform(*PERIOD_S)
        while run.is_running and time.monotonic() - began < seconds - 3.0:
            time.sleep(LOOK_S)
            if look := _look(run, patient.folder.recordings, time.monotonic() - began):
                endured.looks.append(look)
            if time.monotonic() >= blow_at:
                blow = patient.strike(chance.choice(patient.processes), signal.SIGKILL)
                endured.blows += [blow] if blow is not None else []
                blow_at = time.monotonic() + chance.uniform(*PERIOD_S)
        report = run.succeed()
        endured.frames = report["stages"][f"s{STAGE_COUNT - 1}"]["processed"]
        endured.broken = broken_account(report)
    return endured


def _look(run: Run, recordings: Path, at_s: float) -> Look | None:
    try:
        stages = stage_pids(run)
        if len(stages) < STAGE_COUNT:
            return None  # one is just starting again
        pools = sum(path.stat().st_blocks * 512 for path in recordings.glob("*.pool*"))
        stages_mb = sum(_smaps_mb(pid, "Rss") for pid in stages.values())
        return Look(at_s, stages_mb, _smaps_mb(run.pid, "Rss"), pools / MB)
    except OSError:
        return None  # one of them ended meanwhile


def _smaps_mb(pid: int, kind: str) -> float:
    """The lines of that kind, summed."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="growth_memory", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(environment())
    for launcher in ("local", "spawn"):
        by_stage = private_mb(launcher)
        print(f"private, {launcher}: " + ", ".join(f"{name} {mb:.1f} MB" for name, mb in by_stage.items()))
    endured = under_fire(asked.seconds, asked.seed)
    print(f"{len(endured.blows)} kills, {endured.frames} frames at the sink; broken sums: {endured.broken or 'none'}")
    for name in ("stages_mb", "supervisor_mb", "pools_mb"):
        first, last = endured.thirds(name)
        print(f"{name}: {first:.1f}, then {last:.1f}; {endured.most(name):.1f} at most")


if __name__ == "__main__":
    main()
