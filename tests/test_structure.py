"""The shape of the source itself: layers, doors to foreign libraries, the public surface, and tidiness."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import streamflow

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ["streamflow", "nodes", "pipelines", "tools"]
LINE_COUNT_LIMIT = 450  # more is not read at one sitting
README_LINE_COUNT_LIMIT = 200


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def syntax_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """The top-level name of everything a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(syntax_of(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


def importers(library: str, *folders: str) -> set[str]:
    return {name_of(path) for path in modules(*folders) if library in imports(path)}


def test_imports_point_down() -> None:
    # In a process of its own: under pytest `tests` is on the path, and tests/nodes would count as nodes.
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    linter = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert linter.returncode == 0, linter.stdout + linter.stderr
    assert " 0 broken" in linter.stdout


def test_the_public_surface_is_what_is_listed_here() -> None:
    assert streamflow.__all__ == sorted(streamflow.__all__)
    assert set(streamflow.__all__) == {
        "Batch",
        "Criticality",
        "DeviceTensor",
        "Escalation",
        "Eviction",
        "Fill",
        "Flag",
        "OnDevice",
        "OnGap",
        "OnMiss",
        "Order",
        "RealTime",
        "Reseed",
        "Restart",
        "RestartStrategy",
        "In",
        "InputError",
        "Message",
        "MissingExtraError",
        "Node",
        "Out",
        "Output",
        "Overflow",
        "Pipeline",
        "PipelineError",
        "StateRules",
        "StateTensor",
        "StreamflowError",
        "Timing",
        "UsageError",
        "VariantStates",
        "WireError",
        "ms",
        "ns",
        "s",
        "us",
    }
    assert all(hasattr(streamflow, name) for name in streamflow.__all__)


@pytest.mark.parametrize("package", ["ingest", "preprocess", "infer", "postprocess"])
def test_nodes_are_imported_when_they_are_asked_for_and_not_before(package: str) -> None:
    command = (
        f"import sys, nodes.{package} as package; "
        "assert not [name for name in sys.modules if name.startswith(package.__name__ + '.')], 'imported at once'; "
        "assert set(package.__all__) <= set(dir(package)); "
        "[getattr(package, name) for name in package.__all__]"
    )
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_foreign_library_has_one_door() -> None:
    assert importers("zmq", "streamflow") == {"streamflow/transport/zmq_socket.py"}
    assert importers("msgpack", "streamflow") == {"streamflow/wire/values.py", "streamflow/runtime/process/control.py"}
    assert importers("zmq", "nodes", "pipelines") == set()
    assert importers("msgpack", "nodes", "pipelines") == set()
    assert importers("mcap", *SHIPPED) == {"nodes/mcap_files/reader.py", "nodes/mcap_files/writer.py"}
    assert importers("google", *SHIPPED) == {"nodes/mcap_files/schemas.py"}
    assert importers("cupy", *SHIPPED) == set()
    assert importers("torch", *SHIPPED) == {"nodes/infer/torch_model.py"}
    assert importers("prometheus_client", "streamflow") == {"streamflow/runtime/metrics_server.py"}
    assert importers("textual", *SHIPPED) == {"tools/monitor/app.py"}


def test_the_clicking_stays_in_the_command_line() -> None:
    commands = {"tools/bench/command.py", "tools/monitor/command.py"}  # found by entry points, like anybody else's
    found = importers("click", *SHIPPED) - commands
    assert all(path.startswith("streamflow/cli/") for path in found)


@pytest.mark.parametrize("library", ["pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve"])
def test_nothing_is_ever_pickled(library: str) -> None:
    assert importers(library, *SHIPPED, "tests") == set()


def test_every_module_opens_with_what_it_is_for() -> None:
    silent = [
        name_of(path) for path in modules(*SHIPPED, "tests") if not (ast.get_docstring(syntax_of(path)) or "").strip()
    ]
    assert silent == []


def test_every_module_is_read_at_one_sitting() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in modules(*SHIPPED)}
    assert {name: count for name, count in lengths.items() if count > LINE_COUNT_LIMIT} == {}


def test_nothing_is_left_to_do_in_the_source() -> None:
    mark = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX"]))
    left = [name_of(path) for path in modules(*SHIPPED, "tests") if mark.search(path.read_text())]
    assert left == []


def test_a_users_own_folders_merge_with_the_shipped_ones() -> None:
    assert [folder for folder in ("nodes", "pipelines", "tools") if (ROOT / folder / "__init__.py").exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINE_COUNT_LIMIT
