"""A cabin is watched: microphone, camera, inertial sensor and thermometer, joined into one situation for each frame.

| sensor | rate | model | newest age in a record | in time |
|---|---|---|---|---|
| microphone | 31.25 chunks/s of 32 ms | Silero VAD | up to 32 ms | 200 ms |
| camera | 29.83 frames/s | FastestDet | 0, it asks for the record | 200 ms |
| inertial sensor | 285.7 samples/s, one a message | RIANN | up to 3.5 ms | 200 ms |
| thermometer | 1 reading/s | trend of the last minute | up to 1 s | 200 ms |

A record has of every sensor the newest datum up to the frame's own instant, and so follows from the sensors' own times
alone: it waits until each has passed that instant, up to 32 ms for the microphone. What is older than its `max_age` is
left out of the record, which then says `stale`; a sensor that says nothing holds a record up for `max_wait`, and after
`idle_timeout` not at all.

The deadlines run from the sensor's instant to the line that is written. Within them a datum waits for the next frame
(up to 34 ms), with it for the microphone, and behind the detector. Sound and motion are worked on although they are
late, as every step moves their model's state; a frame that cannot be on time is given up.

It takes 1.2 processors. Where others use them too, `--set priority=2` puts it before them.
"""

from typing import Literal, NamedTuple

from nodes.infer import BrightBox, Function, Loudness, OnnxModel, Tilt, Trend
from nodes.ingest import (
    Camera,
    DiskTemperature,
    Hdf5File,
    ImuMotion,
    Microphone,
    MovingShapes,
    Talk,
    Thermometer,
    UdpDatagrams,
    VideoFile,
    WavFile,
)
from nodes.postprocess import Detections, JsonLines, Situation
from nodes.preprocess import Normalise, Resize
from streamflow import InputError, Node, OnMiss, Overflow, Pipeline, RealTime, ms, s
from streamflow.joins import OnMissing, Settled
from streamflow.pipeline import PortRef, Stage

SOUND_HZ, SOUND_CHUNK, SOUND_CONTEXT = 16_000, 512, 64  # as the speech model wants it
FRAME_HZ = 179 / 6
IMU_HZ = 2000 / 7
CAMERA_SIZE = (640, 480)
MODEL_SIZE = 352  # pixels, of the object detector

TOLD_BY = {"mic": "speech", "camera": "objects", "imu": "attitude", "thermometer": "temperature"}
WITHIN = 200 * ms
MAX_AGE = {"objects": 1 * ms, "speech": 100 * ms, "attitude": 50 * ms, "temperature": 3 * s}
FACTS = (
    "frame",
    "time_s",
    "skew_ms",
    *(f"{name}_{fact}" for name in ("speech", "attitude", "temperature") for fact in ("state", "age_ms")),
)
TABLES = {"objects": ("box", "score", "class", "name")}


class Ranks(NamedTuple):
    """What a stage asks of the machine: one that is soon done goes before one that takes long, as of frames."""

    quick: RealTime | None = None
    slow: RealTime | None = None


class Sensors(NamedTuple):
    """Those of which there are recordings."""

    mic: Node
    camera: Node
    imu: Node


class Branch(NamedTuple):
    """A sensor, and what its model makes of it."""

    sensor: Stage
    result: Stage | PortRef


def build(
    sensors: Literal["synthetic", "recordings", "live"] = "synthetic",
    thermometer: Literal["synthetic", "machine"] = "synthetic",
    wav: str | None = None,
    video: str | None = None,
    imu: str | None = None,
    speech_model: str | None = None,
    object_model: str | None = None,
    attitude_model: str | None = None,
    names: str | None = None,
    out: str = "-",
    seconds: float | None = None,
    laps: int = 1,
    microphone: str | None = None,
    camera: str = "/dev/video0",
    imu_port: int = 7001,
    priority: int | None = None,
) -> Pipeline:
    """`sensors`: made up, with rules for models; files `wav`, `video`, `imu` (HDF5); or devices. The latter two need
    the models. `thermometer`: made up, or this machine's. `names`: of the classes, one a line; `out`: JSON lines.
    `seconds`: no more of each sensor, unless live; `laps`: how often the video is played. Devices: `microphone` and
    `camera` by name; `imu_port`: UDP, float32[1, 6] a datagram, m/s² and rad/s.
    `priority`: real time, 1 to 98, for a machine that others use too.
    """
    p = Pipeline("cabin")
    ranks = Ranks() if priority is None else Ranks(RealTime(priority=priority + 1), RealTime(priority=priority))
    if sensors == "synthetic":
        branches = _made_up(p, ranks, seconds)
    else:
        if sensors == "live":
            motion = UdpDatagrams(imu_port, shape=(1, 6))
            taken = Sensors(Microphone(SOUND_HZ, SOUND_CHUNK, microphone), Camera(camera, CAMERA_SIZE), motion)
        else:
            taken = Sensors(
                WavFile(_needed("wav", wav), SOUND_CHUNK, duration_s=seconds),
                VideoFile(_needed("video", video), laps=laps, duration_s=seconds),
                _recorded_motion(_needed("imu", imu), seconds),
            )
        branches = {
            "mic": _speech(p, ranks, taken.mic, _needed("speech_model", speech_model)),
            "camera": _objects(p, ranks, taken.camera, _needed("object_model", object_model), names),
            "imu": _attitude(p, ranks, taken.imu, _needed("attitude_model", attitude_model)),
        }
    branches["thermometer"] = _temperature(p, ranks, thermometer, seconds)
    join = Settled(
        trigger="objects",
        max_age=MAX_AGE,
        max_wait=100 * ms,
        idle_timeout=3 * s,
        on_missing=OnMissing.PARTIAL,
        queue_size=1024,  # 3.6 s of the inertial sensor: a camera that stalls does not cost what its frames need
    )
    situation = p.add("situation", Situation(), join=join, realtime=ranks.quick)
    log = p.add("log", JsonLines(out, tables=TABLES, attributes=FACTS), realtime=ranks.quick)
    for sensor, branch in branches.items():
        p.connect(branch.result, situation[TOLD_BY[sensor]], capacity=64)
        on_miss = OnMiss.SHED if sensor == "camera" else OnMiss.DELIVER
        p.deadline(sensor, branch.sensor, log, within=WITHIN, on_miss=on_miss)
    p.connect(situation, log)
    return p


