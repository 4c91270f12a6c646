"""Items that wait for a batch at an instant, what a batch of each size costs, and what is chosen of them."""

from __future__ import annotations

from collections.abc import Sequence

from streamflow.core.batching import BatchRule, Plan, Waiting, choose
from streamflow.core.latency_profile import LatencyProfile

SIZE_MAX = 8
NOW = 1000


def affine(size_max: int = SIZE_MAX, fixed_ns: int = 8, each_ns: int = 1) -> LatencyProfile:
    return LatencyProfile(range(1, size_max + 1), {size: fixed_ns + each_ns * size for size in range(1, size_max + 1)})


PROFILE = affine()
STAIRCASE = LatencyProfile((2, 4, 8), {2: 10, 4: 12, 8: 24})
RULE = BatchRule(SIZE_MAX, margin_ns=0, patience_ns=100)


def due(*lefts_ns: int, **more: object) -> list[Waiting]:
    """Items that must have ended so long after NOW, all with the same time from their arrival."""
    return [Waiting(NOW + left, NOW + left - 50)._replace(**more) for left in lefts_ns]  # type: ignore[arg-type]


def undated(count: int, arrival_ns: int = NOW, stream: object = None) -> list[Waiting]:
    return [Waiting(0, arrival_ns, stream)] * count


def plan(
    waiting: Sequence[Waiting],
    rule: BatchRule = RULE,
    *,
    now_ns: int = NOW,
    profile: LatencyProfile = PROFILE,
    free_ns: int = 0,
    last_undated_ns: int = 0,
) -> Plan:
    return choose(waiting, now_ns, profile, rule, free_ns=free_ns, last_undated_ns=last_undated_ns)
