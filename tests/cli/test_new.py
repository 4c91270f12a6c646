"""`streamflow new` makes a project that works at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("streamflow")


@pytest.fixture
def project(streamflow, folder) -> Path:
    ended = streamflow("new", "mine")
    assert ended.code == 0
    assert "streamflow run pipelines/hello.py" in ended.out
    return folder / "mine"


def test_its_pipeline_runs_and_its_tests_pass_in_processes_of_their_own(project):
    arguments = ["run", "pipelines/hello.py", "--set", "seconds=1", "--offline", "--quiet"]
    run = subprocess.run([SCRIPT, *arguments], cwd=project, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line["level_db"] for line in lines] == pytest.approx([-3.0103, -3.0103], abs=1e-3)

    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    test = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert test.returncode == 0, test.stdout
    assert "3 passed" in test.stdout


def test_its_folders_merge_with_the_shipped_ones(project, streamflow, monkeypatch):
    assert not list(project.rglob("__init__.py"))
    monkeypatch.chdir(project)
    listed = streamflow("list").out
    assert "  pipelines/hello.py " in listed
    assert "  nodes.level.Level " in listed
    assert "  nodes.ingest.WavFile " in listed


def test_nothing_of_the_templates_is_left_open(project):
    files = [path for path in project.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".py", ".md", ".toml"}
    for path in files:
        assert "$" not in path.read_text()
    assert (project / "README.md").read_text().startswith("# mine\n")


def test_an_empty_folder_is_taken(streamflow, folder):
    assert streamflow("new", ".").code == 0
    assert (folder / "pipelines" / "hello.py").is_file()


def test_a_folder_with_something_in_it_is_refused_and_left_alone(streamflow, write, folder):
    write("full/precious.txt", "words")
    ended = streamflow("new", "full")
    assert ended.code == 2
    assert ended.sentences == ["streamflow: full: a folder with something in it, expected a new or an empty one"]
    assert [path.name for path in (folder / "full").iterdir()] == ["precious.txt"]


def test_a_file_is_refused(streamflow, write):
    write("words", "words")
    ended = streamflow("new", "words")
    assert ended.code == 2
    assert ended.sentences == ["streamflow: words: a file, expected a new or an empty folder"]


def test_a_place_below_a_file_is_refused(streamflow, write):
    write("words", "words")
    ended = streamflow("new", "words/mine")
    assert ended.code == 2
    assert ended.sentences == ["streamflow: words/mine: cannot be made: Not a directory"]


def test_folders_above_it_are_made(streamflow, folder):
    assert streamflow("new", "a/b").code == 0
    assert (folder / "a" / "b" / "nodes" / "level.py").is_file()
