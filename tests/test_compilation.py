"""The hot path runs compiled while what was compiled is of these sources and for this Python, or from its sources."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from streamflow import compilation
from tools import compile as compiling

LISTED = [".".join(path.relative_to(compiling.ROOT).with_suffix("").parts) for path in compiling.sources()]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two sources, and what was made of them."""
    for name in ("one", "other"):
        (tmp_path / f"{name}.py").write_text(f"NAME = '{name}'\n")
        (tmp_path / f"{name}{EXTENSION_SUFFIXES[0]}").touch()
    made_of = {f"{name}.py": compilation.checksum(tmp_path / f"{name}.py") for name in ("one", "other")}
    (tmp_path / "compiled.json").write_text(json.dumps({"sources": made_of}))
    return tmp_path


@pytest.fixture
def why_not(tree: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(compilation.VARIABLE, raising=False)
    return lambda: compilation.why_not(tree / "compiled.json", tree)


def test_what_is_of_these_sources_is_used(why_not) -> None:
    assert why_not() == ""


def test_a_source_that_has_changed_puts_all_of_it_aside(tree: Path, why_not) -> None:
    (tree / "other.py").write_text("NAME = 'changed'\n")
    assert why_not() == "other.py has changed since it was compiled"


def test_what_is_for_another_python_is_not_used(tree: Path, why_not) -> None:
    (tree / f"other{EXTENSION_SUFFIXES[0]}").unlink()
    assert why_not() == "it was compiled for another Python"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"sources": 3}'])
def test_what_cannot_be_read_is_not_used(tree: Path, why_not, text: str) -> None:
    (tree / "compiled.json").write_text(text)
    assert why_not() == "what was compiled cannot be read"


def test_without_a_compiler_there_is_nothing(tree: Path, why_not) -> None:
    (tree / "compiled.json").unlink()
    assert why_not() == compilation.NOTHING


@pytest.mark.parametrize("word", ["no", "0", "off", "False"])
def test_the_environment_may_say_no(why_not, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv(compilation.VARIABLE, word)
    assert why_not() == "STREAMFLOW_COMPILED says no"


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_module_comes_from_where_it_is_said_to(name: str) -> None:
    origin = importlib.import_module(name).__file__
    assert origin is not None
    assert origin.endswith(".py" if compilation.reason else EXTENSION_SUFFIXES[0])


def test_a_process_runs_all_of_it_from_sources_where_that_is_said() -> None:
    names = ", ".join(LISTED)
    command = f"import sys, {names}; print(*(sys.modules[name].__file__ for name in {LISTED}), sep='\\n')"
    environment = os.environ | {compilation.VARIABLE: "no"}
    ended = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [str(path) for path in compiling.sources()]


def test_what_compiling_needs_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    with pytest.raises(compiling.CannotCompileError, match=r"no C compiler \(no-such-compiler\); apt install gcc"):
        compiling.require_tools()
    monkeypatch.setenv("CC", sys.executable)
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/no/such/folder")
    with pytest.raises(compiling.CannotCompileError, match="headers are missing; apt install python3-dev"):
        compiling.require_tools()


def test_where_it_cannot_be_compiled_that_is_said_and_nothing_is_left(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(compiling, "ROOT", tree)
    monkeypatch.setattr(compiling, "MANIFEST", tree / "compiled.json")
    (tree / "pyproject.toml").write_text('[tool.streamflow]\ncompiled = ["one", "other"]\n')
    assert not compiling.compile_all()
    assert "streamflow will run from its sources, slower: there is no C compiler" in capsys.readouterr().err
    assert sorted(path.name for path in tree.iterdir()) == ["one.py", "other.py", "pyproject.toml"]


def test_what_installs_for_sources_compiles_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compilation.VARIABLE, "no")
    monkeypatch.setattr(compiling, "compile_all", lambda: pytest.fail("it was compiled"))
    data: dict[str, object] = {}
    compiling.CompileHook(str(tree), {}, None, None, str(tree), "wheel").initialize("editable", data)
    assert data == {}
