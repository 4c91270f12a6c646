"""What is seen of a run again and again: that nothing is seen twice, and nothing goes back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from streamflow.recorder import layout
from tests.left_behind import BEGIN_NS, LeftBehind
from tools.monitor.log import Log
from tools.monitor.observation import Observation


@pytest.fixture
def run(tmp_path: Path) -> LeftBehind:
    return LeftBehind(tmp_path / "speech-4711-a0b1")


def put_on_disk(run: LeftBehind) -> None:
    """As the janitor does with what a killed run has in memory."""
    copied = run.folder.path / "recordings.partial"
    shutil.copytree(run.folder.recordings, copied)
    shutil.rmtree(run.folder.recordings)
    copied.rename(run.folder.recordings)


def numbers(log: Log) -> list[int]:
    log.read()
    return [event["number"] for event in reversed(log.events)]


def test_a_log_that_is_copied_is_read_on_from_where_it_was_read_to(run):
    log = Log(run.folder)
    run.event("one", 1, number=1)
    assert numbers(log) == [1]
    run.event("two", 2, number=2)
    with run.folder.events.open("a") as file:
        file.write('{"event": "three", "num')
    assert numbers(log) == [1, 2]
    put_on_disk(run)
    assert numbers(log) == [1, 2]
    run.line('ber": 3}')
    assert numbers(log) == [1, 2, 3]
    log.close()


def test_a_log_that_is_put_aside_goes_on_with_the_next_part(run):
    log = Log(run.folder)
    run.event("one", 1, number=1)
    assert numbers(log) == [1]
    run.event("two", 2, number=2)
    run.folder.events.rename(run.folder.events.with_name("events.1.jsonl"))
    run.event("three", 3, number=3)
    assert numbers(log) == [1, 2, 3]
    put_on_disk(run)
    assert numbers(log) == [1, 2, 3]
    log.close()


def test_a_killed_run_went_on_until_the_last_sign_of_life(run):
    run.state()
    run.recorders["vad"].set(layout.BEAT_NS, BEGIN_NS + 2_700_000_000)
    run.recorders["mic"].set(layout.BEAT_NS, BEGIN_NS + 2_650_000_000)
    observation = Observation(run.folder)
    assert observation.look().elapsed_s == pytest.approx(2.7)
    put_on_disk(run)
    assert observation.look().elapsed_s == pytest.approx(2.7)
    observation.close()
