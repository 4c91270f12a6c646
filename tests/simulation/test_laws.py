"""What must hold in any run, whatever goes wrong in it: whole pipelines of any shape, in virtual time, from a seed.

The campaign (`tools/campaigns/simulate.py`) runs more of the same; what it has found is in `test_found`.
"""

from __future__ import annotations

import pytest

from tools.campaigns.random_pipelines import random_case
from tools.campaigns.simulate import command, run, simulated

SEEDS = range(24)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_law_holds_whatever_goes_wrong(seed: int) -> None:
    """Conservation, each miss told once, no start too late, no restart too many, order kept; and the run ends."""
    _, broken = run(seed)
    assert not broken, "\n".join([f"run it again: {command(seed)}", *broken])


def test_a_seed_gives_the_same_run_again() -> None:
    def story(seed: int) -> list[object]:
        simulation = simulated(random_case(seed))
        events = [{**event, "supervisor": 0} for event in simulation.events]
        return [events, simulation.records, simulation.report]

    assert story(3) == story(3)
