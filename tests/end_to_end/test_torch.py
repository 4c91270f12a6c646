"""A PyTorch model in real processes: copies of one that has imported torch, which compute, die and come again."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.end_to_end.project import Project

PIPELINE = """
    import os
    from pathlib import Path
    from nodes.infer import TorchModel

    mark = Path({mark!r})

    def make():
        import torch
        weights = torch.eye(64, dtype=torch.float64) * 2

        def double(x):
            if x.max() >= 150 and not mark.exists():
                mark.touch()
                os._exit(9)
            return (x.double().reshape(-1, 1).expand(-1, 64) @ weights)[:, 0].to(torch.int64)

        return double

    def build():
        p = Pipeline("torch")
        numbers = p.add("numbers", Numbers(300, rate_hz=500.0))
        model = TorchModel(make, input="int64[]", output="int64[]", threads=2)
        work = p.add("work", model, device={device!r})
        keep = p.add("keep", Keep("kept"))
        p.connect(numbers, work, capacity=64)
        p.connect(work, keep, capacity=64)
        return p
"""


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: pip install 'streamflow[torch]'")
@pytest.mark.parametrize("device", [None, "host"])
def test_it_computes_in_each_life_of_its_stage(project: Project, device: str | None) -> None:
    pipeline = project.pipeline(PIPELINE.format(mark=str(project.folder / "mark"), device=device))
    report = project.report(pipeline)
    work = report["stages"]["work"]
    assert work["restarts"] == 1
    assert work["device"] == device
    assert report["conserved"] is True
    numbers = project.kept("kept").numbers
    assert numbers == sorted(numbers)
    assert set(numbers) <= {2 * number for number in range(300)}
    assert 200 < len(numbers) < 300, "what was in hand and on its way was lost"
