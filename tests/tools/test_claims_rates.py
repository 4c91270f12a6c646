"""The claims of joins and variants, shortened: they run, and hold where no time is measured."""

from __future__ import annotations

import json

import pytest

from tools.claims.framework import main
from tools.claims.rates_joins import CLAIMS
from tools.claims.rates_variants import BACK_S, GRACE_S, Step, outcome_of


@pytest.mark.parametrize("name", ["approximate", "all joins", "a faulty sensor"])
def test_what_joins_promise_holds(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("rates", CLAIMS, ["--only", name, "--quick", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) >= 2
    assert all(row["holds"] for row in rows)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_load_step_drawn_at_random_is_borne_by_the_cheaper_variant_and_left_again(seed: int) -> None:
    outcome = outcome_of(Step.drawn(seed))
    assert (outcome.breaches, outcome.conserved) == (0, True)
    assert outcome.switches <= 2
    assert outcome.back_s <= BACK_S + GRACE_S
