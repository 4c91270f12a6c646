"""The project folder in which the runs of these tests happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.end_to_end.project import Project, Started

StartTogether = Callable[[str, Mapping[str, Sequence[object]]], dict[str, Started]]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project folder; whatever a test runs in it must have left nothing behind."""
    project = Project(tmp_path)
    yield project
    project.assert_nothing_left()


@pytest.fixture(scope="module")
def start_together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartTogether]:
    """Start one pipeline with several sets of options at once, each in a project of its own: they mostly wait."""
    projects: list[Project] = []

    def start(body: str, variants: Mapping[str, Sequence[object]]) -> dict[str, Started]:
        started = {}
        for name, options in variants.items():
            project = Project(tmp_path_factory.mktemp(name))
            projects.append(project)
            started[name] = Started(project, project.start("run", project.pipeline(body), *options))
        return started

    yield start
    for project in projects:
        project.assert_nothing_left()
