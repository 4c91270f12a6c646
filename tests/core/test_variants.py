"""Which variant works: the best that keeps up, down at once, back when the load has gone, and no flapping."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow import ms, s
from streamflow.core.variants import PATIENCE_MAX, Load, Variants

BACK_NS = 1 * s


def choose(
    variants: Variants,
    now_ns: int,
    room_ns: int | None = 100 * ms,
    *,
    cost: tuple[int, ...] = (10 * ms, 1 * ms),
    waited_ns: int = 0,
    gap_ns: int = 0,
    mailbox: int = 0,
    is_degraded: bool = False,
) -> int:
    load = Load(room_ns, waited_ns, gap_ns, mailbox)
    return variants.choose(now_ns, load, cost, cost, is_degraded=is_degraded)


def test_the_best_is_used_where_it_fits() -> None:
    assert choose(Variants(2), 0) == 0
    assert choose(Variants(2), 0, None) == 0


def test_down_at_once_where_it_would_end_too_late_for_this_datum_or_for_one_that_waits() -> None:
    assert choose(Variants(2), 0, 9 * ms) == 1
    assert choose(Variants(2), 0, 20 * ms, waited_ns=15 * ms, gap_ns=5 * ms) == 1
    assert choose(Variants(2), 0, 25 * ms, waited_ns=15 * ms, gap_ns=5 * ms) == 0


def test_down_where_a_mailbox_that_drops_fills_and_it_cannot_keep_up() -> None:
    assert choose(Variants(2), 0, None, waited_ns=20 * ms, gap_ns=5 * ms, mailbox=8) == 1
    assert choose(Variants(2), 0, None, waited_ns=15 * ms, gap_ns=5 * ms, mailbox=8) == 0
    assert choose(Variants(2), 0, None, waited_ns=90 * ms, gap_ns=10 * ms, mailbox=8) == 0
    assert choose(Variants(2), 0, None, waited_ns=90 * ms, gap_ns=5 * ms, mailbox=2) == 0


def test_down_where_a_mailbox_has_dropped_what_a_contract_counts_and_it_cannot_keep_up() -> None:
    def chosen(gap_ns: int) -> int:
        load = Load(100 * ms, 1 * ms, gap_ns, mailbox=1, has_dropped=True)
        return Variants(2).choose(0, load, (10 * ms, 1 * ms), (10 * ms, 1 * ms))

    assert chosen(5 * ms) == 1
    assert chosen(10 * ms) == 0


def test_a_load_that_has_just_come_is_told_by_the_last_few_data_before_a_mailbox_is_full() -> None:
    load = Load(None, 20 * ms, 40 * ms, mailbox=8, newest_gap_ns=4 * ms)
    assert Variants(2).choose(0, load, (10 * ms, 1 * ms), (10 * ms, 1 * ms)) == 1


def test_down_where_it_cannot_keep_up_before_more_waits_than_is_worked_off_in_time() -> None:
    room_ns = 60 * s
    assert choose(Variants(2, BACK_NS), 10 * s, room_ns, waited_ns=BACK_NS // 7, gap_ns=9 * ms) == 1
    assert choose(Variants(2, BACK_NS), 10 * s, room_ns, waited_ns=BACK_NS // 9, gap_ns=9 * ms) == 0
    assert choose(Variants(2, BACK_NS), 10 * s, room_ns, waited_ns=BACK_NS // 7, gap_ns=10 * ms) == 0


def test_a_better_one_that_would_never_be_idle_is_not_gone_back_to_however_long_its_queue_may_grow() -> None:
    variants = Variants(2, BACK_NS)
    costs = (10 * ms, 1 * ms)
    variants.choose(0, Load(1 * ms), costs, costs)
    for nth in range(1, 1000):
        assert variants.choose(nth * 9_900_000, Load(60 * s, gap_ns=9_900_000), costs, costs) == 1


def test_the_best_of_those_that_would_do_and_where_none_would_the_cheapest() -> None:
    costs = (10 * ms, 5 * ms, 1 * ms)
    assert choose(Variants(3), 0, 6 * ms, cost=costs) == 1
    assert choose(Variants(3), 0, 2 * ms, cost=costs) == 2
    assert choose(Variants(3), 0, 0, cost=costs) == 2


def test_what_a_variant_takes_is_taken_to_do_until_it_is_known() -> None:
    assert choose(Variants(2), 0, 1 * ms, cost=(0, 0)) == 0


def test_while_a_contract_is_broken_the_cheapest_is_used() -> None:
    variants = Variants(3, BACK_NS)
    costs = (3 * ms, 2 * ms, 1 * ms)
    for nth in range(40):
        assert choose(variants, nth * 100 * ms, cost=costs, is_degraded=True) == 2
    while choose(variants, (nth := nth + 1) * 100 * ms, cost=costs):
        assert nth <= 50
    assert variants.switch_count == 2


def test_a_try_that_fails_makes_the_next_wait_longer_up_to_a_limit() -> None:
    """What the better one takes has changed: each time it is tried, its first datum is late."""
    variants, now_ns, tried = Variants(2, BACK_NS), 0, []
    choose(variants, 0, 1 * ms)
    while now_ns < 100 * s:
        now_ns += 50 * ms
        if choose(variants, now_ns) == 0:
            tried.append(now_ns)
            choose(variants, now_ns + 1, 1 * ms)
    waits = [round((b - a) / (BACK_NS // 2)) for a, b in pairwise(tried)]
    assert waits[:5] == pytest.approx([2, 4, 8, 16, 16], abs=2)
    assert max(waits) <= PATIENCE_MAX + 2


@dataclass
class Queue:
    """A stage with two variants, one datum after another; what became of each by its variant."""

    full_ns: int
    small_ns: int
    within_ns: int
    variants: Variants = field(default_factory=lambda: Variants(2, BACK_NS))
    free_ns: int = 0
    used: list[tuple[int, int]] = field(default_factory=list)
    late: int = 0

    def run(self, arrivals: list[int]) -> None:
        """The usual times are the true ones, and expected 10 % more."""
        usual = (self.full_ns, self.small_ns)
        expected = [cost * 11 // 10 for cost in usual]
        gap_ns = 0
        for nth, arrived_ns in enumerate(arrivals):
            now_ns = max(self.free_ns, arrived_ns)
            if nth:
                gap_ns += (arrived_ns - arrivals[nth - 1] - gap_ns) // 4 if gap_ns else arrived_ns - arrivals[nth - 1]
            load = Load(arrived_ns + self.within_ns - now_ns, now_ns - arrived_ns, gap_ns)
            level = self.variants.choose(now_ns, load, usual, expected)
            self.free_ns = now_ns + usual[level]
            self.late += self.free_ns > arrived_ns + self.within_ns
            self.used.append((now_ns, level))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    height=st.floats(1.2, 3.0),
    base=st.floats(0.2, 0.92),
    within_ms=st.integers(40, 200),
    jitter=st.floats(0.0, 0.5),
)
def test_a_load_step_is_met_in_time_and_left_again_with_two_switches(
    seed: int, height: float, base: float, within_ms: int, jitter: float
) -> None:
    """`base` and `height`: loads, of what the full model can do; the small one takes a quarter of its time."""
    full_ns, chance = 8 * ms, random.Random(seed)
    arrivals, now_ns = [], 0.0
    for load, length_ns in ((base, 3 * s), (height, 4 * s), (base, 5 * s)):
        until_ns = now_ns + length_ns
        while now_ns < until_ns:
            arrivals.append(round(now_ns + chance.uniform(0, jitter) * full_ns / load))
            now_ns += full_ns / load
    queue = Queue(full_ns, full_ns // 4, within_ms * ms)
    queue.run(sorted(arrivals))
    levels = [level for _, level in queue.used]
    assert queue.late == 0
    assert sum(a != b for a, b in pairwise(levels)) == queue.variants.switch_count <= 2
    back_ns = next((at_ns for at_ns, level in queue.used if at_ns >= 7 * s and level == 0), None)
    assert back_ns is not None
    assert back_ns <= 7 * s + BACK_NS + 100 * ms
