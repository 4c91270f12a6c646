"""Call the command line in this process, from a folder of the test's own, and leave Python as it was found."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from streamflow.cli.main import main

TESTS = Path(__file__).resolve().parent.parent
SMALL = """\
    from nodes.ingest import Tone
    from nodes.postprocess import JsonLines
    from streamflow import Pipeline

    def build(seconds: float = 0.32, out: str = "-") -> Pipeline:
        p = Pipeline("small")
        p.connect(p.add("tone", Tone(duration_s=seconds)).signal, p.add("log", JsonLines(out)))
        return p
"""


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
    """An empty working folder; its modules are forgotten, and the search path is put back, at the end."""
    # pytest puts the folders of the tests on the search path, where tests/nodes would merge with nodes.
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not Path(path).is_relative_to(TESTS)])
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
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
def small(write: Write) -> str:
    """The name of a pipeline in the working folder: a tone of ten chunks, written as JSON lines."""
    write("pipelines/small.py", SMALL)
    return "pipelines/small.py"


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
