"""`streamflow profile` measures a pipeline in real processes; `check` then says whether its deadlines can be met."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TIMED = """\
    from nodes.infer import Function
    from nodes.ingest import Tone
    from nodes.postprocess import JsonLines
    from streamflow import Overflow, Pipeline, ms

    def build(within: float = 60_000.0, seconds: float = 1.0, capacity: int = 2) -> Pipeline:
        p = Pipeline("timed")
        tone = p.add("tone", Tone(duration_s=seconds))
        peak = p.add("peak", Function(max, input="float32[time]", output="float32[]"))
        log = p.add("log", JsonLines("-"))
        p.connect(tone.signal, peak, overflow=Overflow.DROP_OLDEST, capacity=capacity)
        p.connect(peak, log)
        p.deadline("in_time", tone, log, within=int(within * ms))
        p.rate_deadline("alive", peak, within=200 * ms)
        return p
"""
LIVE = """\
    from nodes.postprocess import JsonLines
    from streamflow import Node, Out, Pipeline
    import numpy as np

    class Ticks(Node):
        live = True
        ticks = Out("float64[]")

        async def run(self):
            due_ns = self.context.now_ns()
            while True:
                due_ns += 20_000_000
                await self.context.sleep_until(due_ns)
                await self.emit(np.float64(1.0))

    def build() -> Pipeline:
        p = Pipeline("ticking")
        p.connect(p.add("ticks", Ticks()), p.add("log", JsonLines("-")))
        return p
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(folder: Path) -> Iterator[Run]:
    """The command line in a process of its own, with a temporary folder of its own, short enough for sockets."""
    temporary = tempfile.mkdtemp(prefix="sf", dir="/tmp")

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "streamflow", *arguments]
        environment = {**os.environ, "TMPDIR": temporary}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    yield call
    left = list(Path(temporary).iterdir())
    shutil.rmtree(temporary)
    assert left == []


@pytest.fixture
def timed(write) -> str:
    write("pipelines/timed.py", TIMED)
    return "pipelines/timed.py"


def test_a_profile_is_stored_beside_the_pipeline_and_tells_whether_deadlines_can_be_met(run, streamflow, timed, folder):
    ended = run("profile", timed)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1] == "stored in pipelines/timed.profile.json"
    content = json.loads((folder / "pipelines/timed.profile.json").read_text())
    assert content["mode"] == "offline"
    assert content["stages"]["peak"]["service_ms"]["1"]["count"] == 31, "all but the first"
    assert content["edges"]["tone.signal->peak.input"]["rate_hz"] == pytest.approx(31.25, rel=0.05)
    checked = streamflow("check", timed)
    assert checked.code == 0
    assert [line.split(",")[0] for line in checked.out.splitlines() if line.startswith("deadline")] == [
        "deadline in_time: PASS",
        "deadline alive: PASS",
    ]
    never = streamflow("check", timed, "--set", "within=0.02")
    assert never.code == 0
    assert "deadline in_time: FAIL" in never.out
    assert never.sentences == ["note: the profile was taken with other settings: within by default (now 0.02)"]
    strict = streamflow("check", timed, "--set", "within=0.02", "--strict")
    assert strict.code == 2
    assert strict.sentences[-1] == "streamflow: deadline in_time: it cannot be met"


def test_paced_and_elsewhere_where_asked(run, streamflow, timed, folder):
    ended = run("profile", timed, "--paced", "--set", "seconds=0.5", "--out", "mine.json")
    assert ended.returncode == 0, ended.stderr
    content = json.loads((folder / "mine.json").read_text())
    assert (content["mode"], content["settings"]) == ("paced", {"seconds": "0.5"})
    assert 0 < content["edges"]["peak.output->log.data"]["transport_ms"]["count"] <= 16
    assert not (folder / "pipelines/timed.profile.json").exists()
    checked = streamflow("check", timed, "--profile", "mine.json", "--set", "seconds=0.5")
    assert "deadline in_time: PASS" in checked.out


def test_a_live_source_is_run_paced_for_as_long_as_was_asked(run, write, folder):
    write("pipelines/ticking.py", LIVE)
    ended = run("profile", "pipelines/ticking.py", "--duration", "1")
    assert ended.returncode == 0, ended.stderr
    content = json.loads((folder / "pipelines/ticking.profile.json").read_text())
    assert content["mode"] == "paced"
    assert content["edges"]["ticks.ticks->log.data"]["rate_hz"] == pytest.approx(50, rel=0.2)


def test_of_a_pipeline_that_fails_nothing_is_stored(run, write, folder):
    text = TIMED.replace("Function(max", "Function(broken")
    write("pipelines/broken.py", text + "\n    def broken(samples):\n        raise ValueError('no')\n")
    ended = run("profile", "pipelines/broken.py")
    assert ended.returncode == 1
    assert "no profile was stored" in ended.stderr.splitlines()[-1]
    assert not (folder / "pipelines/broken.profile.json").exists()


def test_without_a_profile_check_says_how_to_make_one(streamflow, timed):
    checked = streamflow("check", timed)
    assert checked.code == 0
    note = "note: deadlines are not examined, no profile: run streamflow profile pipelines/timed.py"
    assert note in checked.out.splitlines()


def test_a_damaged_profile_is_one_sentence(streamflow, timed, write):
    write("pipelines/timed.profile.json", "{")
    checked = streamflow("check", timed)
    assert (checked.code, checked.out) == (2, "")
    assert len(checked.sentences) == 1
