"""`streamflow misses` tells the last missed deadlines of a run, live or dead."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from streamflow.runtime.inspection import older_events
from tests.left_behind import LeftBehind


@pytest.fixture
def run(folder) -> LeftBehind:
    return LeftBehind(folder / "run")


def data(ended) -> list[str]:
    return [line.split()[2] for line in ended.out.splitlines() if not line.startswith(" ")]


def test_each_miss_is_a_line_and_its_timeline(streamflow, run):
    run.miss(7, 1500)
    ended = streamflow("misses", "run")
    assert ended.code == 0
    head, timeline = ended.out.splitlines()
    assert head.split()[1:] == ["speech", "mic#7", "4.2", "ms", "late", "so", "far", "service", "vad"]
    assert head.split()[0].endswith("01.500")
    assert timeline == "    mic 0.3 | wire 0.2 | vad 7.0"


def test_what_was_given_up_before_its_deadline_is_not_told_as_late(streamflow, run):
    run.miss(7, 1500, late_ms=-19.4)
    assert "  given up 19.4 ms before its deadline  service vad" in streamflow("misses", "run").out


def test_whether_the_run_is_dead_and_how_many_there_were_is_told_on_stderr(streamflow, run):
    run.miss(1, 10)
    run.miss(2, 20)
    assert streamflow("misses", "run").sentences == ["run run was killed, 2 deadlines missed"]


def test_when_none_was_missed_that_is_told(streamflow, run):
    run.event("started", 0)
    ended = streamflow("misses", "run")
    assert (ended.code, ended.out) == (0, "no deadline was missed\n")


def test_the_last_are_told_the_newest_last(streamflow, run):
    for seq in range(30):
        run.miss(seq, seq)
    assert data(streamflow("misses", "run", "-n", "2")) == ["mic#28", "mic#29"]
    assert len(data(streamflow("misses", "run"))) == 20


def test_they_can_be_chosen_by_path_culprit_and_stage(streamflow, run):
    run.miss(1, 10, culprit="service", stage="vad")
    run.miss(2, 20, culprit="mailbox wait", stage="vad")
    run.miss(3, 30, culprit="service", stage="log")
    run.miss(4, 40, culprit="service", stage="log", path="other")
    assert data(streamflow("misses", "run", "--culprit", "mailbox wait")) == ["mic#2"]
    assert data(streamflow("misses", "run", "--stage", "log")) == ["mic#3", "mic#4"]
    assert data(streamflow("misses", "run", "--stage", "log", "--path", "speech")) == ["mic#3"]
    assert streamflow("misses", "run", "--path", "none").out == "none of them is as asked for\n"


def test_of_a_dead_run_since_counts_back_from_its_end(streamflow, run):
    run.miss(1, 1000)
    run.miss(2, 5000)
    run.event("ended", 6000, how="killed")
    assert data(streamflow("misses", "run", "--since", "2")) == ["mic#2"]


def test_a_culprit_that_there_is_not_is_refused(streamflow, run):
    ended = streamflow("misses", "run", "--culprit", "vad")
    assert ended.code == 2
    assert len(ended.sentences) == 1
    assert "mailbox wait" in ended.err


def test_a_deadline_and_a_stage_that_there_are_not_are_refused_with_those_that_there_are(streamflow, run):
    names = [{"name": "mic"}, {"name": "vad"}]
    run.folder.describe({"pipeline": "speech", "graph": {"stages": names, "deadlines": [{"name": "speech"}]}})
    run.miss(1, 10)
    assert data(streamflow("misses", "run", "--stage", "vad", "--path", "speech")) == ["mic#1"]
    ended = streamflow("misses", "run", "--stage", "nostage")
    assert (ended.code, ended.out) == (2, "")
    assert ended.sentences == ["streamflow: --stage nostage: run run has no such stage, expected one of mic, vad"]
    ended = streamflow("misses", "run", "--path", "nopath")
    assert (ended.code, ended.out) == (2, "")
    assert ended.sentences == ["streamflow: --path nopath: run run has no such deadline, expected one of speech"]


def test_the_sentence_about_the_culprit_stands_above_the_timeline(streamflow, run):
    sentence = "service at vad took 22.9 ms (usual 0.7), behind accel#29338"
    run.event("miss", 10, path="speech", stream="mic", seq=1, sentence=sentence, timeline="mic 0.3 | vad 22.9")
    assert streamflow("misses", "run").out.splitlines()[1:] == [f"    {sentence}", "    mic 0.3 | vad 22.9"]


def test_a_log_that_was_put_aside_is_followed(streamflow, run):
    run.miss(1, 10)
    run.folder.events.rename(older_events(run.folder))
    run.miss(2, 20)
    assert data(streamflow("misses", "run")) == ["mic#1", "mic#2"]


def test_what_the_log_no_longer_has_is_told_by_the_accounts(streamflow, run):
    run.state()
    run.miss(1, 10)
    run.folder.events.rename(older_events(run.folder))
    run.miss(2, 20)
    (sentence,) = streamflow("misses", "run").sentences
    assert sentence == "run run was killed, 15 deadlines missed, the log goes back over the last 2"


def test_damaged_lines_are_counted_and_passed_over(streamflow, run):
    run.miss(1, 10)
    run.line("{")
    ended = streamflow("misses", "run")
    assert data(ended) == ["mic#1"]
    assert ended.sentences[1] == "note: 1 damaged lines of its log were passed over"


def test_a_miss_that_lacks_what_another_version_did_not_write_is_told_all_the_same(streamflow, run):
    run.event("miss", 10)
    assert "?#?" in streamflow("misses", "run").out


def test_json_has_the_events_as_they_are(streamflow, run):
    run.miss(1, 10)
    run.miss(2, 20)
    found = json.loads(streamflow("misses", "run", "-n", "1", "--json").out)
    assert (found["pipeline"], found["is_live"], found["missed"], found["damaged_lines"]) == ("speech", False, 2, 0)
    assert [miss["seq"] for miss in found["misses"]] == [2]
    assert found["misses"][0]["event"] == "miss"


def test_a_run_that_is_not_there_is_a_usage_error(streamflow, folder):
    assert streamflow("misses", "none").code == 2


def test_a_closed_standard_output_ends_it_without_a_word(run):
    for seq in range(2000):
        run.miss(seq, seq)
    command = [sys.executable, "-m", "streamflow", "misses", run.path, "-n", "2000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read().splitlines()
    process.stderr.close()
    assert process.wait() == 141
    assert errors == ["run run was killed, 2,000 deadlines missed"]
