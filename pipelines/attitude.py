"""Attitude from an inertial sensor: acceleration, rotation rate and dt in, a quaternion per sample out (RIANN)."""

from typing import Literal

from nodes.infer import OnnxModel
from nodes.ingest import Hdf5File
from nodes.postprocess import JsonLines, NumpyWriter
from streamflow import Node, Pipeline, ms


def build(
    imu: str,
    model: str,
    out: str = "-",
    chunk: int = 1,
    nan: Literal["pass", "drop", "hold"] = "hold",
) -> Pipeline:
    """`out`: a .npy [N, 4], w x y z; `chunk`: samples a step; `nan`: what becomes of a row that has a NaN."""
    p = Pipeline("attitude")
    fields = {"acc": "imu_acc", "gyr": "imu_gyr"}  # m/s² and rad/s, three columns each
    sensor = p.add("imu", Hdf5File(imu, fields, chunk, rate_hz="sampling_rate", stack=True, dt=True, nan=nan))
    estimate = p.add("estimate", OnnxModel(model, state={"h0": "hn"}, outputs={"output": "quaternion"}))
    writer: Node = JsonLines(out) if out == "-" else NumpyWriter(out, concatenate=True)
    log = p.add("log", writer)
    p.connect(sensor, estimate, capacity=64)
    p.connect(estimate, log, capacity=64)
    p.deadline("attitude", sensor, log, within=20 * ms)  # delivered late all the same: every step moves the state
    return p
