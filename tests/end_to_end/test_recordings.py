"""Real recordings through real models, in separate processes and in one: the known answers come out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.kernels.wfdb_format import parse_annotations
from tests.end_to_end.project import Project

Recordings = Callable[[str], Path]
VIDEO = {"video": "bottle-detection.mp4", "model": "FastestDet.onnx", "names": "coco.names"}
PLACES = pytest.mark.parametrize("place", [[], ["--inline"]], ids=["processes", "inline"])


def run(project: Project, pipeline: str, place: list[str], **settings: object) -> dict[str, Any]:
    """The report of an offline run of a shipped pipeline, every datum of which is accounted for."""
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    report = project.report(f"pipelines.{pipeline}", "--offline", *place, *words)
    assert report["conserved"] is True
    assert all(edge["dropped"] == {} and edge["in_flight"] == 0 for edge in report["edges"].values())
    return report


@PLACES
def test_speech_is_found_where_it_is_known_to_be(project: Project, recordings: Recordings, place: list[str]) -> None:
    wav, model = recordings("silero_vad/test.wav"), recordings("silero_vad/silero_vad.onnx")
    run(project, "speech", place, wav=wav, model=model, out="segments.jsonl", out_probs="probs.npy")
    expected = np.load(recordings("silero_vad/expected_probs.npy"))
    np.testing.assert_allclose(np.load(project.folder / "probs.npy").reshape(-1), expected, atol=1e-4)
    lines = [json.loads(line) for line in (project.folder / "segments.jsonl").read_text().splitlines()]
    known = json.loads(recordings("silero_vad/expected_timestamps_samples.json").read_text())
    assert [(line["start_sample"], line["end_sample"]) for line in lines] == [(k["start"], k["end"]) for k in known]


@PLACES
def test_attitude_is_the_one_known_for_every_sample(project: Project, recordings: Recordings, place: list[str]) -> None:
    imu = recordings("imu_riann/broad_02_undisturbed_slow_rotation_B.hdf5")
    run(project, "attitude", place, imu=imu, model=recordings("imu_riann/riann.onnx"), out="quat.npy", chunk=200)
    expected = np.load(recordings("imu_riann/expected_quat.npy"))
    np.testing.assert_allclose(np.load(project.folder / "quat.npy"), expected, atol=1e-4)


def test_objects_are_found_where_they_are_known_to_be(project: Project, recordings: Recordings) -> None:
    """The first seconds of the video; `make claims-core` does all of it."""
    settings = {
        "video": recordings("cam_fastestdet/bottle-detection.mp4"),
        "model": recordings("cam_fastestdet/FastestDet.onnx"),
        "names": recordings("cam_fastestdet/coco.names"),
        "out": "found.jsonl",
    }
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    report = project.report("pipelines.detect", "--offline", "--inline", "--duration", 2, *words)
    assert report["conserved"] is True
    frames = [json.loads(line) for line in (project.folder / "found.jsonl").read_text().splitlines()]
    expected = json.loads(recordings("cam_fastestdet/expected_detections.json").read_text())["frames"]
    assert len(frames) > 20
    assert [frame["frame"] for frame in frames] == list(range(len(frames)))
    same = sum(is_same(frame["detections"], known) for frame, known in zip(frames, expected, strict=False))
    assert same >= 0.99 * len(frames)


def test_what_is_computed_on_a_device_is_found_as_without_one(project: Project, recordings: Recordings) -> None:
    """On the host as a device: the kernels of `detect_gpu` are for batches, and for NumPy and CuPy alike."""
    folder = recordings("cam_fastestdet/FastestDet.onnx").parent
    settings = [f"{name}={folder / file}" for name, file in VIDEO.items()]
    frames = {}
    for pipeline, device in (("detect", []), ("detect_gpu", ["device=host"])):
        words = [word for one in (*settings, *device, f"out={pipeline}.jsonl") for word in ("--set", one)]
        report = project.report(f"pipelines.{pipeline}", "--offline", "--inline", "--duration", 2, *words)
        assert report["conserved"] is True
        frames[pipeline] = (project.folder / f"{pipeline}.jsonl").read_text().splitlines()
    count = min(map(len, frames.values()))
    assert count > 10
    assert frames["detect_gpu"][:count] == frames["detect"][:count]


def is_same(found: list[dict[str, Any]], known: list[list[float]]) -> bool:
    """Whether the boxes are the known ones, to about a pixel."""
    rows = [[*one["box"], one["score"], one["class"]] for one in found]
    return len(rows) == len(known) and np.allclose(rows, known, atol=[2, 2, 2, 2, 1e-3, 0]) if rows else not known


@PLACES
def test_heart_beats_are_found_where_they_were_labelled(
    project: Project, recordings: Recordings, place: list[str]
) -> None:
    """The first 100 seconds of the record; `make claims-core` does all of it."""
    count = 36_000
    signal = "100.dat 212 200 11 1024"  # as in 100.hea, less the checksum of all samples
    (project.folder / "100.hea").write_text(f"100 2 360 {count}\n{signal}\n{signal}\n")
    (project.folder / "100.dat").write_bytes(recordings("ecg_mitbih/100.dat").read_bytes()[: 3 * count])
    run(project, "heartbeat", place, record="100", out="beats.csv")
    with (project.folder / "beats.csv").open() as file:
        found = np.array([int(row["sample"]) for row in csv.DictReader(file)])
    labelled = parse_annotations(recordings("ecg_mitbih/100.atr").read_bytes()).beats
    labelled = labelled[labelled < count]
    near, edge = round(0.150 * 360), 360
    missed = [beat for beat in labelled if np.abs(found - beat).min() > near and edge < beat < count - edge]
    wrong = [beat for beat in found if np.abs(labelled - beat).min() > near]
    assert (missed, wrong) == ([], [])
