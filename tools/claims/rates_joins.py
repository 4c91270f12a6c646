"""The claims of joins: ROS 2's sets, what all policies promise, runs with a faulty sensor, and what a step costs."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from streamflow.core.joins.contract import Decider, Join
from streamflow.core.timebase import ms, s
from streamflow.joins import Approximate, Exact, Interpolate, Latest, Nearest, OnMissing, Settled, Window
from tools.campaigns.faulty_sensors import FAULTS, Outcome, SensorFault, fuse
from tools.claims.approximate_reference import CASES, arrivals_of, best_sets
from tools.claims.framework import Claim, Options, Row, main
from tools.claims.join_runs import Arrival, Datum, run

INPUTS = ("a", "b", "c", "d")
SCHEDULES, SCHEDULES_QUICK = 3000, 150
STEP_US_MAX = 10.0
STEP_REPEATS = 5
WAIT_SLACK_NS = 1 * ms  # a hop or two between the stages of the run, and a wake-up


def as_ros(options: Options) -> Iterator[Row]:
    """The approximate join beside ROS 2's documented cases, and a search of all sets on random schedules."""
    same = 0
    for text, settings, expected in CASES.values():
        inputs = sorted({word[0] for word in text.split()})
        sets = run(Approximate(**settings), inputs, arrivals_of(text), ends=False).singles
        same += sets == [tuple(10 * at for at in row) for row in expected]
    yield Row("documented cases, the same sets", "all", f"{same} of {len(CASES)}", same == len(CASES))
    chance = random.Random(1)
    same = set_count = 0
    total = SCHEDULES_QUICK if options.is_quick else SCHEDULES
    for _ in range(total):
        chosen = INPUTS[: chance.randint(2, 4)]
        times = {name: sorted(chance.sample(range(60), chance.randint(0, 8))) for name in chosen}
        penalty = chance.choice([Fraction(0), Fraction(1, 8), Fraction(1, 2)])
        max_skew = chance.choice([None, 5, 15, 40])
        join = Approximate(age_penalty=float(penalty), max_skew=max_skew, queue_size=50)
        expected, _ = best_sets(times, penalty, max_skew)
        found = run(join, chosen, _in_any_order(times, chance)).singles
        same += found == expected
        set_count += len(expected)
    yield Row(
        "random schedules, the sets of a full search", "all", f"{same} of {total}, {set_count} sets", same == total
    )
    longest = 0.0
    for _ in range(total):
        join = Approximate(max_wait=chance.randint(1, 40), max_skew=chance.choice([None, 10]), queue_size=20)
        arrivals = _orderly(chance)
        at_ns = {arrival.datum: arrival.at_ns for arrival in arrivals}
        for found_ns, row in run(join, INPUTS[:3], arrivals).rows:
            waited = found_ns - min(at_ns[item] for item in row.fresh.values())
            longest = max(longest, waited / (join.max_wait or 1))
    yield Row("longest that a datum of a set waited", "<= max_wait", f"{longest:.2f} max_wait", longest <= 1.0)


def _in_any_order(times: Mapping[str, Sequence[int]], chance: random.Random) -> list[Arrival]:
    """Of each input in order, otherwise by chance."""
    turns = [name for name, each in times.items() for _ in each]
    chance.shuffle(turns)
    waiting = {name: list(each) for name, each in times.items()}
    return [Arrival(0, Datum(name, waiting[name].pop(0))) for name in turns]


def _orderly(chance: random.Random) -> list[Arrival]:
    """Three inputs at their own pace, with jitter, losses and pauses."""
    arrivals = []
    for name in INPUTS[:3]:
        period, event_ns, at_ns = chance.randint(2, 15), chance.randint(0, 20), 0
        for number in range(chance.randint(0, 20)):
            event_ns += period + chance.randint(0, 3) + (chance.randint(20, 100) if chance.random() < 0.05 else 0)
            at_ns = max(at_ns, event_ns + chance.randint(0, 3 * period))
            if chance.random() > 0.1:
                arrivals.append(Arrival(at_ns, Datum(name, event_ns, number)))
    return sorted(arrivals, key=lambda arrival: arrival.at_ns)


