"""Claims about what a run survives: killed and stopped stages, a crash loop, and what is left of a killed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from streamflow.core.timebase import s
from tools.campaigns import soak
from tools.campaigns.storm import (
    SHAPES,
    Blow,
    a_patient,
    broken_account,
    numbered_storm,
    quantile,
    storm,
)
from tools.claims.command import SHARED_MEMORY, Run, a_run, files_below, wait_until
from tools.claims.framework import ROOT, Claim, Options, Row, recording

KILLS, STOPS, COLD_KILLS = 100, 30, 20
KILLS_QUICK, STOPS_QUICK, COLD_KILLS_QUICK = 10, 5, 5
NUMBERED_KILLS, NUMBERED_KILLS_QUICK = 20, 5
SPEECH = {stage: stage for stage in ("mic", "vad", "segments", "log", "probabilities")}
SPEECH_S = 60.0
SPEECH_GAP_S = (0.3, 0.9)
COLD_GAP_S = (0.3, 0.6)
BACK_MS, BACK_MS_P99 = 150.0, 400.0
GONE_S = 1.0
CRASHING = "tools/campaigns/crashing.py"


def speech_storm(options: Options) -> Iterator[Row]:
    """`kill -9` of each stage of `speech` at random moments, and SIGSTOP: the rest goes on, and all adds up."""
    kills, stops = (KILLS_QUICK, STOPS_QUICK) if options.is_quick else (KILLS, STOPS)
    cold = COLD_KILLS_QUICK if options.is_quick else COLD_KILLS
    yield from _blows("kill -9", _speech_blows(kills, [signal.SIGKILL], ()), BACK_MS, BACK_MS_P99)
    yield from _blows("SIGSTOP", _speech_blows(stops, [signal.SIGSTOP], ()), BACK_MS, BACK_MS_P99)
    cold_blows, _ = _speech_blows(cold, [signal.SIGKILL], ("--launcher", "spawn"))
    backs = [blow.back_ms for blow in cold_blows]
    text = f"{quantile(backs, 0.5):.0f} ms median, {max(backs):.0f} ms longest of {len(backs)}"
    yield Row("kill -9, import-cold (--launcher spawn), back at work", "", text, None)


def _speech_blows(
    count: int, signals: Sequence[signal.Signals], more: Sequence[str]
) -> tuple[list[Blow], list[list[str]]]:
    """So many blows, over as many runs of the recording as that takes; and the broken sums of each run."""
    wav, model = recording("silero_vad/test.wav"), recording("silero_vad/silero_vad.onnx")
    settings = {"wav": wav, "model": model, "out": "{}/segments", "out_probs": "{}/p.npy"}
    chance = random.Random(3)
    blows: list[Blow] = []
    broken: list[list[str]] = []
    while len(blows) < count:
        arguments = ["--speed", "1", "--restart-limit", "100000/0.1", *more]
        left = count - len(blows)
        if left < 40:
            arguments += ["--duration", str(min(SPEECH_S, left * 2.0 + 8.0))]
        with a_patient("pipelines/speech.py", arguments, settings, SPEECH) as (run, patient):
            gap_s = COLD_GAP_S if more else SPEECH_GAP_S
            length_s = SPEECH_S if left >= 40 else min(SPEECH_S, left * 2.0 + 8.0)
            blows += storm(run, patient, chance, left, gap_s, length_s, signals=signals)
            run.wait()
            broken.append(broken_account(run.report()))
    return blows, broken


def _blows(what: str, found: tuple[list[Blow], list[list[str]]], median_ms: float, p99_ms: float) -> Iterator[Row]:
    blows, broken = found
    backs = [blow.back_ms for blow in blows]
    middle, last = quantile(backs, 0.5), quantile(backs, 0.99)
    by_stage = {name: [blow.back_ms for blow in blows if blow.process == name] for name in SPEECH}
    bound = f"≤ {median_ms:.0f} ms median, ≤ {p99_ms:.0f} ms p99"
    text = f"{middle:.0f} ms median, {last:.0f} ms p99 of {len(backs)}"
    yield Row(f"{what}, back at work", bound, text, middle <= median_ms and last <= p99_ms)
    each = ", ".join(f"{name} {quantile(ms, 0.5):.0f}" for name, ms in by_stage.items() if ms)
    yield Row(f"{what}, by stage", "", f"median ms: {each}", None)
    stayed = sum(blow.others_stayed for blow in blows)
    yield Row(f"{what}, the rest never stops", f"{len(blows)} of {len(blows)}", f"{stayed}", stayed == len(blows))
    sentences = [line for lines in broken for line in lines]
    held = "; ".join(sentences) or f"in {len(broken)} runs"
    yield Row(f"{what}, conserved", "every time", held, not sentences)


def numbered(options: Options) -> Iterator[Row]:
    """What was lost, held against the numbers that the sinks have on disk: each missing one is accounted for."""
    count = NUMBERED_KILLS_QUICK if options.is_quick else NUMBERED_KILLS
    for overflow in ("block", "drop_oldest"):
        for shape in SHAPES:
            result = numbered_storm(shape, overflow, count, seed=5)
            wrong = [str(one) for one in result.counts if not one.is_exact] + result.broken
            if not result.stayed:
                wrong.append("another process was restarted as well")
            text = f"{len(result.blows)} kills, {result.lost} lost" + (f"; {'; '.join(wrong)}" if wrong else "")
            yield Row(f"{shape}, {overflow}", "emitted - found - dropped = lost", text, not wrong)


def crash_loop(options: Options) -> Iterator[Row]:
    """A stage that fails again and again: the run gives up, in order, and says why."""
    for how, sentence in (
        ("raises", "ValueError"),
        ("killed", "SIGKILL"),
        ("open", "OSError"),
    ):
        settings = {"how": how, "mark": "{}/mark", "out": "{}/lines"}
        with (
            tempfile.TemporaryDirectory(prefix="claim-") as keep,
            a_run(CRASHING, ["--keep", keep, "--log-level", "error"], settings) as run,
        ):
            code = run.wait(60.0)
            errors = run.errors()
            lines = (Path(keep) / "recordings" / "events.jsonl").read_text().splitlines()
            events = [json.loads(line) for line in lines]
            yield Row(f"{how}, exit code", "1", str(code), code == 1)
            own = [line for line in errors if line.startswith("streamflow: ")]
            is_clear = len(own) == 1 and "stage crashing" in own[0] and "allowed" in own[0] and sentence in own[0]
            yield Row(f"{how}, why", "one sentence: stage, cause, limit", " / ".join(own) or "none", is_clear)
            failed_ns = [event["at_ns"] for event in events if event["event"] == "failed"]
            most = max(sum(start <= at_ns <= start + 10 * s for at_ns in failed_ns) for start in failed_ns)
            yield Row(f"{how}, failures in any 10 s", "6, the intensity and one", str(most), most == 6)
            stopped = [event["process"] for event in events if event["event"] == "stopped"]
            expected = ["sink", "source"]
            yield Row(f"{how}, stops", " then ".join(expected), " then ".join(stopped), stopped == expected)
            yield _gone(run, 2.0)


def supervisor_killed(options: Options) -> Iterator[Row]:
    """`kill -9` of the run: nothing of it lives on, and what it recorded can be read."""
    settings = {"out": "{}", "count": 100_000}
    with a_patient("tools/campaigns/numbered.py", (), settings, SHAPES["line"].stages) as (run, patient):
        time.sleep(1.5)
        os.kill(run.pid, signal.SIGKILL)
        took_s = wait_until(lambda: not _alive(run), GONE_S)
        left = ", ".join(_alive(run)[:4])
        yield Row(
            "processes, sockets, memory", f"none after {GONE_S:g} s", left or f"none after {took_s:.2f} s", not left
        )
        for command in (
            ["misses", str(patient.folder.path)],
            ["trace", str(patient.folder.path), str(run.folder / "trace.json")],
        ):
            told = _streamflow(command, run)
            text = f"exit code {told.returncode}" + (f": {told.stderr.strip()[-80:]}" if told.returncode else "")
            yield Row(f"streamflow {command[0]} of the dead run", "exit code 0", text, told.returncode == 0)
        yield from _next_start(run)


def _next_start(run: Run) -> Iterator[Row]:
    """The next run of the same pipeline clears up: of the dead ones the newest is kept."""
    before = sorted(path.name for path in run.scratch.glob("*/[!.]*"))
    told = _streamflow(
        ["run", "tools/campaigns/numbered.py", "--quiet", "--set", f"out={run.folder}", "--set", "count=50"], run
    )
    after = sorted(path.name for path in run.scratch.glob("*/[!.]*"))
    text = f"exit code {told.returncode}, {len(before)} dead before, {len(after)} after"
    yield Row("the next start", "runs, and leaves one dead run at most", text, told.returncode == 0 and len(after) <= 1)


def _streamflow(arguments: Sequence[str], run: Run) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("streamflow")), *arguments]
    environment = os.environ | {"TMPDIR": str(run.scratch)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def _alive(run: Run) -> list[str]:
    """What of a killed run should not be: processes, sockets, memory; not what can be read of it."""
    found = [f"process {pid} ({' '.join(words)[:60]})" for pid, words in run.processes().items()]
    found += [f"socket {path.name}" for path in files_below(run.scratch) if path.is_socket()]
    return found + _memory(run)


def _memory(run: Run) -> list[str]:
    """Folders in memory that belong to the run; others may come and go meanwhile."""
    links = SHARED_MEMORY.glob("*/.run")
    return [f"shared memory {link.parent.name}" for link in links if link.readlink().is_relative_to(run.scratch)]


def _gone(run: Run, limit_s: float) -> Row:
    def left() -> list[str]:
        return [*(entry for entry in run.leftovers() if not entry.startswith("shared memory")), *_memory(run)]

    took_s = wait_until(lambda: not left(), limit_s)
    measured = ", ".join(left()[:4]) if took_s is None else f"nothing after {took_s:.2f} s"
    return Row("left behind", f"nothing within {limit_s:g} s", measured, took_s is not None)


def soaked(options: Options) -> Iterator[Row]:
    """Minutes of `host` with kills and hangs every few seconds: nothing grows, and all adds up."""
    result = soak.soak(60.0 if options.is_quick else 600.0, seed=7)
    for name, bound, measured, holds in result.rows():
        yield Row(name, bound, measured, holds)


CLAIMS = (
    Claim("speech under fire", speech_storm),
    Claim("numbered data under fire", numbered),
    Claim("crash loop", crash_loop),
    Claim("kill -9 of the supervisor", supervisor_killed),
    Claim("soak", soaked),
)
