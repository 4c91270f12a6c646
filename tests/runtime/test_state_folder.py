"""The folder of `--state`: one run at a time, what it says of its clocks, and what the next one makes of that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamflow import StateTensor, StreamflowError, UsageError, s
from streamflow.core.gaps import NO_SEQ, NO_TIME_NS
from streamflow.core.graph import Graph, StageDef
from streamflow.memory.snapshots import Snapshots
from streamflow.memory.states import States
from streamflow.runtime.clock import Instants, instants
from streamflow.runtime.rundir import RunFolder
from streamflow.runtime.state_folder import Provenance, StateFolder, provenance, take_up
from streamflow.runtime.supervision.run_options import RunOptions
from streamflow.runtime.supervision.snapshotting import Snapshotting

LAYOUT = (StateTensor("h", "float32", (2,)),)
THEN = Provenance("speech", False, Instants("boot 1", 1000 * s, 5_000_000 * s))


@pytest.fixture
def states(tmp_path: Path) -> Iterator[States]:
    """Stream a, stepped with datum 5 at 900 s, in the run's folder."""
    run = tmp_path / "run" / "recordings"
    run.mkdir(parents=True)
    states = States(run / "vad.states", LAYOUT, 4)
    states.assign(0, "a")
    states.commit([0], [np.ones((1, 2), np.float32)], [5], [900 * s])
    yield states
    states.close()


def taken_up(tmp_path: Path, now: Provenance) -> tuple[tuple[int, int], list[str]]:
    states, told = take_up(tmp_path / "kept", "vad", now, tmp_path / "new.states", LAYOUT, 4)
    last = states.last(0) if states.streams() else (NO_SEQ, NO_TIME_NS)
    states.close()
    return last, told


@pytest.mark.parametrize(
    ("now", "event_time_ns"),
    [
        (replace(THEN, taken=Instants("boot 1", 1500 * s, 9 * s)), 900 * s),
        (replace(THEN, taken=Instants("boot 2", 40 * s, 5_000_300 * s)), (40 - 300 - 100) * s),
        (replace(THEN, has_recorded_time=True), NO_TIME_NS),
    ],
)
def test_event_times_are_moved_to_the_clock_of_this_boot_and_numbers_begin_anew(
    states: States, tmp_path: Path, now: Provenance, event_time_ns: int
) -> None:
    Snapshots(tmp_path / "kept", "vad").write(states, THEN.about())
    last, told = taken_up(tmp_path, now)
    assert last == (NO_SEQ, event_time_ns)
    (sentence,) = told
    assert sentence.startswith(
        f"stage vad: its state goes on from {tmp_path}/kept/vad.000000000001.snapshot (1 stream, of "
    )


def test_recorded_time_is_of_no_boot(states: States, tmp_path: Path) -> None:
    then = replace(THEN, has_recorded_time=True)
    Snapshots(tmp_path / "kept", "vad").write(states, then.about())
    now = replace(then, taken=Instants("boot 2", 40 * s, 5_000_300 * s))
    assert taken_up(tmp_path, now)[0] == (NO_SEQ, 900 * s)


def test_what_is_of_another_pipeline_or_does_not_say_is_refused(states: States, tmp_path: Path) -> None:
    Snapshots(tmp_path / "kept", "vad").write(states, THEN.about())
    with pytest.raises(StreamflowError, match="of pipeline speech, expected one of other; name another folder"):
        taken_up(tmp_path, replace(THEN, pipeline="other"))
    Snapshots(tmp_path / "kept", "vad").write(states, {"pipeline": "speech"})
    with pytest.raises(StreamflowError, match="does not say when it was taken"):
        taken_up(tmp_path, THEN)
    assert not (tmp_path / "new.states").exists()


def test_where_nothing_is_kept_it_says_that_states_begin_anew(tmp_path: Path) -> None:
    last, told = taken_up(tmp_path, THEN)
    assert last == (NO_SEQ, NO_TIME_NS)
    assert told == [f"stage vad: its state begins anew, nothing of it that is whole is in {tmp_path}/kept"]


def test_both_clocks_are_read_at_one_instant() -> None:
    first, second = instants(), instants()
    assert first.boot == second.boot != ""
    assert provenance("x", has_recorded_time=False).shift_ns(provenance("x", has_recorded_time=False)) == 0
    drift_ns = (second.monotonic_ns - first.monotonic_ns) - (second.wall_ns - first.wall_ns)
    assert abs(drift_ns) < s


def test_a_folder_is_one_run_s_at_a_time_and_free_when_that_was_killed(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from streamflow.runtime.state_folder import StateFolder; "
        "folder = StateFolder(Path(sys.argv[1])); print('held', flush=True); time.sleep(1000)"
    )
    path = tmp_path / "kept" / "here"
    holder = subprocess.Popen([sys.executable, "-c", hold, path], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="another run keeps its states there"):
            StateFolder(path)
        holder.kill()
    StateFolder(path).close()


def test_a_place_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used: Not a directory"):
        StateFolder(tmp_path / "file" / "kept")


def snapshotting(tmp_path: Path, kept: Path | None) -> Snapshotting:
    graph = Graph("speech", (StageDef("mic", "", "mic", {}, {}), StageDef("vad", "", "vad", {}, {})), ())
    return Snapshotting(RunOptions(state=kept), graph, RunFolder(tmp_path / "run"))


def test_the_end_of_a_run_is_kept_and_no_more_than_what_is_new(states: States, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    running = snapshotting(tmp_path, kept)
    assert running.finish() == ""
    assert sorted(path.name for path in kept.iterdir()) == ["lock", "vad.000000000001.snapshot"]
    found = Snapshots(kept, "vad").newest().snapshot
    assert found is not None
    assert Provenance.of(found).pipeline == "speech"
    assert found.streams[0].seq == 5


def test_what_has_not_changed_is_not_written_again(states: States, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    running = snapshotting(tmp_path, kept)
    for count in (1, 1, 2):
        if count == 2:
            states.commit([0], [np.ones((1, 2), np.float32)], [6], [901 * s])
        assert running._write() == []
        assert len(list(kept.glob("*.snapshot"))) == count
    assert running.finish() == ""
    assert len(list(kept.glob("*.snapshot"))) == 2


def test_what_cannot_be_written_is_told_once_and_at_the_end(states: States, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    running = snapshotting(tmp_path, kept)
    (kept / "vad.snapshot.partial").mkdir()  # what was to be written first cannot be
    for _ in range(2):
        running._faults += running._write()
    (sentence,) = set(running.faults())
    assert "vad.000000000001.snapshot: cannot be written" in sentence
    assert running.faults() == []
    assert running.finish() == sentence


def test_a_run_that_is_not_to_keep_states_does_nothing(states: States, tmp_path: Path) -> None:
    running = snapshotting(tmp_path, None)
    assert running.faults() == []
    assert running.finish() == ""
    assert not (tmp_path / "kept").exists()
