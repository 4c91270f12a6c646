"""Call the command line in this process, from a folder of the test's own, and leave Python as it was found."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from streamflow.cli.main import main


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def sentences(self) -> list[str]:
        return self.err.splitlines()


Command = Callable[..., Ended]
Write = Callable[[str, str], Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; modules and search path are put back at the end."""
    modules = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - set(modules):
        if name.partition(".")[0] in ("pipelines", "nodes", "plugin") or "." not in name:
            del sys.modules[name]


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a file below the working folder."""

    def write(name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    return write


@pytest.fixture
def streamflow(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """`streamflow("check", "pipelines/x.py")`, as the console script calls it."""

    def call(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, captured.out, captured.err)

    return call
