"""The project folder in which the runs of these tests happen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project folder; whatever a test runs in it must have left nothing behind."""
    project = Project(tmp_path)
    yield project
    project.assert_nothing_left()