@dataclass(frozen=True, slots=True)
class Policy:
    """How to draw one of its settings."""

    name: str
    draw: Callable[[random.Random, dict[str, Any]], Join]
    is_settled: bool = False


POLICIES = (
    Policy("exact", lambda chance, common: Exact(**_without_clock(common))),
    Policy("nearest", lambda chance, common: Nearest(trigger="b", **common)),
    Policy("approximate", lambda chance, common: Approximate(**common)),
    Policy("latest", lambda chance, common: Latest(trigger="b", **_without_clock(common))),
    Policy("interpolate", lambda chance, common: Interpolate(every=chance.randint(1, 30), **common)),
    Policy("window", lambda chance, common: Window(span=chance.randint(1, 40), **common), True),
    Policy("settled", lambda chance, common: Settled(**common), True),
)


def _without_clock(common: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in common.items() if name not in ("disorder", "idle_timeout")}


def promised(options: Options) -> Iterator[Row]:
    """Conservation, age and skew of every policy on random schedules, orderly and not; and order of arrival."""
    chance = random.Random(2)
    total = SCHEDULES_QUICK if options.is_quick else SCHEDULES
    for policy in POLICIES:
        data = row_count = 0
        broken = ""
        for _ in range(total):
            common: dict[str, Any] = {
                "max_wait": chance.choice([None, 1, 10, 40]),
                "max_skew": chance.choice([None, 1, 10, 40]),
                "max_age": chance.choice([None, 1, 10, 40]),
                "on_missing": chance.choice([OnMissing.SKIP, OnMissing.PARTIAL, OnMissing.HOLD]),
                "queue_size": chance.randint(2, 30),
                "disorder": chance.choice([0, 0, 5, 20]),
                "idle_timeout": chance.choice([None, None, 10, 60]),
            }
            arrivals = _orderly(chance) if chance.random() < 0.5 else _disorderly(chance)
            try:
                row_count += len(run(policy.draw(chance, common), INPUTS[:3], arrivals).rows)
            except AssertionError as error:
                broken = broken or f"{error}"
            data += len(arrivals)
        measured = f"{total} schedules, {data} data, {row_count} rows{': ' + broken if broken else ''}"
        yield Row(f"{policy.name}: each datum counted once, age and skew", "always", measured, not broken)
    for policy in POLICIES:
        if policy.is_settled:
            same = sum(_is_settled(policy, chance) for _ in range(total))
            yield Row(f"{policy.name}: rows in any order of arrival", "the same", f"{same} of {total}", same == total)


def _disorderly(chance: random.Random) -> list[Arrival]:
    """Any event times in any order."""
    at_ns = 0
    arrivals = []
    for number in range(chance.randint(0, 30)):
        at_ns += chance.randint(0, 20)
        arrivals.append(Arrival(at_ns, Datum(chance.choice(INPUTS[:3]), chance.randint(0, 200), number)))
    return arrivals


def _is_settled(policy: Policy, chance: random.Random) -> bool:
    """Whether one schedule gives the same in two orders of arrival."""
    join = policy.draw(chance, {"on_missing": chance.choice([OnMissing.PARTIAL, OnMissing.SKIP]), "queue_size": 50})
    arrivals = _orderly(chance)
    lanes = {name: [one.datum for one in arrivals if one.datum.input == name] for name in INPUTS[:3]}
    turns = [name for name, lane in lanes.items() for _ in lane]
    chance.shuffle(turns)
    shuffled = [Arrival(0, lanes[name].pop(0)) for name in turns]
    first, second = run(join, INPUTS[:3], arrivals), run(join, INPUTS[:3], shuffled)
    return first.times == second.times and sorted(map(repr, first.left_out)) == sorted(map(repr, second.left_out))


