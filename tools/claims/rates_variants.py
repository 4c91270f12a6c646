"""The claims of variants: through steps of load the contract holds, the best is back in time, and nothing flaps."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from streamflow import In, Message, Node, Out, Overflow, Pipeline, ms, s, us
from streamflow.testing import Service, simulate
from tools.campaigns.variants_pipeline import STAGE, Full, Small, step_ns
from tools.claims.command import a_run
from tools.claims.framework import Claim, HostShare, Options, Row, main

PIPELINE = "tools.campaigns.variants_pipeline"
RUNS, RUNS_QUICK = 60, 4
STEP_S, BACK_S = 3.0, 1.0
LOW, HIGH = (0.15, 0.9), (1.2, 3.0)  # loads, of what the full variant can do
SMALL_SHARE = (0.2, 0.3)  # of its time
MAILBOXES = (8, 16, 32)  # data that may wait before one is dropped
REAL_LENGTH_S, REAL_LENGTH_QUICK_S, REAL_STEPS, REAL_STEPS_QUICK = 6.0, 3.0, 3, 1
REAL_LOW, REAL_HIGH, REAL_BACK_S = 0.4, 2.0, 1.5
GRACE_S = 0.1  # for the datum in which it shows that the best is back: they come one by one


@dataclass(frozen=True, slots=True)
class Step:
    """A load step drawn at random, and how data come and what they take."""

    full_ns: int
    low: float
    high: float
    within_ns: int
    mailbox: int
    small: float
    jitter: float
    """Of arrivals, in periods."""
    noise: float
    """Of service times, as a share of them, up and down."""
    seed: int

    @classmethod
    def drawn(cls, seed: int) -> Step:
        chance = random.Random(seed)
        full_ns = chance.randint(2, 20) * ms
        within_ns = round(full_ns * chance.uniform(3, 20))
        return cls(
            full_ns, chance.uniform(*LOW), chance.uniform(*HIGH), within_ns, chance.choice(MAILBOXES),
            chance.uniform(*SMALL_SHARE), chance.uniform(0, 1), chance.uniform(0, 0.2), seed,
        )  # fmt: skip

    def arrivals(self) -> list[tuple[int, int]]:
        """Instants, and the part that they belong to: before, during and after the step."""
        chance, found, began_ns = random.Random(self.seed), [], 0.0
        for part, load in enumerate((self.low, self.high, self.low)):
            period_ns = self.full_ns / load
            for nth in range(round(STEP_S * s / period_ns)):
                found.append((round(began_ns + (nth + chance.uniform(0, self.jitter)) * period_ns), part))
            began_ns += STEP_S * s
        return sorted(found)

    def service(self, share: float) -> Callable[[int], int]:
        usual_ns = self.full_ns * share

        def takes_ns(seq: int) -> int:
            return round(usual_ns * random.Random(self.seed * 1_000_003 + seq).uniform(1 - self.noise, 1 + self.noise))

        return takes_ns


class Arrivals(Node):
    number = Out("int64[]")

    def __init__(self, instants: Sequence[tuple[int, int]]) -> None:
        self.instants = instants

    async def run(self) -> None:
        for nth, (at_ns, part) in enumerate(self.instants):
            due_ns = await self.pace(at_ns)
            await self.emit(np.int64(nth), event_time_ns=due_ns, part=part)


class Best(Node):
    number = In("int64[]")
    out = Out("int64[]")

    def process(self, message: Message) -> object:
        return message.array


class Cheap(Best):
    """Less of the same."""


class Sink(Node):
    number = In("int64[]")

    def process(self, message: Message) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Outcome:
    breaches: int
    switches: int
    back_s: float
    """From the end of the step to the best; infinite where it did not come back."""
    share: float
    conserved: bool


def outcome_of(step: Step) -> Outcome:
    """In virtual time."""
    instants = step.arrivals()

    def build() -> Pipeline:
        p = Pipeline("variants")
        source = p.add("source", Arrivals(instants))
        infer = p.add("infer", variants=[Best(), Cheap()], back_after=round(BACK_S * s))
        sink = p.add("sink", Sink())
        p.connect(source, infer, overflow=Overflow.DROP_OLDEST, capacity=step.mailbox)
        p.connect(infer, sink, capacity=32)
        p.deadline("whole", source, sink, within=step.within_ns, firm=(19, 20))
        return p

    service: dict[str, Service] = {
        "infer.Best": step.service(1),
        "infer.Cheap": step.service(step.small),
        "sink": 100 * us,
    }
    simulation = simulate(build, service=service, limit_s=60.0)
    told = [(message.event_time_ns, str(message.attributes["variant"])) for message in simulation.handled["sink"]]
    began_ns = told[0][0] - instants[0][0] if told else 0
    ended_ns = began_ns + round(2 * STEP_S * s)
    back_ns = next((at_ns for at_ns, name in told if at_ns >= ended_ns and name == "Best"), None)
    path = simulation.paths["whole"]
    return Outcome(
        path["firm"]["breaches"],
        sum(a[1] != b[1] for a, b in pairwise(told)),
        float("inf") if back_ns is None else (back_ns - ended_ns) / s,
        path["met"] / path["produced"],
        simulation.report["conserved"] is True,
    )


def drawn_at_random(options: Options) -> Iterator[Row]:
    """Load steps of any height, with jitter and service times that vary, in virtual time."""
    steps = [Step.drawn(seed) for seed in range(RUNS_QUICK if options.is_quick else RUNS)]
    found = [outcome_of(step) for step in steps]
    kept = sum(one.breaches == 0 for one in found)
    worst = min(range(len(found)), key=lambda nth: found[nth].share)
    text = f"{kept} of {len(found)}; {min(one.share for one in found):.2%} in time where fewest were (seed {worst})"
    yield Row("contract (19 of 20) held", f"{len(found)} of {len(found)} load steps", text, kept == len(found))
    most = max(one.switches for one in found)
    flapping = [nth for nth, one in enumerate(found) if one.switches > 2]
    text = f"at most {most}; {len(flapping)} of {len(found)} had more than 2" + f" (seeds {flapping})" * bool(flapping)
    yield Row("switches of a step", "<= 2", text, not flapping)
    slowest = max(one.back_s for one in found)
    text = f"at most {slowest:.2f} s"
    yield Row("the best is back", f"<= {BACK_S:g} s", text, slowest <= BACK_S + GRACE_S)
    yield Row("conserved", "true", str(all(one.conserved for one in found)).lower(), all(o.conserved for o in found))


def with_a_real_network(options: Options) -> Iterator[Row]:
    """A recurrent network and a smaller one in a real process, at rates by what a step takes on this machine."""
    full_ns, small_ns = step_ns(Full()), step_ns(Small())
    steps, length_s = REAL_STEPS, REAL_LENGTH_S
    if options.is_quick:
        steps, length_s = REAL_STEPS_QUICK, REAL_LENGTH_QUICK_S
    low_hz, high_hz = REAL_LOW * s / full_ns, REAL_HIGH * s / full_ns
    settings = {
        "out": "{}/out", "low_hz": low_hz, "high_hz": high_hz, "length_s": length_s, "steps": steps,
        "within_ms": max(100.0, 20 * full_ns / ms), "back_after_ms": REAL_BACK_S * 1000,
    }  # fmt: skip
    share = HostShare()
    with a_run(PIPELINE, [], settings) as run:
        report = run.succeed()
        told = [json.loads(line) for line in (run.folder / "out").read_text().splitlines()]
    yield Row("a step", "", f"{full_ns / ms:.2f} ms, the small one {small_ns / ms:.2f} ms", None)
    path, stage = report["paths"]["whole"], report["stages"][STAGE]
    text = f"{path['firm']['breaches']} breaches, {path['met'] / path['produced']:.2%} in time ({share})"
    yield Row(f"contract (18 of 20) through {steps} steps", "held", text, path["firm"]["breaches"] == 0)
    switches = sum(a["variant"] != b["variant"] for a, b in pairwise(told))
    text = f"{switches}, {stage['variants']}"
    yield Row("switches", f"<= {2 * steps}", text, switches <= 2 * steps and switches == stage["variant_switches"])
    slowest = max(_back_s(told, 2 * nth, length_s) for nth in range(1, steps + 1))
    yield Row("the best is back", f"<= {REAL_BACK_S:g} s", f"{slowest:.2f} s", slowest <= REAL_BACK_S + GRACE_S)
    marked = sum(one["gap"] or 0 for one in told if one["variant"] == "Full")
    yield Row("data that the best had not seen, marked", "", f"{marked:,}", None)
    yield Row("conserved", "true", str(report["conserved"]).lower(), report["conserved"] is True)


def _back_s(told: Sequence[dict[str, float | str]], part: int, length_s: float) -> float:
    """From the beginning of a part without load to the first result by the best."""
    return next(
        (float(one["at_s"]) - part * length_s for one in told if one["part"] == part and one["variant"] == "Full"),
        float("inf"),
    )


CLAIMS = [
    Claim("variants, load steps", drawn_at_random),
    Claim("variants, a real network", with_a_real_network),
]

if __name__ == "__main__":
    sys.exit(main("rates-variants", CLAIMS))
