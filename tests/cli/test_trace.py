"""`streamflow trace` writes what a run did last, live or dead, for Perfetto."""

from __future__ import annotations

import json

import pytest

from tests.left_behind import LeftBehind


@pytest.fixture
def run(folder) -> LeftBehind:
    return LeftBehind(folder / "run")


def test_the_trace_of_a_dead_run_is_written_and_can_be_loaded(streamflow, run, folder):
    run.state()
    for seq in range(5):
        run.passed(seq, 10 * seq)
    ended = streamflow("trace", "run", "out.json")
    assert (ended.code, ended.out) == (0, "")
    loaded = json.loads((folder / "out.json").read_text())
    assert loaded["otherData"]["pipeline"] == "speech"
    assert sum(event["ph"] == "f" for event in loaded["traceEvents"]) == 5
    count = len(loaded["traceEvents"])
    assert ended.sentences == ["run run was killed", f"{count} events of 3 stages written to out.json"]


def test_stages_whose_recorder_is_torn_or_missing_are_named_and_left_out(streamflow, run):
    run.passed(0, 0)
    run.folder.recording("mic").unlink()
    run.folder.recording("log").write_bytes(b"")
    ended = streamflow("trace", "run", "out.json")
    assert ended.code == 0
    assert "note: left out, stage mic: it has no recorder" in ended.sentences
    assert any("log.rec: it is empty" in sentence for sentence in ended.sentences)
    assert "of 1 stages written" in ended.sentences[-1]


def test_a_run_that_wrote_no_state_and_no_log_can_be_traced(streamflow, run):
    run.passed(0, 0)
    assert streamflow("trace", "run", "out.json").code == 0


def test_more_than_one_run_is_refused(streamflow, run):
    ended = streamflow("trace", "run", "other", "out.json")
    assert ended.code == 2
    assert "at most one" in ended.err


def test_a_file_that_cannot_be_written_is_one_sentence(streamflow, run):
    run.passed(0, 0)
    ended = streamflow("trace", "run", "none/out.json")
    assert ended.code == 2
    assert ended.sentences == ["streamflow: none/out.json: cannot be written: No such file or directory"]
