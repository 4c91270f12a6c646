"""Recordings of real runs: replayed they give the same outputs; a recorder in trouble is trouble for nobody else."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from nodes.mcap_files.reader import McapRecording, open_recording
from tests.end_to_end.project import Ended, Project, eventually

JOINED = """
from nodes.ingest import ImuMotion, MovingShapes
from nodes.postprocess import JsonLines, NumpyWriter
from streamflow import OnMiss, ms
from streamflow.joins import Settled

class Fuse(Node):
    camera = In("uint8[height, width, 3]")
    imu = In("float32[rows, 6]")
    out = Out("float64[7]")

    def process(self, *, camera, imu):
        motion = np.full(6, np.nan) if imu is None else imu.array[-1].astype(np.float64)
        return np.array([camera.array.astype(np.int64).sum(), *motion])

def build(seconds: float = 0.6, height: int = 120, out: str = "out") -> Pipeline:
    p = Pipeline("joined")
    camera = p.add("camera", MovingShapes(width=height * 2, height=height, duration_s=seconds))
    imu = p.add("imu", ImuMotion(duration_s=seconds))
    fuse = p.add("fuse", Fuse(), join=Settled(trigger="camera"))
    p.connect(camera.signal, fuse.camera)
    p.connect(imu.signal, fuse.imu)
    log = p.add("log", JsonLines(f"{out}.jsonl", attributes=("frame", "camera_state", "imu_state", "imu_age_ms")))
    p.connect(fuse, log)
    p.connect(camera.signal, p.add("frames", NumpyWriter(f"{out}.frames.npy")))
    p.connect(fuse, p.add("fused", NumpyWriter(f"{out}.fused.npy")))
    p.deadline("situation", camera, log, within=400 * ms)
    return p
"""
OUTPUTS = (".jsonl", ".frames.npy", ".fused.npy")


def command(project: Project, *arguments: object, code: int = 0) -> Ended:
    ended = project.start(*arguments, "--quiet").wait()
    assert ended.code == code, ended.stderr
    return ended


def together(project: Project, *commands: list[object]) -> None:
    """They mostly wait."""
    for started in [project.start(*arguments, "--quiet") for arguments in commands]:
        ended = started.wait()
        assert ended.code == 0, ended.stderr


def assert_same_outputs(project: Project, then: str, now: str) -> None:
    for ending in OUTPUTS:
        former, latter = ((project.folder / f"{out}{ending}").read_bytes() for out in (then, now))
        assert len(former) > 1000
        assert former == latter, ending


def counted(report: dict) -> dict[str, int]:
    """What was offered to the recorder, by output, as the run's own accounts have it."""
    edges = {name: edge for name, edge in report["edges"].items() if "->recorder." in name}
    return {name.partition("->")[0]: edge["sent"] for name, edge in edges.items()}


def assert_all_counted(recording: McapRecording, offered: dict[str, int]) -> None:
    """Whatever was offered is in the file, or is counted in it with a reason."""
    told = {one["output"]: one for one in recording.losses["outputs"]}
    for name, count in offered.items():
        kept = recording.outputs[name].count
        assert (told[name]["offered"], told[name]["kept"]) == (count, kept)
        assert kept + sum(told[name]["reasons"].values()) == count


def test_a_recorded_run_replayed_offline_gives_the_same_outputs_bit_for_bit(project: Project) -> None:
    """From its sensors; and from a stage between, with the one sensor that somebody needs beside it."""
    pipeline = project.pipeline(JOINED)
    edges = ("--edges", "camera.signal,imu.signal", "--edges", "fuse")
    command(project, "record", pipeline, "a.mcap", "--offline", "--set", "out=then", "--link", "direct", *edges)
    offline = ("replay", pipeline, "a.mcap", "--offline")
    together(project, [*offline, "--set", "out=now", "--edges", "camera,imu"], [*offline, "--set", "out=later"])
    assert_same_outputs(project, "then", "now")
    assert_same_outputs(project, "then", "later")


def test_a_live_run_replayed_offline_gives_the_same_outputs_bit_for_bit(project: Project) -> None:
    """By event time alone its join makes its rows, so nothing here depends on how long a datum was on its way."""
    pipeline = project.pipeline(JOINED)
    report = project.folder / "report.json"
    live = ("record", pipeline, "live.mcap", "--set", "out=live", "--report", report, "--compression", "zstd")
    command(project, *live)
    told = json.loads(report.read_text())
    assert not any(edge["dropped"] or edge["lost"] for edge in told["edges"].values())
    assert told["recording"]["kept"] == told["recording"]["offered"] == 276
    recording = open_recording(project.folder / "live.mcap")
    times = [message.event_time_ns for _, message in recording.messages(["imu.signal"])]
    assert {later - former for former, later in pairwise(times)} == {5_000_000}
    assert int(recording.about["begun_monotonic_ns"]) < times[0] < time.monotonic_ns()
    replay = ("replay", pipeline, "live.mcap", "--set")
    together(project, [*replay, "out=replayed", "--offline"], [*replay, "out=paced"])
    assert_same_outputs(project, "live", "replayed")
    assert_same_outputs(project, "live", "paced")


