"""What `pipelines/cabin.py` must write of the recordings, worked out from the files alone, to compare its output with.

Nothing here knows of joins, event time or stages: each model is run over its whole recording, step by step, and what a
record has of a sensor is looked up among the sensor's own time stamps by bisection.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nodes.kernels.image import resize_area

Record = dict[str, Any]
Floats = npt.NDArray[np.floating[Any]]
Instants = npt.NDArray[np.int64]

CHUNK, CONTEXT = 512, 64
MODEL_SIZE = 352
SCORE_MIN, OVERLAP_MAX = 0.65, 0.45
TREND_S = 60
SENSES = ("speech", "attitude", "temperature")
TOLERANCES = {  # the same arithmetic in other hands; a wrong datum is off by far more
    "time_s": 1e-9,
    "skew_ms": 1e-6,
    "speech_age_ms": 1e-6,
    "attitude_age_ms": 1e-6,
    "temperature_age_ms": 1e-6,
    "speech": 1e-4,
    "inclination_deg": 1e-2,
    "temperature_c": 1e-6,
    "temperature_per_minute": 1e-6,
}
SCORE_TOLERANCE, BOX_TOLERANCE = 1e-3, 0.1  # the latter in pixels


@dataclass(frozen=True, slots=True)
class Files:
    wav: Path
    video: Path
    imu: Path
    speech_model: Path
    object_model: Path
    attitude_model: Path
    names: Path


@dataclass(frozen=True, slots=True)
class Sense:
    """What a sensor's model made of its data, each with the instant of the datum, in ns since the beginning."""

    times_ns: Instants
    values: Sequence[Record]

    def newest(self, time_ns: int) -> int:
        """The number of the newest datum up to an instant, -1 where there is none."""
        return int(np.searchsorted(self.times_ns, time_ns, side="right")) - 1


class Reference:
    """The records of the first `seconds` of the recordings, the video played as often as that takes."""

    def __init__(self, files: Files, seconds: float) -> None:
        names = files.names.read_text().rstrip().splitlines()
        self._stamps_s = _frame_times_s(files.video, seconds)
        self._seen = list(_objects(files.video, files.object_model, names, len(self._stamps_s)))
        self._senses = {
            "speech": _speech(files.wav, files.speech_model, seconds),
            "attitude": _attitude(files.imu, files.attitude_model, seconds),
            "temperature": _temperature(seconds),
        }

    @property
    def frame_count(self) -> int:
        return len(self._stamps_s)

    def records(self, frames: Sequence[int]) -> list[Record]:
        """Of these frames; those left out have used nothing."""
        found = []
        before = dict.fromkeys(SENSES, -1)
        for frame in frames:
            time_ns = round(self._stamps_s[frame] * 1e9)
            record: Record = {"frame": frame, "time_s": float(self._stamps_s[frame])}
            oldest_ns = time_ns
            values: Record = {}
            for name, sense in self._senses.items():
                number = sense.newest(time_ns)
                at_ns = int(sense.times_ns[number]) if number >= 0 else time_ns
                oldest_ns = min(oldest_ns, at_ns)
                state = "missing" if number < 0 else "held" if number == before[name] else "used"
                record[f"{name}_state"] = state
                record[f"{name}_age_ms"] = (time_ns - at_ns) / 1e6 if number >= 0 else None
                values.update(sense.values[number] if number >= 0 else dict.fromkeys(sense.values[0]))
                before[name] = number
            objects = self._seen[frame % len(self._seen)]
            people = sum(each["class"] == 0 for each in objects)
            found.append(
                record | values | {"skew_ms": (time_ns - oldest_ns) / 1e6, "people": people, "objects": objects}
            )
        return found


def differences(found: Sequence[Record], expected: Sequence[Record]) -> list[str]:
    """One sentence for each record that is not the expected one."""
    said = []
    for one, other in zip(found, expected, strict=True):
        fields = [name for name in other if not _is_same(name, one[name], other[name])] + sorted(
            one.keys() - other.keys()
        )
        if fields:
            told = ", ".join(f"{name} {one.get(name)} for {other.get(name)}" for name in fields)
            said.append(f"frame {other['frame']}: {told}")
    return said


def _is_same(name: str, found: Any, expected: Any) -> bool:
    if name == "objects":
        return len(found) == len(expected) and all(map(_is_same_object, found, expected))
    if found is None or expected is None or name not in TOLERANCES:
        return bool(found == expected)
    return bool(abs(found - expected) <= TOLERANCES[name])


def _is_same_object(found: Record, expected: Record) -> bool:
    return (
        (found["class"], found["name"]) == (expected["class"], expected["name"])
        and abs(found["score"] - expected["score"]) <= SCORE_TOLERANCE
        and bool(np.allclose(found["box"], expected["box"], rtol=0, atol=BOX_TOLERANCE))
    )


# -------------------------------------------------------------------------------------------- the senses


def _speech(wav: Path, model: Path, seconds: float) -> Sense:
    """Of each chunk the time of its last real sample, and the probability."""
    with wave.open(str(wav)) as file:
        rate_hz = file.getframerate()
        count = min(file.getnframes(), round(seconds * rate_hz))
        sound = np.frombuffer(file.readframes(count), np.int16).astype(np.float32) / 32768
    chunks = -(-count // CHUNK)
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), sound, np.zeros(chunks * CHUNK - count, np.float32)])
    session, state = _session(model), np.zeros((2, 1, 128), np.float32)
    values = []
    for first in range(0, chunks * CHUNK, CHUNK):
        heard = padded[None, first : first + CONTEXT + CHUNK]
        output, state = session.run(["output", "stateN"], {"input": heard, "state": state, "sr": np.array(rate_hz)})
        values.append({"speech": float(output[0, 0])})
    newest = np.minimum(np.arange(1, chunks + 1) * CHUNK, count) - 1
    return Sense(_ns(np.asarray(newest / rate_hz)), values)


