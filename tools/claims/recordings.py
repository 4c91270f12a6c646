"""Claims about real recordings through real models: what a run writes is what is known to be right."""

from __future__ import annotations

import csv
import json
import tempfile
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nodes.kernels.wfdb_format import parse_annotations, parse_header
from tools.claims.command import Run, a_run
from tools.claims.framework import Options, Row, recording

Floats = npt.NDArray[np.floating[Any]]

TOLERANCE = 1e-4  # on probabilities and quaternions: another build of the same arithmetic
INCLINATION_DEG = (0.627, 0.005)  # known, and how far off it may be
FRAME_SHARE = 0.998
BOX_IOU = 0.95
BOX_SCORE = 1e-3
BEAT_SHARE = 0.995
BEAT_TOLERANCE_S = 0.150
REAL_TIME_SLACK_S = 1.5  # the last data must still flow through, and the folder of the run goes
QUICK_S = 4


def speech_offline(mode: Sequence[str]) -> Iterator[Row]:
    """1,875 probabilities and 19 segments of a minute of speech."""
    folder = recording("silero_vad")
    settings = _speech_settings(recording("silero_vad/test.wav"))
    with a_run("pipelines/speech.py", ["--offline", *mode], settings) as run:
        report = run.succeed()
        yield _near("probabilities", np.load(run.folder / "p.npy"), np.load(folder / "expected_probs.npy"))
        expected = [
            (segment["start"], segment["end"])
            for segment in json.loads((folder / "expected_timestamps_samples.json").read_text())
        ]
        found = [(segment["start_sample"], segment["end_sample"]) for segment in _lines(run.folder / "segments")]
        same = len(set(found) & set(expected))
        yield Row("segments", f"the {len(expected)}, exactly", f"{same} of {len(found)}", found == expected)
        yield from _whole(run, report)


def speech_live(mode: Sequence[str], options: Options) -> Iterator[Row]:
    """The same at the speed it was spoken: nothing is dropped, and it takes as long as the recording."""
    wav = recording("silero_vad/test.wav")
    with tempfile.TemporaryDirectory(prefix="claim-") as folder:
        if options.is_quick:
            wav = _shortened(wav, Path(folder) / "short.wav", QUICK_S)
        yield from _live_rows(wav, mode)


def _live_rows(wav: Path, mode: Sequence[str]) -> Iterator[Row]:
    length_s = _wav_length_s(wav)
    with a_run("pipelines/speech.py", ["--speed", "1", *mode], _speech_settings(wav)) as run:
        report = run.succeed()
        dropped = sum(count for edge in report["edges"].values() for count in edge["dropped"].values())
        chunks = len(np.load(run.folder / "p.npy"))
        yield Row("dropped on all edges", "0", f"{dropped} of {chunks}", dropped == 0)
        took_s, limit_s = report["duration_s"], length_s + REAL_TIME_SLACK_S
        yield Row("duration", f"{length_s:g} to {limit_s:g} s", f"{took_s:.2f} s", length_s <= took_s <= limit_s)
        latency = report["paths"]["mic->probabilities"]["latency_ms"]
        yield Row("end of chunk to probability written", "", _quantiles(latency), None)
        yield from _whole(run, report)


def attitude_offline(mode: Sequence[str]) -> Iterator[Row]:
    """53,240 quaternions of a moving sensor, against the model's own and against optical truth."""
    imu = recording("imu_riann/broad_02_undisturbed_slow_rotation_B.hdf5")
    settings = {"imu": imu, "model": recording("imu_riann/riann.onnx"), "out": "{}/q.npy"}
    with a_run("pipelines/attitude.py", ["--offline", *mode], settings) as run:
        report = run.succeed()
        found = np.load(run.folder / "q.npy")
        yield _near("quaternions", found, np.load(imu.with_name("expected_quat.npy")))
        known, slack = INCLINATION_DEG
        error_deg = inclination_rms_deg(found, *_truth(imu))
        bound = f"{known} ± {slack}°"
        yield Row("inclination while moving, RMS", bound, f"{error_deg:.4f}°", abs(error_deg - known) <= slack)
        yield from _whole(run, report)


def detect_offline(mode: Sequence[str]) -> Iterator[Row]:
    """The same objects in the frames of a video as with another decoder and resizer."""
    video = recording("cam_fastestdet/bottle-detection.mp4")
    settings = {
        "video": video,
        "model": recording("cam_fastestdet/FastestDet.onnx"),
        "names": recording("cam_fastestdet/coco.names"),
        "out": "{}/frames",
    }
    with a_run("pipelines/detect.py", ["--offline", *mode], settings) as run:
        report = run.succeed()
        frames = _lines(run.folder / "frames")
        expected = json.loads(video.with_name("expected_detections.json").read_text())["frames"]
        in_order = [frame["frame"] for frame in frames] == list(range(len(expected)))
        yield Row("frames", f"{len(expected):,}, in order", f"{len(frames):,}", in_order)
        same = sum(same_boxes(f["detections"], e) for f, e in zip(frames, expected, strict=False)) / len(expected)
        yield Row("frames with the same boxes", f"≥ {FRAME_SHARE:.1%}", f"{same:.2%}", same >= FRAME_SHARE)
        yield from _whole(run, report)


