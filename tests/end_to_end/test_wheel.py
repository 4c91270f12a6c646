"""A wheel built from the checkout works from an empty folder that has its own `nodes/` and `pipelines/`."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.end_to_end.project import Project

ROOT = Path(__file__).resolve().parent.parent.parent

MIXED = """
from nodes.own import Keep
from nodes.ingest import Tone
from nodes.preprocess import Rechunk


class Count(Node):
    data = In("float32[64]")
    count = Out("int64[]")

    def process(self, message):
        return np.int64(message.array.size)


def build() -> Pipeline:
    p = Pipeline("mixed")
    tone = p.add("tone", Tone(duration_s=1, rate_hz=1280, chunk=32))
    rechunk, count, sink = p.add("rechunk", Rechunk(64)), p.add("count", Count()), p.add("sink", Keep("kept.txt"))
    p.connect(tone.signal, rechunk)
    p.connect(rechunk, count)
    p.connect(count, sink)
    return p
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, from the checkout as it is."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", "-w", folder, ROOT], check=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `streamflow` command of a fresh environment that has the wheel, and else what this one has."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder)}))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", f"--python={folder / 'bin' / 'python'}"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True, timeout=120)
    # Only the dependencies: the checkout that this environment has installed must not stand in for the wheel.
    dependencies = folder / "dependencies"
    dependencies.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "streamflow" not in path.name and path.suffix != ".pth":
            (dependencies / path.name).symlink_to(path)
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    return folder / "bin" / "streamflow"


def test_the_wheel_has_the_package_the_nodes_the_pipelines_and_the_tools(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"streamflow/__init__.py", "streamflow/py.typed", "nodes/ingest/__init__.py", "pipelines/speech.py"} <= names
    assert any(name.startswith("tools/") for name in names)
    assert not names & {"nodes/__init__.py", "pipelines/__init__.py", "tools/__init__.py"}
    assert not [name for name in names if name.startswith("tests/") or name.endswith(".pyc")]


def test_own_nodes_and_pipelines_work_beside_the_shipped_ones(project: Project, installed: Path) -> None:
    reference = project.pipeline(MIXED)
    program = [str(installed)]
    ended = project.run(reference, "--offline", "--quiet", program=program)
    assert ended.code == 0, ended.stderr
    assert project.kept("kept.txt").numbers == [64] * 20
    shipped = project.run("pipelines.minimal", "--offline", "--inline", "--quiet", program=program)
    assert shipped.code == 0, shipped.stderr
    assert len(shipped.stdout.splitlines()) > 10
    listed = project.start("list", program=program).wait()
    assert listed.code == 0, listed.stderr
    assert "probe" in listed.stdout
    assert "minimal" in listed.stdout


def test_the_installed_program_is_the_wheel_s(project: Project, installed: Path) -> None:
    python = installed.with_name("python")
    where = project.start("-c", "import streamflow; print(streamflow.__file__)", program=[str(python)]).wait()
    assert Path(where.stdout.strip()).is_relative_to(installed.parent.parent)
