"""A run's folder as a killed run leaves it: mic -> vad -> log, with recorders by the real writer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streamflow.core.timebase import ms, s
from streamflow.core.verdict import Kind
from streamflow.recorder.layout import EMITTED
from streamflow.recorder.shape import Shape
from streamflow.recorder.writer import Recorder
from streamflow.runtime.rundir import RunFolder

STAGES = ("mic", "vad", "log")
MIC, VAD, LOG = range(3)
PATHS = ("speech",)
BEGIN_NS = 1_000 * s
WALL = "2026-11-23T18:00:{:06.3f}+00:00"
NONE = -1

SHAPES = {
    "mic": Shape("mic", MIC, (), (("mic.signal->vad.x", 8),), STAGES, PATHS, ()),
    "vad": Shape("vad", VAD, (("mic.signal->vad.x", 8),), (("vad.y->log.data", 8),), STAGES, PATHS, ()),
    "log": Shape("log", LOG, (("vad.y->log.data", 8),), (), STAGES, PATHS, (0,)),
}


class LeftBehind:
    """Everything in it is written by the test; `at_ms` counts from the run's begin."""

    def __init__(self, folder: Path, pipeline: str = "speech", stages: tuple[str, ...] = STAGES) -> None:
        self.folder = RunFolder(folder)
        self.folder.recordings.mkdir(parents=True)
        self.folder.describe({"pipeline": pipeline, "offline": False})
        self.recorders = {name: Recorder.create(self.folder.recording(name), SHAPES[name]) for name in stages}

    @property
    def path(self) -> str:
        return str(self.folder.path)

    def event(self, event: str, at_ms: float, **fields: Any) -> None:
        stamps = {"at_ns": at_ns(at_ms), "at": WALL.format(at_ms / 1e3), "event": event}
        self.line(json.dumps(stamps | fields))

    def line(self, text: str) -> None:
        with self.folder.events.open("a") as file:
            file.write(text + "\n")

    def miss(
        self, seq: int, at_ms: float, culprit: str = "service", stage: str = "vad", path: str = PATHS[0],
        late_ms: float = 4.25,
    ) -> None:  # fmt: skip
        self.event(
            "miss", at_ms, path=path, stream="mic", seq=seq, late_ms=late_ms, culprit=culprit, stage=stage,
            detected_ns=at_ns(at_ms), timeline=f"mic 0.3 | wire 0.2 | {stage} {seq}.0",
        )  # fmt: skip

    def state(self, **fields: Any) -> dict[str, Any]:
        content = {
            "pipeline": "speech", "at_ns": at_ns(2000), "at": WALL.format(2.0), "started_ns": BEGIN_NS,
            "elapsed_s": 2.0, "phase": "running", "offline": False, "conserved": True, "rates": {},
            "paths": {
                "speech": {
                    "within_ms": 50.0, "produced": 62, "met": 45, "missed": 15, "in_flight": 2,
                    "latency_ms": {"p50": 3.0, "p99": 61.25}, "culprits": {"service vad": 12, "stall log": 3},
                    "firm": None,
                }
            },
            "stages": {
                "vad": {
                    "process": "vad", "pid": 4711, "generation": 1, "state": "running", "processed": 1060,
                    "service_ms": {"p99": 12.5}, "busy": 0.625, "depth": 3, "restarts": 1, "in_service_ms": 7.0,
                }
            },
            "edges": {
                "mic.signal->vad.x": {
                    "sent": 62, "delivered": 58, "dropped": {"drop_oldest": 2}, "lost": 0, "in_flight": 2,
                    "depth_peak": 4,
                }
            },
        } | fields  # fmt: skip
        self.folder.state.write_text(json.dumps(content))
        return content

    # ------------------------------------------------------------------------------------- what recorders hold

    def admitted(self, seq: int, event_ms: float, at_ms: float) -> None:
        recorder = self.recorders["mic"]
        recorder.note(Kind.ADMITTED, 0, MIC, seq, at_ns(event_ms), at_ns(at_ms), at_ns(event_ms) + 50 * ms, NONE, 1)
        recorder.add(EMITTED)

    def handled(
        self, stage: str, seq: int, sent_ms: float, got_ms: float, start_ms: float, end_ms: float, *,
        kind: Kind = Kind.RUN, flags: int = 0, blocked_ms: float = 0, device_ms: float | None = None,
        ends: bool = False,
    ) -> None:  # fmt: skip
        index = STAGES.index(stage)
        device_ns = 0 if device_ms is None else at_ns(device_ms)
        self.recorders[stage].record(
            kind, flags, MIC, seq, at_ns(seq), at_ns(sent_ms), at_ns(got_ms), at_ns(start_ms), at_ns(end_ms), device_ns,
            at_ns(seq) + 50 * ms, round(blocked_ms * ms), index - 1, 1, int(ends),
        )  # fmt: skip

    def passed(self, seq: int, event_ms: float) -> None:
        """A datum that went all the way, a millisecond for each step."""
        self.admitted(seq, event_ms, event_ms + 1)
        self.handled("vad", seq, event_ms + 1, event_ms + 2, event_ms + 3, event_ms + 5)
        self.handled("log", seq, event_ms + 5, event_ms + 6, event_ms + 7, event_ms + 8, ends=True)


def at_ns(at_ms: float) -> int:
    return BEGIN_NS + round(at_ms * ms)
