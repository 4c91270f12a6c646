"""A run as it was left behind, with everything in it that the monitor shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.left_behind import BEGIN_NS, LeftBehind

STEPS = 12


def recent(met: int, missed: int) -> dict[str, Any]:
    """Of the last ten seconds and of the last minute, with so many in each second."""
    counts = {"produced": met + missed, "absorbed": 0, "shed": 0, "dropped": 0, "rejected": 0, "lost": 0}
    latency = {"p50": 12.0, "p99": 61.0, "p999": 70.0, "max": 70.0}
    return {
        "10s": {"span_s": 10.0, "rate_hz": 31.0, "met": 10 * met, "missed": 10 * missed, "latency_ms": latency}
        | counts,
        "60s": {"span_s": 60.0, "rate_hz": 31.0, "met": 60 * met, "missed": 0, "latency_ms": latency} | counts,
        "steps": {
            "end_s": [float(second) for second in range(STEPS)],
            "on_time": [met] * STEPS,
            "missed": [0] * (STEPS - 2) + [missed, missed],
            "failed": [0] * STEPS,
            "p50_ms": [12.0] * STEPS,
            "p99_ms": [20.0] * (STEPS - 1) + [61.0],
            "max_ms": [20.0] * STEPS,
        },
    }


def graph() -> dict[str, Any]:
    """mic -> vad -> log, and a deadline."""
    tensors = {"tensors": {"array": "float32[512]"}, "rate_hz": None}
    names = {"mic": ([], ["signal"]), "vad": (["x"], ["y"]), "log": (["data"], [])}
    return {
        "name": "speech",
        "stages": [
            {
                "name": name, "node": name.title(), "process": name, "is_source": not inputs, "is_live": False,
                "variants": [], "batch": None, "join": None, "inputs": dict.fromkeys(inputs, tensors),
                "outputs": dict.fromkeys(outputs, tensors),
            }
            for name, (inputs, outputs) in names.items()
        ],
        "edges": [
            {
                "name": f"{source}.{output}->{target}.{port}", "source": source, "output": output, "target": target,
                "input": port, "overflow": overflow, "capacity": 8, "is_lossless": False, "delay": None,
            }
            for source, output, target, port, overflow in (
                ("mic", "signal", "vad", "x", "drop_oldest"), ("vad", "y", "log", "data", "block"),
            )
        ],
        "deadlines": [{"name": "speech", "source": "mic", "sink": "log", "within_ms": 50.0, "on_miss": "shed"}],
    }  # fmt: skip


def segments(begin_ns: int) -> list[dict[str, Any]]:
    parts = [("source jitter", "mic", 1), ("mailbox wait", "vad", 30), ("service", "vad", 24)]
    found, at_ns = [], begin_ns
    for kind, stage, duration_ms in parts:
        found.append(
            {"kind": kind, "stage": stage, "start_ns": at_ns, "duration_ns": duration_ms * 1_000_000,
             "budget_ns": 10_000_000, "detail": ""}
        )  # fmt: skip
        at_ns += duration_ms * 1_000_000
    return found


@pytest.fixture
def left(tmp_path: Path) -> LeftBehind:
    """A run that was killed two seconds after its begin: three misses, a restart, a traceback."""
    run = LeftBehind(tmp_path / "speech-4711-a0b1")
    run.folder.describe({"pipeline": "speech", "offline": False, "graph": graph(), "environment": {}})
    content = run.state()
    content["paths"]["speech"] |= {
        "source": "mic", "sink": "log", "absorbed": 0, "shed": 3, "dropped": 0, "rejected": 0, "lost": 0,
        "recent": recent(29, 2), "firm": {"m": 9, "k": 10, "state": "broken", "level": 1, "breaches": 2},
    }  # fmt: skip
    content["stages"]["vad"] |= {"device": "host", "left_out": {}, "batch": {"1": 1060}}
    run.state(paths=content["paths"], stages=content["stages"])
    for seq in (7, 8, 9):
        run.passed(seq, seq * 10)
        event_ns = BEGIN_NS + seq * 10_000_000
        run.event(
            "miss", seq * 100, path="speech", stream="mic", seq=seq, within_ms=50.0, event_time_ns=event_ns,
            deadline_ns=event_ns + 50_000_000, detected_ns=event_ns + 55_000_000, late_ms=5.0,
            culprit="mailbox wait" if seq != 8 else "service", stage="vad",
            sentence="mailbox of vad held it 30.0 ms", timeline="...", segments=segments(event_ns),
        )  # fmt: skip
    run.event(
        "raised", 1500, stage="vad", sentence="process raised ValueError: no", traceback="Traceback\n  line 1\nno"
    )
    run.event("restarting", 1510, processes=["vad"], delay_ms=20.0, reason="stage vad: process raised ValueError")
    run.event("back", 1530, process="vad", stages=["vad"], down_ms=24.5, warm=True)
    return run


def told(run: LeftBehind) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.folder.state.read_text())
    return found
