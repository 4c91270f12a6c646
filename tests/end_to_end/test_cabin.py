"""The cabin in real processes: on made-up sensors every record is the truth, on recordings what the files say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nodes.ingest import ImuMotion, MovingShapes
from nodes.kernels.synthetic import boxes_at
from nodes.postprocess.situation import inclination_deg
from pipelines import cabin
from streamflow.testing import drive
from tests.end_to_end.project import Project
from tools.claims.cabin_reference import Files, Reference, differences

MADE_UP_S, RECORDED_S = 2, 2
SENSORS = ("mic", "camera", "imu", "thermometer")
SPEECH_S, PAUSE_S = 0.8, 0.6
CHUNK_S = 0.032

Record = dict[str, Any]


def records(project: Project, *options: object, **settings: object) -> tuple[dict[str, Any], list[Record]]:
    """The report of a run of the pipeline, and what it wrote."""
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    report = project.report("pipelines.cabin", *options, *words, "--set", "out=records")
    assert report["conserved"] is True
    return report, [json.loads(line) for line in (project.folder / "records").read_text().splitlines()]


def test_every_record_of_made_up_sensors_is_the_truth_of_its_instant(project: Project) -> None:
    report, found = records(project, seconds=MADE_UP_S)
    frames = [record["frame"] for record in found]
    assert frames == sorted(set(frames))
    assert report["paths"].keys() >= set(SENSORS)
    scene = MovingShapes(count=1)
    motion = drive(ImuMotion(rate_hz=cabin.IMU_HZ, duration_s=MADE_UP_S))["truth"]
    for record in found:
        time_s = record["time_s"]
        assert record["people"] == len(record["objects"]) == 1
        truth = boxes_at(scene.scene, time_s, scene.width, scene.height)[0]
        np.testing.assert_allclose(record["objects"][0]["box"], truth, atol=1.01)
        newest = motion[int(np.floor(time_s * cabin.IMU_HZ + 1e-6))]
        assert abs(record["inclination_deg"] - inclination_deg(newest["attitude"])) < 2, "0.05 m/s² of noise"
        assert_speech(record)
        assert abs(record["temperature_c"] - 21 - 1.5 * np.sin(2 * np.pi * time_s / 600)) < 0.02


def assert_speech(record: Record) -> None:
    """The chunk that ended last, where it was all speech or all pause."""
    chunk_end_s = np.floor(record["time_s"] / CHUNK_S) * CHUNK_S
    phase = [np.mod(at_s, SPEECH_S + PAUSE_S) < SPEECH_S for at_s in (chunk_end_s - CHUNK_S, chunk_end_s - 1e-4)]
    if record["time_s"] < CHUNK_S:
        assert record["speech"] is None
    elif phase[0] == phase[1]:
        assert (record["speech"] > 0.5) == phase[0]


def test_the_age_of_each_input_is_the_time_since_its_sensors_last_datum(project: Project) -> None:
    _, found = records(project, "--offline", seconds=MADE_UP_S)
    assert [record["frame"] for record in found] == list(range(round(MADE_UP_S * cabin.FRAME_HZ)))
    assert found[0]["speech_state"] == "missing"
    for record in found[1:]:
        time_s = record["time_s"]
        chunk = np.floor((time_s * cabin.SOUND_HZ + 1) / cabin.SOUND_CHUNK)
        newest_s = {
            "speech": (chunk * cabin.SOUND_CHUNK - 1) / cabin.SOUND_HZ,
            "attitude": np.floor(time_s * cabin.IMU_HZ + 1e-6) / cabin.IMU_HZ,
            "temperature": np.floor(time_s + 1e-9),
        }
        ages_ms = {name: 1e3 * (time_s - at_s) for name, at_s in newest_s.items()}
        for name, age_ms in ages_ms.items():
            assert abs(record[f"{name}_age_ms"] - age_ms) < 1e-3
        assert abs(record["skew_ms"] - max(ages_ms.values())) < 1e-3
    assert sum(record["temperature_state"] == "used" for record in found) == MADE_UP_S


def test_records_of_recordings_are_what_the_files_say(project: Project, recordings: Callable[[str], Path]) -> None:
    files = Files(
        wav=recordings("silero_vad/test.wav"),
        video=recordings("cam_fastestdet/bottle-detection.mp4"),
        imu=recordings("imu_riann/broad_02_undisturbed_slow_rotation_B.hdf5"),
        speech_model=recordings("silero_vad/silero_vad.onnx"),
        object_model=recordings("cam_fastestdet/FastestDet.onnx"),
        attitude_model=recordings("imu_riann/riann.onnx"),
        names=recordings("cam_fastestdet/coco.names"),
    )
    settings = {name: getattr(files, name) for name in Files.__dataclass_fields__}
    _, found = records(project, "--offline", "--inline", sensors="recordings", seconds=RECORDED_S, **settings)
    reference = Reference(files, RECORDED_S)
    assert len(found) == reference.frame_count
    assert differences(found, reference.records(range(reference.frame_count))) == []


def test_joins_of_what_is_played_faster_than_it_was_taken_are_warned_of(project: Project) -> None:
    for options, warned in ((["--speed", 2], 1), (["--speed", 2, "--offline"], 0), ([], 0)):
        ended = project.run("pipelines.cabin", *options, "--set", "seconds=0.2", "--set", "out=records")
        assert ended.code == 0
        assert ended.stderr.count("--speed 2: max_skew, max_age and max_wait of situation stand for 2 times") == warned


def test_without_its_files_it_says_which_one_is_missing(project: Project) -> None:
    ended = project.run("pipelines.cabin", "--set", "sensors=recordings")
    assert ended.code == 2
    assert ended.sentence.startswith("cabin: wav is not given, expected a file; --set wav=...")


def test_with_devices_and_models_it_is_a_pipeline_without_faults(
    project: Project, recordings: Callable[[str], Path]
) -> None:
    settings = {
        "speech_model": recordings("silero_vad/silero_vad.onnx"),
        "object_model": recordings("cam_fastestdet/FastestDet.onnx"),
        "attitude_model": recordings("imu_riann/riann.onnx"),
    }
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    ended = project.start("check", "pipelines.cabin", "--set", "sensors=live", "--set", "priority=2", *words).wait()
    assert ended.code == 0, ended.stderr
    assert "13 stages in 13 processes, 12 edges, no faults" in ended.stdout