def test_the_shipped_minimal_pipeline_is_recorded_and_replayed(project: Project) -> None:
    then = command(project, "record", "pipelines.minimal", "a.mcap", "--offline")
    now = command(project, "replay", "pipelines.minimal", "a.mcap", "--offline")
    assert len(then.stdout.splitlines()) == 63
    assert now.stdout == then.stdout


class SlowReader(threading.Thread):
    """Reads a pipe at its leisure, and keeps what it reads: a disk that is too slow."""

    def __init__(self, pipe: Path, copy: Path) -> None:
        super().__init__(daemon=True)
        self.pipe, self.copy = pipe, copy
        self.is_hurried = False

    def run(self) -> None:
        with self.pipe.open("rb") as source, self.copy.open("wb") as target:
            while part := source.read(1 << 18):
                target.write(part)
                if not self.is_hurried:
                    time.sleep(0.05)


def test_a_recorder_that_cannot_keep_up_drops_counts_and_holds_up_nobody(project: Project) -> None:
    """Frames of 0.5 MB, 30 in a second, into a pipe that takes 5 MB/s, through a mailbox for two."""
    pipeline = project.pipeline(JOINED)
    os.mkfifo(project.folder / "slow")
    reader = SlowReader(project.folder / "slow", project.folder / "a.mcap")
    reader.start()
    report = project.folder / "report.json"
    options = ("--set", "seconds=1.5", "--set", "height=300", "--mailbox", "2", "--report", report)
    ended = command(project, "record", pipeline, "slow", *options)
    reader.join(20)
    told = json.loads(report.read_text())
    not_kept, offered = told["recording"]["not_kept"], told["recording"]["offered"]
    assert ended.sentence.endswith(f"is not looked at; {not_kept} of {offered} could not be kept")
    recording = open_recording(project.folder / "a.mcap")
    assert recording.is_whole
    assert_all_counted(recording, counted(told))
    assert recording.losses["not_kept"] == not_kept > 0
    reasons = next(one for one in recording.losses["outputs"] if one["output"] == "camera.signal")["reasons"]
    assert set(reasons) == {"drop_newest"}
    situation = told["paths"]["situation"]
    assert (situation["produced"], situation["dropped"], situation["lost"]) == (45, 0, 0)
    assert situation["met"] >= 42  # the machine may be busy with other tests; the recorder held frames up for seconds
    assert not any("recorder" in path for path in told["paths"])
    assert told["conserved"] is True


@pytest.mark.parametrize("inline", [[], ["--inline"]])
def test_a_disk_that_fails_is_told_and_the_pipeline_goes_on(project: Project, inline: list[str]) -> None:
    pipeline = project.pipeline(JOINED)
    os.mkfifo(project.folder / "pipe")

    def read_some() -> None:
        with (project.folder / "pipe").open("rb") as source:
            source.read(1_000_000)

    reader = threading.Thread(target=read_some, daemon=True)
    reader.start()
    report = project.folder / "report.json"
    ended = command(project, "record", pipeline, "pipe", "--set", "height=300", "--report", report, *inline, code=1)
    told = json.loads(report.read_text())
    sentence = ended.stderr.splitlines()[0]
    assert "its reader has closed it" in sentence
    assert sentence.startswith("stage recorder: ERROR mcap: ")
    assert sentence.endswith("the pipeline goes on")
    (event,) = [one for one in told["events"] if one["event"] == "logged"]
    assert (event["stage"], event["level"]) == ("recorder", "error")
    assert sentence.endswith(event["sentence"])
    assert ended.sentence.startswith("pipe: no regular file, what is in it is not looked at; the recording failed: ")
    assert ended.sentence.endswith(told["recording"]["failure"])
    assert (told["ending"], told["paths"]["situation"]["produced"], told["conserved"]) == ("done", 18, True)


def stage_state(run: Path) -> str:
    """How the recorder is, as `streamflow status` has it."""
    return json.loads((run / "recordings" / "state.json").read_text())["stages"]["recorder"]["state"]


