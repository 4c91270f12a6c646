"""The claims of pipelines with GPU stages, shortened and on the host: they run, and hold where no time is measured."""

from __future__ import annotations

import json

import pytest

from tools.claims.framework import main
from tools.claims.gpu_pipelines import ON_THE_HOST


@pytest.mark.parametrize("name", [claim.name for claim in ON_THE_HOST])
def test_what_is_claimed_of_a_gpu_can_be_run_on_the_host(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("gpu", ON_THE_HOST, ["--only", name, "--quick", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) >= 4
    assert any(row["holds"] for row in rows)
