"""What the command line does not import before it is needed, and names that are there all the same."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import streamflow
from streamflow.cli.entry_points import find_entry_points
from streamflow.cli.run_pipeline import LINKS
from streamflow.runtime.supervision.run_options import LinkKind

HEAVY = {"numpy", "trio", "zmq", "msgpack", "importlib.metadata", "streamflow.pipeline", "streamflow.core.graph"}


def imported_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after that code."""
    program = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(ended.stderr)
    return set(found)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["record", "--help"], ["replay", "--help"]])
def test_help_is_told_without_what_a_run_needs(arguments: list[str]) -> None:
    code = f"from streamflow.cli.main import main\ntry:\n    main({arguments})\nexcept SystemExit: pass"
    assert imported_by(code) & HEAVY == set()


def test_to_name_one_thing_of_streamflow_is_not_to_import_all() -> None:
    found = imported_by("from streamflow import Overflow")
    assert "streamflow.core.overflow" in found
    assert found & HEAVY == set()


def test_every_public_name_is_found_and_listed_and_no_other() -> None:
    assert set(streamflow.__all__) <= set(dir(streamflow))
    for name in streamflow.__all__:
        assert getattr(streamflow, name) is getattr(streamflow, name)
    with pytest.raises(AttributeError, match="no attribute 'Pipelines'"):
        _ = streamflow.Pipelines  # type: ignore[attr-defined]


def test_run_offers_every_link_there_is() -> None:
    assert list(LINKS) == [kind.value for kind in LinkKind]


def test_the_first_of_two_distributions_with_a_command_of_the_same_name_counts(tmp_path, monkeypatch) -> None:
    for folder, module in (("first", "one"), ("second", "two")):
        info = tmp_path / folder / "plugin-1.0.dist-info"
        info.mkdir(parents=True)
        lines = ["[console_scripts]", "x = y:z", "[streamflow.commands]", "# ours", f"say = {module}:command [extra]"]
        (info / "entry_points.txt").write_text("\n".join([*lines, "", "[other]", "say = three:command"]))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none"), str(tmp_path / "first"), str(tmp_path / "second")])
    assert {name: entry.value for name, entry in find_entry_points().items()} == {"say": "one:command"}