def heartbeat_offline(mode: Sequence[str]) -> Iterator[Row]:
    """Beats found in half an hour of a heart, against those that cardiologists marked."""
    record = recording("ecg_mitbih/100")
    truth = parse_annotations(recording("ecg_mitbih/100.atr").read_bytes()).beats
    with a_run("pipelines/heartbeat.py", ["--offline", *mode], {"record": record, "out": "{}/beats"}) as run:
        report = run.succeed()
        with (run.folder / "beats").open() as file:
            found_s = [float(row["time_s"]) for row in csv.DictReader(file)]
        rate_hz = parse_header(record.with_suffix(".hea").read_text()).rate_hz
        matched = matched_count(found_s, [sample / rate_hz for sample in truth.tolist()], BEAT_TOLERANCE_S)
        for name, count in (("sensitivity", len(truth)), ("positive predictivity", len(found_s))):
            share = matched / max(count, 1)
            measured = f"{share:.3%} ({matched:,} of {count:,})"
            yield Row(f"{name} at ±150 ms", f"≥ {BEAT_SHARE:.1%}", measured, share >= BEAT_SHARE)
        yield from _whole(run, report)


# ------------------------------------------------------------------------------------- how to compare


def inclination_rms_deg(found: Floats, truth: Floats, is_moving: npt.NDArray[np.bool_]) -> float:
    """RMS angle in degrees between the gravity directions of two float[N, 4] (w x y z), where moving and known."""
    use = is_moving & ~np.isnan(truth).any(axis=1)
    cosine = np.sum(_gravity(found[use]) * _gravity(truth[use]), axis=1)
    angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    return float(np.sqrt(np.mean(angle**2)))


def _gravity(quaternion: Floats) -> Floats:
    """The vertical in the sensor's axes, float64[N, 3]: the third row of the rotation matrix."""
    q = quaternion.astype(np.float64)
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    return np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], axis=1)


def same_boxes(found: Sequence[dict[str, Any]], expected: Sequence[Sequence[float]]) -> bool:
    """Whether each box has exactly one partner of its class, in nearly its place, with nearly its score."""
    if len(found) != len(expected):
        return False
    left = list(expected)
    for box in found:
        for other in left:
            same_class = box["class"] == other[5] and abs(box["score"] - other[4]) <= BOX_SCORE
            if same_class and _iou(box["box"], other[:4]) >= BOX_IOU:
                left.remove(other)
                break
    return not left


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common: float = max(width, 0.0) * max(height, 0.0)
    union: float = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union > 0 else 0.0


def matched_count(found: Sequence[float], truth: Sequence[float], tolerance: float) -> int:
    """How many of two sorted sequences can be paired, each once, with partners no further apart than that."""
    count = i = j = 0
    while i < len(found) and j < len(truth):
        if abs(found[i] - truth[j]) <= tolerance:
            count, i, j = count + 1, i + 1, j + 1
        elif found[i] < truth[j]:
            i += 1
        else:
            j += 1
    return count


def _near(what: str, found: Floats, expected: Floats) -> Row:
    bound = f"{len(expected):,} within {TOLERANCE:g}"
    if found.size != expected.size:
        return Row(what, bound, f"{len(found):,} of them", False)
    worst = float(np.max(np.abs(found.reshape(expected.shape) - expected)))
    return Row(what, bound, f"{len(found):,}, the furthest {worst:.1e}", worst <= TOLERANCE)


def _whole(run: Run, report: dict[str, Any]) -> Iterator[Row]:
    """What every run must show: the sums hold, and nothing of it is left."""
    conserved = report["conserved"]
    measured = "true" if conserved is True else "; ".join(conserved)
    yield Row("conserved", "true", measured, conserved is True)
    left = run.leftovers()
    yield Row("left behind", "nothing", ", ".join(left) or "nothing", not left)


# ------------------------------------------------------------------------------------------- files


def _speech_settings(wav: Path) -> dict[str, object]:
    model = recording("silero_vad/silero_vad.onnx")
    return {"wav": wav, "model": model, "out": "{}/segments", "out_probs": "{}/p.npy"}


def _shortened(path: Path, short: Path, length_s: int) -> Path:
    """The first seconds of a WAV file as another."""
    with wave.open(str(path)) as source, wave.open(str(short), "wb") as target:
        target.setparams(source.getparams())
        target.writeframes(source.readframes(length_s * source.getframerate()))
    return short


def _wav_length_s(path: Path) -> float:
    with wave.open(str(path)) as file:
        return float(file.getnframes() / file.getframerate())


def _truth(path: Path) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """`opt_quat` float64[N, 4] and the mask `movement` of a BROAD recording."""
    import h5py  # an extra: the other claims can do without

    with h5py.File(path) as file:
        return np.asarray(file["opt_quat"]), np.asarray(file["movement"]).reshape(-1).astype(bool)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _quantiles(latency: dict[str, float]) -> str:
    return f"p50 {latency['p50']:.2f}, p99 {latency['p99']:.2f}, max {latency['max']:.2f} ms"
