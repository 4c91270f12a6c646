"""Fixtures that any test may use."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# A maximum runtime of an example would only measure what else the machine is doing.
settings.register_profile("streamflow", deadline=None)
settings.load_profile("streamflow")

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """A shell has what it starts with `&` ignore Ctrl-C, and so would all that tests start and interrupt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: without them each look for garbage costs 1 ms instead of 60."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def recordings() -> Callable[[str], Path]:
    """The path of a real recording or model, or a skip that names what is missing."""
    folder = Path(os.environ.get("STREAMFLOW_DATA", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        path = folder / name
        if not path.parent.is_dir() or not list(path.parent.glob(path.name + "*")):
            pytest.skip(f"{name} is not there: set STREAMFLOW_DATA to the folder that has it")
        return path

    return find
