"""A graph in plain values is drawn as the graph itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamflow.core.drawing import as_dot, as_mermaid, as_text
from streamflow.core.portrait import as_values, from_values
from streamflow.core.svg import as_svg
from streamflow.runtime.loading.loader import Reference, load

PIPELINES = ["minimal", "host", "smoother"]


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("draw", [as_text, as_mermaid, as_dot, as_svg])
def test_a_portrait_is_drawn_as_the_pipeline_itself(name, draw):
    file = Path(__file__).parents[2] / "pipelines" / f"{name}.py"
    resolved = load(Reference(str(file), {})).resolved
    assert draw(from_values(json.loads(json.dumps(as_values(resolved))))) == draw(resolved)
