"""What ROS 2's ApproximateTime gives: its documented cases, and a search of all sets where all data are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

from tools.claims.join_runs import Arrival, Datum

CASES: Mapping[str, tuple[str, dict[str, Any], list[tuple[int, ...]]]] = {
    "equal stamps": ("a0 b0 a3 b3 a6 b6", {}, [(0, 0), (3, 3), (6, 6)]),
    "a constant shift": ("a0 b1 a3 b4 a6 b7", {}, [(0, 1), (3, 4)]),
    "one datum too many": ("a0 b1 a2 a3 b5 a6 b7", {}, [(0, 1), (6, 5)]),
    "inputs that go faster and faster": ("a0 b7 a12 b15 a17 b18", {}, [(12, 7), (17, 18)]),
    "a queue that is too small": (
        "a0 b1 b3 a4 b7 a8 a10 b11 a13 b14",
        {"queue_size": 1},
        [(4, 3), (10, 11)],
    ),
    "a queue that is just enough": (
        "a0 b1 b3 a4 b7 a8 a10 b11 a13 b14",
        {"queue_size": 2},
        [(0, 1), (4, 3), (8, 7), (10, 11)],
    ),
    "one input much faster": (
        "a0 a1 a2 a3 a4 a5 a6 a7 a8 b3 a9 a10 a11 a12 b10 a13",
        {"queue_size": 5},
        [(10, 10)],
    ),
    "two sets at once": ("a0 b1 b3 a3", {}, [(0, 1), (3, 3)]),
    "four inputs": (
        "a0 b1 c2 d3 a5 d5 b6 c6 a8 b9 c10 d11 a10 a13 b14",
        {},
        [(0, 1, 2, 3), (5, 6, 6, 5), (10, 9, 10, 11)],
    ),
    "a set that is proved early": ("a0 b1 c2 d3 a7", {}, [(0, 1, 2, 3)]),
    "a bound that proves little": ("a0 b1 a3 b4 a6 b7", {"lower_bounds": {"a": 15}}, [(0, 1), (3, 4)]),
    "a bound that proves all": ("a0 b1 a3 b4 a6 b7", {"lower_bounds": {"a": 20}}, [(0, 1), (3, 4), (6, 7)]),
}
"""What message_filters tests: data in the order in which they come, and the sets before any input ends."""


def arrivals_of(text: str, scale: int = 10) -> list[Arrival]:
    words = text.split()
    return [Arrival(0, Datum(word[0], scale * int(word[1:]), number)) for number, word in enumerate(words)]


def best_sets(
    times: Mapping[str, Sequence[int]], penalty: Fraction, max_skew: int | None
) -> tuple[list[tuple[int, ...]], int]:
    """By a look at all sets with the pivot: the one with the least (1 + penalty) · newest - oldest, then the next."""
    queues = {name: list(each) for name, each in times.items()}
    found = []
    while all(queues.values()):
        heads = {name: queue[0] for name, queue in queues.items()}
        first, newest = min(heads, key=heads.__getitem__), max(heads.values())
        if max_skew is not None and newest - heads[first] > max_skew:
            queues[first].pop(0)
            continue
        pivot = [name for name in heads if heads[name] == newest][-1]
        with_pivot = product(*([newest] if name == pivot else queue for name, queue in queues.items()))
        best = min(with_pivot, key=lambda each: ((1 + penalty) * max(each) - min(each), min(each), each))
        found.append(best)
        for queue, time in zip(queues.values(), best, strict=True):
            del queue[: queue.index(time) + 1]
    return found, sum(map(len, queues.values()))