_PATIENT: Mapping[str, Any] = {"max_wait": 60 * ms, "idle_timeout": 500 * ms, "on_missing": OnMissing.PARTIAL}
_ORDERED: Mapping[str, Any] = {**_PATIENT, "disorder": {"imu": 30 * ms}}
RUNS: Mapping[str, Join] = {
    "nearest": Nearest(trigger="camera", max_skew=20 * ms, **_ORDERED),
    "approximate": Approximate(max_skew=40 * ms, queue_size=50, **_ORDERED),
    "latest": Latest(trigger="camera", max_age=100 * ms, **_PATIENT),
    "interpolate": Interpolate(trigger="camera", max_skew=20 * ms, **_ORDERED),
    "window": Window(trigger="camera", span=50 * ms, **_ORDERED),
    "settled": Settled(trigger="camera", max_age=100 * ms, **_ORDERED),
}


def faulty(options: Options) -> Iterator[Row]:
    """Runs of a whole pipeline in virtual time, of which one sensor misbehaves."""
    for fault in (FAULTS[0], FAULTS[-1]) if options.is_quick else FAULTS:
        for name, join in RUNS.items():
            if not options.is_quick or name == "settled":
                yield _judged(name, join, fault, fuse(join, fault))


def _judged(name: str, join: Join, fault: SensorFault, outcome: Outcome) -> Row:
    wait_ms, limit_ms = outcome.wait_ns_max / ms, ((join.max_wait or 0) + WAIT_SLACK_NS) / ms
    is_back = outcome.whole_before == 1.0 and outcome.whole_after == 1.0
    told = ", ".join(f"{reason} {count}" for reason, count in outcome.left_out.items()) or "nothing"
    measured = (
        f"waited {wait_ms:.1f} ms; whole rows {outcome.whole_before:.0%} before, {outcome.whole_during:.0%} during, "
        f"{outcome.whole_after:.0%} after; {outcome.lost_count} frames in none; left out: {told}; "
        f"{'conserved' if outcome.is_conserved else 'NOT CONSERVED'}"
    )
    bound = f"<= {limit_ms:.0f} ms; whole before and after; conserved"
    return Row(f"{fault.name}: {name}", bound, measured, wait_ms <= limit_ms and is_back and outcome.is_conserved)


STEPS: Mapping[str, Join] = {
    "exact": Exact(),
    "nearest": Nearest(trigger="a", max_wait=100 * ms),
    "approximate": Approximate(max_wait=100 * ms),
    "latest": Latest(trigger="a"),
    "interpolate": Interpolate(trigger="a", max_wait=100 * ms),
    "window": Window(trigger="a", span=33 * ms, max_wait=100 * ms),
    "settled": Settled(trigger="a", max_wait=100 * ms),
}


def steps(options: Options) -> Iterator[Row]:
    """What a policy takes for a message, at four inputs: three at 100 Hz beside a camera of 30, or four alike."""
    count = 2_000 if options.is_quick else 20_000
    for name, join in STEPS.items():
        costs = [_step_us(join, count) for _ in range(STEP_REPEATS)]
        median = statistics.median(costs)
        measured = f"{median:.1f} us (of {STEP_REPEATS}: {min(costs):.1f} to {max(costs):.1f})"
        yield Row(f"{name}, a message", f"<= {STEP_US_MAX:g} us", measured, median <= STEP_US_MAX)


def _step_us(join: Join, count: int) -> float:
    rates_hz = dict.fromkeys(INPUTS, 100.0)
    if not isinstance(join, Exact):
        rates_hz["a"] = 30.0
    data = sorted(
        (Datum(name, round(number * s / rate_hz), number) for name, rate_hz in rates_hz.items()
         for number in range(round(count / 330 * rate_hz))),
        key=lambda datum: datum.event_time_ns,
    )  # fmt: skip
    decider: Decider[Datum] = join.decider(INPUTS)
    began = time.perf_counter()
    for datum in data:
        now_ns = datum.event_time_ns
        decider.offer(datum.input, datum, now_ns)
        while decider.ready(now_ns) is not None:
            pass
        decider.left_out()
        decider.wake_ns()
    return (time.perf_counter() - began) / len(data) * 1e6


CLAIMS = [
    Claim("approximate", as_ros),
    Claim("all joins", promised),
    Claim("a faulty sensor", faulty),
    Claim("join step", steps),
]

if __name__ == "__main__":
    sys.exit(main("rates", CLAIMS))