def _attitude(imu: Path, model: Path, seconds: float) -> Sense:
    """Of each sample how far the sensor's z axis is from the vertical."""
    import h5py  # an extra: the other claims can do without

    with h5py.File(imu) as file:
        rate_hz = float(file.attrs["sampling_rate"])
        count = min(len(file["imu_acc"]), round(seconds * rate_hz))
        samples = np.concatenate([file["imu_acc"][:count], file["imu_gyr"][:count]], axis=1)
    time_s = np.arange(count) / rate_hz
    steps = np.diff(time_s, prepend=-1 / rate_hz)
    fed = np.concatenate([samples, steps[:, None]], axis=1).astype(np.float32)
    session, state = _session(model), np.zeros((2, 1, 1, 200), np.float32)
    values = []
    for sample in fed:
        output, state = session.run(["output", "hn"], {"input": sample[None, None], "h0": state})
        values.append({"inclination_deg": _inclination_deg(*output[0, 0].astype(np.float64))})
    return Sense(_ns(time_s), values)


def _inclination_deg(w: float, x: float, y: float, z: float) -> float:
    """The image of the body's z axis is the last column of the rotation matrix."""
    east, north, up = 2 * (x * z + w * y), 2 * (y * z - w * x), w * w - x * x - y * y + z * z
    return float(np.degrees(np.arctan2(np.hypot(east, north), up)))


def _temperature(seconds: float) -> Sense:
    """A reading a second of 21 °C + 1.5 °C · sin(2π t / 600 s), and the straight line through those of a minute."""
    time_s = np.arange(np.ceil(seconds), dtype=np.float64)
    reading = (21 + 1.5 * np.sin(2 * np.pi * time_s / 600)).astype(np.float32).astype(np.float64)
    values: list[Record] = []
    for now in range(len(time_s)):
        span = slice(max(0, now - TREND_S + 1), now + 1)
        if now == 0:
            values.append({"temperature_c": float(reading[0]), "temperature_per_minute": None})
            continue
        slope, level = np.polyfit(time_s[span] - time_s[now], reading[span], 1)
        values.append({"temperature_c": float(level), "temperature_per_minute": float(60 * slope)})
    return Sense(_ns(time_s), values)


# ------------------------------------------------------------------------------------------------ sight


def _frame_times_s(video: Path, seconds: float) -> Floats:
    """The stamps of all frames of the laps that begin before the end, less those after it."""
    import av  # an extra

    with av.open(str(video)) as container:
        stamps = np.array([frame.time for frame in container.decode(video=0)], np.float64)
    stamps -= stamps[0]
    lap_s = stamps[-1] * len(stamps) / (len(stamps) - 1)
    laps = int(np.ceil(seconds / lap_s))
    times_s = (np.arange(laps)[:, None] * lap_s + stamps).ravel()
    return np.asarray(times_s[times_s < seconds])


def _objects(video: Path, model: Path, names: Sequence[str], limit: int) -> Iterator[list[Record]]:
    """Of each frame, once through the video, at most `limit`."""
    import av  # an extra

    session = _session(model)
    with av.open(str(video)) as container:
        for _, frame in zip(range(limit), container.decode(video=0), strict=False):
            image = frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False)
            small = resize_area(image, MODEL_SIZE, MODEL_SIZE).astype(np.float32) / np.float32(255)
            (raw,) = session.run(None, {"input.1": small.transpose(2, 0, 1)[None]})
            yield list(_kept(raw[0], image.shape[1], image.shape[0], names))


def _kept(raw: Floats, width: int, height: int, names: Sequence[str]) -> Iterator[Record]:
    """The decoding of FastestDet cell by cell, then greedy non-maximum suppression over all classes."""
    candidates = []
    rows, columns = raw.shape[1:]
    score = np.maximum(raw[0], 0) ** 0.6 * np.maximum(raw[5:].max(axis=0), 0) ** 0.4
    for row, column in np.argwhere(score > SCORE_MIN):
        cell = raw[:, row, column].astype(np.float64)
        x, y = (column + np.tanh(cell[1])) / columns, (row + np.tanh(cell[2])) / rows
        across, down = 1 / (1 + np.exp(-cell[3])) / 2, 1 / (1 + np.exp(-cell[4])) / 2
        box = [(x - across) * width, (y - down) * height, (x + across) * width, (y + down) * height]
        candidates.append((float(score[row, column]), box, int(cell[5:].argmax())))
    kept: list[list[float]] = []
    for value, box, kind in sorted(candidates, key=lambda one: -one[0]):
        if all(_overlap(box, other) <= OVERLAP_MAX for other in kept):
            kept.append(box)
            yield {"box": box, "score": value, "class": kind, "name": names[kind].strip()}


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    common = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / area if area > 0 else 0.0


def _session(model: Path) -> Any:
    import onnxruntime  # an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # its warnings are about exporters
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _ns(time_s: Floats) -> Instants:
    return np.asarray(np.rint(time_s * 1e9), np.int64)
