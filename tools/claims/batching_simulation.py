"""A batch server on a virtual clock, seeded arrivals, and the rules that others have for batches beside ours.

The server is one device that takes 4 ms + 0.5 ms for each item of a batch of up to 32, so its capacity is 1.6 items
per ms. An item is in time if its batch ends by its deadline. Every rule sees the same arrivals; ours is the decider
of the runtime itself. Nothing waits for real. What no rule could beat is in `batching_bounds`.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streamflow.core.batching import BatchRule, Timing, Waiting, choose
from streamflow.core.deadline import Order
from streamflow.core.latency_profile import LatencyProfile
from streamflow.core.timebase import ms, us

FIXED_NS = 4 * ms
EACH_NS = 500 * us
SIZE_MAX = 32
COST_NS = [0, *(FIXED_NS + EACH_NS * size for size in range(1, SIZE_MAX + 1))]
CAPACITY_PER_NS = SIZE_MAX / COST_NS[SIZE_MAX]


class Arrival(NamedTuple):
    at_ns: int
    deadline_ns: int


def arrivals(
    load: float, duration_ns: int, within_ns: Sequence[int], seed: int, *, burst_size: int = 1
) -> list[Arrival]:
    """Poisson at `load` times the capacity, each with one of the deadlines by chance.

    `burst_size`: so many come at once on average, a geometric number, and bursts come that much more rarely.
    """
    chance = random.Random(seed)
    rate = load * CAPACITY_PER_NS / burst_size
    found: list[Arrival] = []
    now = chance.expovariate(rate)
    while now < duration_ns:
        at_ns = int(now)
        found.append(Arrival(at_ns, at_ns + chance.choice(within_ns)))
        if burst_size == 1 or chance.random() < 1 / burst_size:
            now += chance.expovariate(rate)
    return found


class Decision(NamedTuple):
    """The first `skipped` of the queue are given up, the next `size` start; none of them: ask again at `wake_ns`."""

    skipped: int
    size: int
    wake_ns: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """`order`: how the queue stands that is decided about."""

    decide: Callable[[Sequence[Arrival], int], Decision]
    order: Order = Order.EDF


@dataclass(frozen=True, slots=True)
class Outcome:
    """`busy_share`: of the time until the last item; `median_ns`: from arrival to end, of those in time."""

    share: float
    busy_share: float
    median_ns: int


def serve(arriving: Sequence[Arrival], policy: Policy) -> Outcome:
    """Run a policy over the arrivals until nothing is left to be served."""
    by_deadline = policy.order is Order.EDF
    queue: list[Arrival] = []
    now_ns = busy_ns = index = 0
    latencies: list[int] = []
    while True:
        while index < len(arriving) and arriving[index].at_ns <= now_ns:
            insort(queue, arriving[index], key=_by_deadline) if by_deadline else queue.append(arriving[index])
            index += 1
        next_ns = arriving[index].at_ns if index < len(arriving) else None
        if queue:
            decision = policy.decide(queue, now_ns)
            batch = queue[decision.skipped : decision.skipped + decision.size]
            del queue[: decision.skipped + decision.size]
            if batch:
                end_ns = now_ns + COST_NS[len(batch)]
                latencies += [end_ns - item.at_ns for item in batch if end_ns <= item.deadline_ns]
                busy_ns += end_ns - now_ns
                now_ns = end_ns
                continue
            if decision.wake_ns > now_ns:
                next_ns = decision.wake_ns if next_ns is None else min(next_ns, decision.wake_ns)
        if next_ns is None:
            break
        now_ns = next_ns
    latencies.sort()
    median_ns = latencies[len(latencies) // 2] if latencies else 0
    return Outcome(len(latencies) / len(arriving), busy_ns / max(now_ns, 1), median_ns)


def _by_deadline(item: Arrival) -> int:
    return item.deadline_ns


# --------------------------------------------------------------------------------------------- policies


def _no_deadline(queue: Sequence[Arrival], now_ns: int) -> Decision:
    return Decision(0, min(len(queue), SIZE_MAX))


def _shrink_for_head(queue: Sequence[Arrival], now_ns: int) -> Decision:
    skipped = _too_late(queue, now_ns)
    size = min(len(queue) - skipped, SIZE_MAX)
    while size > 1 and now_ns + COST_NS[size] > queue[skipped].deadline_ns:
        size -= 1
    return Decision(skipped, size)


def _early_drop(queue: Sequence[Arrival], now_ns: int) -> Decision:
    late = _too_late(queue, now_ns)
    best, chosen = None, Decision(late, 0)
    for skipped in range(late, len(queue)):
        size = most = min(len(queue) - skipped, SIZE_MAX)
        while size and now_ns + COST_NS[size] > queue[skipped].deadline_ns:
            size -= 1
        gain = size - (skipped - late)
        if best is None or gain > best:
            best, chosen = gain, Decision(skipped, size)
        if size == most:
            break  # a later start only gives up more
    return chosen


def _too_late(queue: Sequence[Arrival], now_ns: int) -> int:
    return bisect_left(queue, now_ns + COST_NS[1], key=_by_deadline)


NO_DEADLINE = Policy(_no_deadline, Order.FIFO)
"""As many as there are, and nothing is given up."""
SHRINK_FOR_HEAD = Policy(_shrink_for_head)
"""The largest batch that still saves the head; only what is late already is given up."""
EARLY_DROP = Policy(_early_drop)
"""Nexus (SOSP 2019): slide a window, and drop the head where that gains more than it gives up."""


def triton(delay_ns: int, patience: float | None = None) -> Policy:
    """Time-out batching: a full batch, or what there is once the first has waited for `delay_ns`.

    These are Triton's `max_queue_delay_microseconds`, and its time-out of a request with the action REJECT, which
    looks when a batch is formed: here `patience` times what the deadline allowed. Deadlines mean nothing else to it.
    """

    def decide(queue: Sequence[Arrival], now_ns: int) -> Decision:
        skipped = 0
        if patience is not None:
            while skipped < len(queue) and _is_rejected(queue[skipped], now_ns, patience):
                skipped += 1
        left = len(queue) - skipped
        if 0 < left < SIZE_MAX and now_ns < queue[skipped].at_ns + delay_ns:
            return Decision(skipped, 0, queue[skipped].at_ns + delay_ns)
        return Decision(skipped, min(left, SIZE_MAX))

    return Policy(decide, Order.FIFO)


def _is_rejected(item: Arrival, now_ns: int, patience: float) -> bool:
    return now_ns > item.at_ns + patience * (item.deadline_ns - item.at_ns)


def ours(timing: Timing = Timing.EAGER) -> Policy:
    """The runtime's decider, with the server's own times as its profile."""
    profile = LatencyProfile(range(1, SIZE_MAX + 1), dict(enumerate(COST_NS[1:], 1)))
    rule = BatchRule(SIZE_MAX, timing=timing, margin_ns=0)

    def decide(queue: Sequence[Arrival], now_ns: int) -> Decision:
        plan = choose([Waiting(item.deadline_ns, item.at_ns) for item in queue], now_ns, profile, rule)
        return Decision(len(plan.given_up), len(plan.start), plan.wake_ns or 0)

    return Policy(decide)