def _needed(name: str, value: str | None) -> str:
    if value is None:
        hint = f"--set {name}=..., or sensors=synthetic, which needs no files"
        raise InputError("cabin", f"{name} is not given", "a file", hint)
    return value


# ----------------------------------------------------------------------- recordings and devices, and their models


def _speech(p: Pipeline, ranks: Ranks, node: Node, path: str) -> Branch:
    mic = p.add("mic", node, realtime=ranks.quick)
    model = OnnxModel(
        path,
        state={"state": "stateN"},
        context={"input": SOUND_CONTEXT},
        rate_hz=SOUND_HZ,
        sizes={"time": SOUND_CHUNK},
        outputs={"output": "probability"},
    )
    vad = p.add("vad", model, realtime=ranks.quick)
    p.connect(mic, vad, capacity=64)
    return Branch(mic, vad)


def _objects(p: Pipeline, ranks: Ranks, node: Node, path: str, names: str | None) -> Branch:
    camera = p.add("camera", node, realtime=ranks.slow)
    resize = p.add("resize", Resize(MODEL_SIZE, MODEL_SIZE), realtime=ranks.slow)
    normalise = p.add("normalise", Normalise(scale=1 / 255, layout="chw"), realtime=ranks.slow)
    detector = p.add("detector", OnnxModel(path), realtime=ranks.slow)
    detections = Detections(names, size=CAMERA_SIZE)  # of a recording the frames tell their own size
    boxes = p.add("boxes", detections, realtime=ranks.slow)
    p.connect(camera, resize, overflow=Overflow.DROP_OLDEST, capacity=4)
    p.connect(resize, normalise)
    p.connect(normalise, detector)
    p.connect(detector, boxes)
    return Branch(camera, boxes)


def _recorded_motion(path: str, seconds: float | None) -> Node:
    fields = {"acc": "imu_acc", "gyr": "imu_gyr"}  # m/s² and rad/s, three columns each
    stop = None if seconds is None else round(seconds * IMU_HZ)
    return Hdf5File(path, fields, rate_hz="sampling_rate", stop=stop, stack=True, nan="hold")


def _attitude(p: Pipeline, ranks: Ranks, node: Node, path: str) -> Branch:
    imu = p.add("imu", node, realtime=ranks.quick)
    model = OnnxModel(path, state={"h0": "hn"}, dt=("input", 6), outputs={"output": "quaternion"})
    estimate = p.add("estimate", model, realtime=ranks.quick)
    p.connect(imu.arrays if isinstance(node, UdpDatagrams) else imu, estimate, capacity=64)
    return Branch(imu, estimate)


def _temperature(p: Pipeline, ranks: Ranks, kind: str, seconds: float | None) -> Branch:
    trend = p.add("trend", Trend(), realtime=ranks.quick)
    if kind == "synthetic":
        sensor = p.add("thermometer", Thermometer(duration_s=seconds), realtime=ranks.quick)
        p.connect(sensor.signal, trend)
        return Branch(sensor, trend)
    machine = DiskTemperature(rate_hz=1)
    if "temperature" not in machine.find_channels():
        raise InputError("cabin thermometer=machine", "this machine shows no temperature", "a sensor")
    sensor = p.add("thermometer", machine, realtime=ranks.quick)
    hottest = p.add(
        "hottest",
        Function(lambda rows: rows[-1], input="float32[channels, time]", output="float32[time]"),
        realtime=ranks.quick,
    )
    p.connect(sensor, hottest)
    p.connect(hottest, trend)
    return Branch(sensor, trend)


# ---------------------------------------------------------------------------------- made up, with rules for models


def _made_up(p: Pipeline, ranks: Ranks, seconds: float | None) -> dict[str, Branch]:
    mic = p.add("mic", Talk(chunk=SOUND_CHUNK, duration_s=seconds), realtime=ranks.quick)
    vad = p.add("vad", Loudness(), realtime=ranks.quick)
    camera = p.add("camera", MovingShapes(count=1, rate_hz=FRAME_HZ, duration_s=seconds), realtime=ranks.slow)
    boxes = p.add("boxes", BrightBox(), realtime=ranks.slow)
    imu = p.add("imu", ImuMotion(rate_hz=IMU_HZ, duration_s=seconds), realtime=ranks.quick)
    estimate = p.add("estimate", Tilt(), realtime=ranks.quick)
    p.connect(mic.signal, vad, capacity=64)
    p.connect(camera.signal, boxes, overflow=Overflow.DROP_OLDEST, capacity=4)
    p.connect(imu.signal, estimate, capacity=64)
    return {"mic": Branch(mic, vad), "camera": Branch(camera, boxes), "imu": Branch(imu, estimate)}
