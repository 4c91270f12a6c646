"""A run can be read by anyone, live or dead, whatever state its files are in."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamflow.errors import StreamflowError
from streamflow.runtime.clock import now_ns
from streamflow.runtime.inspection import LoggedEvents, older_events, open_recordings, read_state
from streamflow.runtime.rundir import OwnedRunFolder
from tests.left_behind import STAGES, LeftBehind


@pytest.fixture
def run(tmp_path: Path) -> LeftBehind:
    return LeftBehind(tmp_path / "run")


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnedRunFolder]:
    base = Path(tempfile.mkdtemp(prefix="sf", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    folder = OwnedRunFolder("speech")
    folder.describe({"pipeline": "speech"})
    yield folder
    folder.close()
    shutil.rmtree(base)


def test_events_are_read_in_the_order_in_which_they_were_written(run):
    run.event("started", 0)
    run.miss(1, 10)
    assert [event["event"] for event in LoggedEvents(run.folder)] == ["started", "miss"]


def test_a_run_that_wrote_no_log_has_no_events(run):
    assert list(LoggedEvents(run.folder)) == []


def test_a_log_that_was_put_aside_comes_first(run):
    run.miss(1, 10)
    run.folder.events.rename(older_events(run.folder))
    run.miss(2, 20)
    log = LoggedEvents(run.folder)
    assert [event["seq"] for event in log] == [1, 2]
    assert log.is_cut


def test_a_log_that_is_put_aside_between_the_two_files_being_opened_is_read_once(run, monkeypatch):
    run.miss(1, 10)
    opened = []
    real_open = Path.open

    def put_aside_after_the_first(path, *arguments, **options):
        file = real_open(path, *arguments, **options)
        opened.append(path)
        if len(opened) == 1:
            run.folder.events.rename(older_events(run.folder))
            run.miss(2, 20)
        return file

    monkeypatch.setattr(Path, "open", put_aside_after_the_first)
    assert [event["seq"] for event in LoggedEvents(run.folder)] == [1, 2]


@pytest.mark.parametrize("damage", ["{", "[]", '{"event": "miss"}', '{"at_ns": "1", "event": "miss"}', "\x00\xff", "7"])
def test_a_line_that_is_no_event_is_counted_and_passed_over(run, damage):
    run.miss(1, 10)
    run.line(damage)
    run.miss(2, 20)
    log = LoggedEvents(run.folder)
    assert [event["seq"] for event in log] == [1, 2]
    assert log.damaged_count == 1


def test_a_line_cut_off_by_a_kill_is_damaged(run):
    run.miss(1, 10)
    with run.folder.events.open("a") as file:
        file.write('{"at_ns": 1, "eve')
    log = LoggedEvents(run.folder)
    assert len(list(log)) == 1
    assert log.damaged_count == 1


def test_the_line_that_a_live_run_is_writing_is_not_damaged(live):
    live.events.write_text('{"at_ns": 1, "event": "started"}\n{"at_ns": 2, "eve')
    log = LoggedEvents(live)
    assert len(list(log)) == 1
    assert log.damaged_count == 0


def test_the_state_of_a_live_run_is_as_old_as_its_stamp_says(live):
    live.state.write_text(json.dumps({"at_ns": now_ns() - 3_000_000_000}))
    state = read_state(live)
    assert state.is_live
    assert state.age_s >= 3.0


def test_the_state_of_a_dead_run_is_as_old_as_the_wall_clock_says(run):
    run.state(at="2020-01-01T00:00:00.000+00:00")
    state = read_state(run.folder)
    assert not state.is_live
    assert state.age_s > 365 * 24 * 3600


@pytest.mark.parametrize("text", [None, "", "{", "[]"])
def test_a_state_that_is_not_there_or_damaged_is_one_sentence(run, text):
    if text is not None:
        run.folder.state.write_text(text)
    with pytest.raises(StreamflowError):
        read_state(run.folder)


def test_every_recorder_is_opened_by_its_stage(run):
    found = open_recordings(run.folder)
    assert set(found.by_stage) == set(STAGES)
    assert found.streams == STAGES
    assert found.faults == []
    found.close()


def test_missing_and_torn_recorders_are_named_and_the_rest_is_read(run):
    run.folder.recording("mic").unlink()
    run.folder.recording("log").write_bytes(b"SFLO")
    found = open_recordings(run.folder)
    assert set(found.by_stage) == {"vad"}
    assert len(found.faults) == 2
    assert any("log.rec" in fault for fault in found.faults)
    assert "stage mic: it has no recorder" in found.faults
    found.close()


def test_a_run_without_any_recorder_is_one_sentence(run):
    for name in STAGES:
        run.folder.recording(name).unlink()
    with pytest.raises(StreamflowError, match="no flight recorder"):
        open_recordings(run.folder)
