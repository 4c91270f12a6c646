"""The simulated claims of batching in short: the simulation by hand, and the bounds against what can be searched."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from streamflow.core.batching import Timing
from streamflow.core.timebase import ms, s
from tools.claims import rates_overload
from tools.claims.batching_bounds import GRID_NS, bound_of_one, bound_of_three
from tools.claims.batching_simulation import (
    CAPACITY_PER_NS,
    COST_NS,
    EARLY_DROP,
    NO_DEADLINE,
    SHRINK_FOR_HEAD,
    Arrival,
    Policy,
    arrivals,
    ours,
    serve,
    triton,
)
from tools.claims.framework import Options

POLICIES = {
    "no deadline": NO_DEADLINE,
    "shrink": SHRINK_FOR_HEAD,
    "triton": triton(5 * ms, 0.4),
    "nexus": EARLY_DROP,
    "ours": ours(),
    "ours, lazy": ours(Timing.LAZY),
}


def at(*instants_ms: float, within_ms: float = 25) -> list[Arrival]:
    return [Arrival(int(instant * ms), int((instant + within_ms) * ms)) for instant in instants_ms]


@pytest.mark.parametrize("burst_size", [1, 8])
def test_arrivals_are_those_of_their_seed_at_the_load_that_is_asked_for(burst_size: int) -> None:
    made = arrivals(0.8, 20 * s, [10 * ms, 25 * ms], 3, burst_size=burst_size)
    assert made == arrivals(0.8, 20 * s, [10 * ms, 25 * ms], 3, burst_size=burst_size)
    assert made != arrivals(0.8, 20 * s, [10 * ms, 25 * ms], 4, burst_size=burst_size)
    assert len(made) == pytest.approx(0.8 * CAPACITY_PER_NS * 20 * s, rel=0.1)
    assert len({item.at_ns for item in made}) == pytest.approx(len(made) / burst_size, rel=0.1)
    assert all(one.at_ns <= following.at_ns for one, following in pairwise(made))


def test_a_batch_is_what_waits_when_the_device_is_free() -> None:
    outcome = serve(at(0, 1, 2), NO_DEADLINE)
    assert outcome.share == 1
    assert outcome.median_ns == (4.5 + 5 - 2) * ms, "the second waits for the first and takes the third along"
    assert outcome.busy_share == 1


def test_time_out_batching_waits_for_its_delay_and_rejects_what_waited_too_long() -> None:
    assert serve(at(0, 1, 2), triton(3 * ms)).median_ns == (3 + COST_NS[3] / ms - 1) * ms
    assert serve(at(0, 1, 20), triton(0, 0.1)).share == pytest.approx(2 / 3), "the second waited for 3.5 ms"


def test_shrinking_saves_the_head_and_an_early_drop_gives_it_up() -> None:
    waiting = [Arrival(0, 5 * ms), *at(*[0] * 20, within_ms=16)]
    assert SHRINK_FOR_HEAD.decide(waiting, 0).size == 2
    assert EARLY_DROP.decide(waiting, 0)[:2] == (1, 20)
    assert ours().decide(waiting, 0)[:2] == (1, 20)


# ------------------------------------------------------------------------------------------------ bounds


def searched(arriving: list[Arrival]) -> int:
    """The most that can be in time, by trying every batch at every instant."""
    known: dict[tuple[int, frozenset[int]], int] = {}
    end = max(item.deadline_ns for item in arriving) // GRID_NS

    def best(instant: int, left: frozenset[int]) -> int:
        if instant > end or not left:
            return 0
        if (instant, left) not in known:
            there = [index for index in left if arriving[index].at_ns // GRID_NS <= instant]
            found = best(instant + 1, left)
            for size in range(1, len(there) + 1):
                ends = instant + COST_NS[size] // GRID_NS
                for batch in combinations(there, size):
                    if all(ends <= arriving[index].deadline_ns // GRID_NS for index in batch):
                        found = max(found, size + best(ends, left - frozenset(batch)))
            known[instant, left] = found
        return known[instant, left]

    return best(0, frozenset(range(len(arriving))))


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_of_one_deadline_is_the_best_that_a_search_finds(seed: int) -> None:
    made = arrivals(0.5, 9 * ms, [8 * ms], seed)[:6] or at(0, within_ms=8)
    assert bound_of_one(made, 8 * ms) == pytest.approx(searched(made) / len(made))


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_of_three_deadlines_is_no_less_than_what_a_search_finds(seed: int) -> None:
    within_ns = [5 * ms, 8 * ms, 12 * ms]
    made = [*at(0, within_ms=5), *at(0, within_ms=8), *arrivals(0.3, 9 * ms, within_ns, seed)[:5]]
    assert bound_of_three(made, within_ns) >= searched(made) / len(made) - 1e-9


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("burst_size", [1, 8])
def test_no_rule_is_better_than_the_bound(name: str, burst_size: int) -> None:
    policy: Policy = POLICIES[name]
    alike = arrivals(1.1, 300 * ms, [25 * ms], 5, burst_size=burst_size)
    assert 0 < serve(alike, policy).share <= bound_of_one(alike, 25 * ms)
    within_ns = [10 * ms, 25 * ms, 100 * ms]
    mixed = arrivals(1.1, 60 * ms, within_ns, 5, burst_size=burst_size)
    assert 0 < serve(mixed, policy).share <= bound_of_three(mixed, within_ns)


# ------------------------------------------------------------------------------------------------ claims


def test_every_claim_has_a_name_of_its_own_and_gives_rows() -> None:
    names = [claim.name for claim in rates_overload.CLAIMS]
    assert len(set(names)) == len(names)
    rows = [row for claim in rates_overload.CLAIMS for row in claim.rows(Options(is_quick=True))]
    assert len({row.claim for row in rows}) == len(rows)
    assert all(row.measured and bool(row.bound) == (row.holds is not None) for row in rows)


def test_what_is_claimed_of_one_deadline_holds_in_short() -> None:
    shares = rates_overload.Shares.of([arrivals(1.1, 1 * s, [25 * ms], seed) for seed in (1, 2)])
    assert shares.mean > shares.best_other
