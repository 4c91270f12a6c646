"""The claims of joins, shortened: they run, and hold where no time is measured."""

from __future__ import annotations

import json

import pytest

from tools.claims.framework import main
from tools.claims.rates_joins import CLAIMS


@pytest.mark.parametrize("name", ["approximate", "all joins", "a faulty sensor"])
def test_what_joins_promise_holds(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("rates", CLAIMS, ["--only", name, "--quick", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) >= 2
    assert all(row["holds"] for row in rows)
