"""A run is read while it lives, by its pipeline's name, and after its supervisor was killed: the same commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SLOW = """\
    import time
    from nodes.infer import Function
    from nodes.ingest import Tone
    from nodes.postprocess import JsonLines
    from streamflow import Pipeline, ms

    def slow(samples):
        time.sleep(0.008)
        return max(samples)

    def build() -> Pipeline:
        p = Pipeline("slow")
        tone = p.add("tone", Tone(duration_s=60.0))
        peak = p.add("peak", Function(slow, input="float32[time]", output="float32[]"))
        log = p.add("log", JsonLines("out.jsonl"))
        p.connect(tone.signal, peak)
        p.connect(peak, log)
        p.deadline("in_time", tone, log, within=5 * ms)
        return p
"""


def until(find: Callable[[], Any], limit_s: float = 30) -> Any:
    end = time.monotonic() + limit_s
    while not (found := find()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


@pytest.fixture
def supervisor(write, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A run of `slow` in processes, seen by the commands that the test calls."""
    temporary = tempfile.mkdtemp(prefix="sf", dir="/tmp")  # short, for sockets
    monkeypatch.setattr(tempfile, "tempdir", temporary)
    write("pipelines/slow.py", SLOW)
    process = subprocess.Popen(
        [sys.executable, "-m", "streamflow", "run", "pipelines/slow.py", "--quiet"],
        cwd=folder,
        env={**os.environ, "TMPDIR": temporary},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.kill()
    process.wait()
    mark = f"TMPDIR={temporary}\0".encode()
    until(lambda: not any(mark in environment_of(path) for path in Path("/proc").glob("[0-9]*")))
    shutil.rmtree(temporary)


def environment_of(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes() + b"\0"
    except OSError:
        return b""


def test_a_run_is_read_while_it_lives_and_after_it_was_killed(supervisor, streamflow, folder):
    def state() -> dict[str, Any] | None:
        ended = streamflow("status", "slow", "--json")
        found: dict[str, Any] = json.loads(ended.out) if ended.code == 0 else {}
        return found if found.get("paths", {}).get("in_time", {}).get("missed", 0) >= 10 else None

    live = until(state)
    assert live["is_live"]
    assert live["stages"]["peak"]["processed"] >= 10
    assert "is live, " in streamflow("misses", "slow").err
    assert streamflow("trace", "slow", "live.json").code == 0
    assert supervisor.poll() is None

    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    until(lambda: "killed" in streamflow("status", "slow").out.partition("\n")[0])
    misses = json.loads(streamflow("misses", "slow", "--json", "--stage", "peak").out)
    assert not misses["is_live"]
    assert misses["missed"] >= 10
    assert {miss["stream"] for miss in misses["misses"]} == {"tone"}
    assert streamflow("trace", "dead.json").code == 0
    for name in ("live.json", "dead.json"):
        events = json.loads((folder / name).read_text())["traceEvents"]
        assert sum(event["ph"] == "f" for event in events) >= 10
        assert any(event["ph"] == "i" and event["name"].startswith("miss tone#") for event in events)