def test_a_killed_recorder_leaves_a_recording_that_says_what_it_lacks(project: Project) -> None:
    pipeline = project.pipeline(JOINED)
    report = project.folder / "report.json"
    running = project.start(
        "record", pipeline, "a.mcap", "--set", "seconds=3", "--set", "out=live", "--report", report, "--quiet"
    )
    path = project.folder / "a.mcap"
    eventually(lambda: path.exists() and path.stat().st_size > 1_000_000)
    os.kill(running.stage("recorder"), signal.SIGKILL)
    eventually(lambda: any(one["event"] == "left" for one in running.events()))
    eventually(lambda: stage_state(running.folder) == "failed", 5)  # in one word with `top`
    ended = running.wait()
    assert ended.code == 1, ended.stderr
    told = json.loads(report.read_text())
    assert (told["ending"], told["paths"]["situation"]["produced"], told["conserved"]) == ("done", 90, True)
    assert told["stages"]["recorder"]["state"] == "failed"
    kept, not_kept = told["recording"]["kept"], told["recording"]["not_kept"]
    assert not told["recording"]["is_whole"]
    assert kept + not_kept == told["recording"]["offered"]
    had_come = sum(told["edges"][name]["delivered"] for name in told["edges"] if "->recorder." in name) - kept
    parts = ended.sentences[-1].split("; ")
    assert parts[1].startswith(f"{not_kept:,} of {kept + not_kept:,} could not be kept")
    assert parts[1].endswith(f", {had_come:,} of them had been delivered" if had_come else "kept")
    assert parts[2] == "the recording failed: the recorder ended before the run"
    recording = open_recording(path)
    assert recording.is_whole
    assert_all_counted(recording, counted(told))
    assert recording.losses["failure"] == "the recorder ended before the run"
    assert 0 < recording.outputs["camera.signal"].count < 90
    replayed = project.start("replay", pipeline, "a.mcap", "--offline", "--set", "out=part", "--quiet").wait()
    assert "data could not be kept: camera.signal " in replayed.stderr
    lines = [(project.folder / f"{out}.jsonl").read_bytes().splitlines() for out in ("live", "part")]
    assert replayed.code == 0
    assert len(lines[0]) == 90
    assert lines[1][:-1] == lines[0][: len(lines[1]) - 1]  # the last frame may lack the motion that was lost with it


def test_a_recording_of_a_killed_run_is_read_up_to_the_last_second(project: Project) -> None:
    pipeline = project.pipeline(JOINED)
    running = project.start("record", pipeline, "a.mcap", "--set", "seconds=30", "--quiet")
    path = project.folder / "a.mcap"
    eventually(lambda: path.exists() and b'"outputs": [{"output"' in path.read_bytes())  # what was lost so far
    running.interrupt(signal.SIGKILL)
    running.wait()
    eventually(lambda: not running.processes())
    recording = open_recording(path)
    assert not recording.is_whole
    assert recording.count >= recording.losses["kept"] > 10
    assert recording.losses["offered"] >= recording.losses["kept"]
    replayed = project.start("replay", pipeline, "a.mcap", "--offline", "--quiet").wait()
    assert replayed.code == 0, replayed.stderr
    assert replayed.sentences[-1].endswith(
        f"it was cut; the {recording.count:,} data up to the last whole chunk are there"
    )


def test_two_runs_do_not_write_one_file_and_what_is_replayed_can_be_recorded_anew(project: Project) -> None:
    pipeline = project.pipeline(JOINED)
    path, record = project.folder / "a.mcap", ("record", pipeline, "a.mcap", "--quiet")
    first = project.start(*record, "--set", "seconds=3")
    eventually(lambda: path.exists() and path.stat().st_size > 100_000)
    for overwrites in ([], ["--overwrite"]):
        ended = project.start(*record, *overwrites).wait()
        assert ended.code == 2
        assert ended.sentence.startswith("a.mcap: is ")
    assert ended.sentence == "a.mcap: is being written by another run, expected a file of this run's own"
    assert first.wait().code == 0
    assert open_recording(path).outputs["camera.signal"].count == 90
    replayed = project.start("replay", pipeline, "a.mcap", "--set", "out=old", "--quiet")
    eventually((project.folder / "old.jsonl").exists)
    eventually(lambda: (project.folder / "old.jsonl").stat().st_size)  # it reads
    assert project.start(*record, "--overwrite").wait().code == 0
    assert open_recording(path).outputs["camera.signal"].count == 18
    assert replayed.wait().code == 0
    assert len((project.folder / "old.jsonl").read_bytes().splitlines()) == 90


@pytest.mark.parametrize("options", [[], ["--offline"]])
def test_a_damaged_recording_ends_its_replay_at_once(project: Project, options: list[str]) -> None:
    """It is damaged for ever: to begin again would send everything before the damage again, and end there."""
    pipeline, path = project.pipeline(JOINED), project.folder / "a.mcap"
    command(project, "record", pipeline, "a.mcap", "--offline")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    ended = project.start("replay", pipeline, "a.mcap", *options, "--quiet").wait()
    assert ended.code == 1
    assert re.fullmatch(rf"stage (camera|imu): {path}: is damaged \(crc .*\), expected an MCAP.*", ended.sentence)
    assert "failures within" not in ended.stderr
