"""A recorder as the tests of them have it."""

from __future__ import annotations

from streamflow.core.verdict import Kind
from streamflow.recorder.layout import (
    RECORD,
)
from streamflow.recorder.shape import Shape
from streamflow.recorder.writer import Recorder

SHAPE = Shape(
    stage="infer",
    stage_index=1,
    in_edges=(("mic.out -> infer.x", 4), ("cam.out -> infer.y", 2)),
    out_edges=(("infer.out -> show.x", 5),),
    streams=("mic", "infer", "show"),
    paths=("alert", "level"),
    sink_paths=(1,),
    ring_capacity=16,
)

OFFSETS = {"serial": 0, "serial_again": RECORD.size - 8}


def fill(recorder: Recorder, count: int) -> None:
    for _ in range(count):
        seq = recorder.head
        recorder.record(Kind.RUN, 0, 0, seq, seq, seq, seq, seq * 10, seq * 10 + 5, 0, 0, 0, 0, 1, seq * 3)
