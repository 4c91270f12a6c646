"""Simulates random pipelines in which things go wrong, seed after seed, and says which laws broke.

python -m tools.campaigns.simulate --seed 17              one seed again: what was declared, and the report
python -m tools.campaigns.simulate --seeds 0..1000        a range
python -m tools.campaigns.simulate --minutes 10           on from --seeds' first until time is up
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

from streamflow.testing import Simulation, simulate
from tools.campaigns.laws import broken_laws
from tools.campaigns.random_pipelines import Case, random_case

LIMIT_S = 60.0  # of a run's own time; the data of one take 1.5 s


@dataclass
class Tally:
    """What the campaign has seen."""

    counts: Counter[str] = field(default_factory=Counter)
    failed: dict[int, list[str]] = field(default_factory=dict)

    def add(self, seed: int, simulation: Simulation | None, broken: list[str]) -> None:
        self.counts["runs"] += 1
        if broken:
            self.failed[seed] = broken
        if simulation is not None:
            self.counts[simulation.report["ending"]] += 1
            for path in simulation.paths.values():
                for what in ("produced", "met", "missed", "absorbed", "shed", "dropped", "rejected", "lost"):
                    self.counts[what] += path[what]
            for event in ("failed", "hung", "back", "broken", "recovered"):
                self.counts[f"events: {event}"] += len(simulation.events_of(event))


def run(seed: int) -> tuple[Simulation | None, list[str]]:
    """The simulation of a seed, and the laws that it broke; None where it did not end."""
    case = random_case(seed)
    try:
        simulation = simulated(case)
    except Exception:  # whatever it is, it is a finding
        return None, [traceback.format_exc()]
    return simulation, broken_laws(simulation, case.graph)


def simulated(case: Case) -> Simulation:
    return simulate(
        case.build,
        duration_s=case.duration_s,
        faults=case.faults,
        service=case.service,
        seed=case.seed,
        restarts=case.restarts,
        limit_s=LIMIT_S,
    )


def command(seed: int) -> str:
    """What runs a seed again."""
    return f"python -m tools.campaigns.simulate --seed {seed}"


def _show(seed: int) -> int:
    case = random_case(seed)
    print(f"{case.faults}\nduration {case.duration_s}, restarts {case.restarts}")
    for stage in case.graph.stages:
        print(f"{stage.name}: {stage.node}, process {stage.process}, {stage.restart.value}, live {stage.live}")
    for edge in case.graph.edges:
        print(f"{edge.name}: {edge.overflow.value} {edge.capacity} {edge.order.value} {edge.max_age_ns}")
    for path in case.graph.deadlines:
        print(path)
    for group in case.graph.groups:
        print(group)
    simulation, broken = run(seed)
    if simulation is not None:
        print(simulation)
        for event in simulation.events:
            if event["event"] != "miss":
                at_ms = (event.pop("at_ns") - simulation.started_ns) / 1e6
                print(f"{at_ms:12.3f} ms  {event}")
    print("\n".join(["", *broken]) if broken else "\nevery law holds")
    return bool(broken)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", default="0..100", help="A..B, B excluded")
    parser.add_argument("--minutes", type=float)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _show(arguments.seed)
    first, _, last = arguments.seeds.partition("..")
    began = time.monotonic()
    tally = Tally()
    for seed in count(int(first)) if arguments.minutes else range(int(first), int(last)):
        if arguments.minutes and time.monotonic() - began > arguments.minutes * 60:
            break
        simulation, broken = run(seed)
        tally.add(seed, simulation, broken)
        for sentence in broken:
            print(f"seed {seed}: {sentence}\n    {command(seed)}", flush=True)
    for what, number in tally.counts.items():
        print(f"{what:20} {number:10,}")
    print(f"{'broken':20} {len(tally.failed):10,}   in {time.monotonic() - began:.0f} s")
    return bool(tally.failed)


if __name__ == "__main__":
    sys.exit(main())
