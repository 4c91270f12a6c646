"""The claims of recurrent state: a killed detector goes on as its marks say; what state costs a stream in a step."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamflow.memory.states import States
from tools.bench.states import BATCH_COUNTS, LAYOUTS, STREAM_COUNT, Batch, measure
from tools.campaigns.storm import a_patient, broken_account, storm
from tools.claims.command import SHARED_MEMORY
from tools.claims.framework import ROOT, Claim, HostShare, Options, Row, main, recording

KILLS, KILLS_QUICK = 20, 3
GAP_S = (0.5, 1.5)
SPEECH_S, SPEECH_QUICK_S = 60.0, 12.0
STAGES = {stage: stage for stage in ("mic", "vad", "segments", "log", "chunks")}
PATH = "mic->chunks"
ANYWHERE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("lossless", ()),
    ("lossless_twice", ()),
    ("lossless_fan", ()),
    ("lossless", ("--stage", "middle", "--again")),
    ("lossless", ("--stage", "middle", "--with", "sink")),
    ("lossless", ("--stage", "sink", "--after", "middle")),
)
CHUNK, CONTEXT = 512, 64
TOLERANCE = 1e-4  # on probabilities: another build of the same arithmetic
ROUNDS, ROUNDS_QUICK = 60, 5
STEP_US_MAX = 5.0  # of a stream, to gather and to commit
RATIO_MAX = 1.3  # of what the same costs in a dictionary of arrays, which is lost with its process

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Result:
    """One that came, of the chunk of this number."""

    number: int
    probability: float
    gap: int
    action: str


@dataclass(frozen=True, slots=True)
class Carried:
    """What the detector has of the stream."""

    state: Floats
    tail: Floats


class Detector:
    """The model by itself, stepped by hand: nothing of what is claimed is in it."""

    def __init__(self, wav: Path, model: Path) -> None:
        import onnxruntime  # an extra

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        with wave.open(str(wav)) as file:
            sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
        self.chunks = np.pad(sound, (0, -len(sound) % CHUNK)).reshape(-1, CHUNK)

    def start(self) -> Carried:
        return Carried(np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32))

    def step(self, carried: Carried, number: int) -> tuple[float, Carried]:
        chunk = self.chunks[number]
        fed = {
            "input": np.concatenate([carried.tail, chunk])[None],
            "state": carried.state,
            "sr": np.array(16_000, np.int64),
        }
        probability, state = self._session.run(["output", "stateN"], fed)
        return float(probability[0, 0]), Carried(state, chunk[-CONTEXT:])

    def steps(self, carried: Carried, numbers: Sequence[int]) -> Carried:
        for number in numbers:
            _, carried = self.step(carried, number)
        return carried


@dataclass(slots=True)
class Followed:
    """What of a run's results the detector by itself confirms."""

    right: int = 0
    worst: float = 0.0
    marked: int = 0
    marks: int = 0
    unheard: int = 0
    """Chunks that the state has seen and whose results went with the process."""
    first_wrong: str = ""


def follow(detector: Detector, results: Sequence[Result]) -> Followed:
    """Each result is to be that of a state frozen over exactly what it says is missing, and over nothing else.

    Of data that are missing and not marked the state has seen all but those whose mark went with another result.
    """
    found = Followed()
    carried, last = detector.start(), -1
    for result in results:
        missing = list(range(last + 1, result.number))
        found.marked += result.gap
        found.marks += result.gap > 0
        best = None
        for seen in _seen(missing[: len(missing) - result.gap]):
            before = detector.steps(carried, seen)
            probability, after = detector.step(before, result.number)
            error = abs(probability - result.probability)
            if best is None or error < best[0]:
                best = error, len(seen), after
            if error <= TOLERANCE:
                break
        assert best is not None, "there is one way at least in which nothing of it was seen"
        error, unheard, carried = best
        found.unheard += unheard
        found.worst = max(found.worst, error)
        is_right = error <= TOLERANCE and result.gap <= len(missing)
        found.right += is_right
        if not is_right and not found.first_wrong:
            found.first_wrong = f"chunk {result.number} is {error:.1e} off"
        last = result.number
    return found


def _seen(unmarked: list[int]) -> Iterator[list[int]]:
    """What a state may have seen of data that are missing and unmarked, the likeliest first: all, or all but a gap."""
    yield unmarked
    for length in range(1, len(unmarked) + 1):
        for start in range(len(unmarked) - length + 1):
            yield unmarked[:start] + unmarked[start + length :]


@dataclass(frozen=True, slots=True)
class Killed:
    """What a run gave whose stage was killed so often; `stayed`: whether the others did, each time."""

    results: list[Result]
    report: dict[str, Any]
    stayed: list[bool]
    detector: Detector


def run_and_kill(
    options: Options, victim: str, kills: int, settings: dict[str, Any], *, is_in_service: bool = False
) -> Killed:
    """`speech` in real time, and `kill -9` of one of its stages: at any time, or in the midst of its work."""
    wav, model = recording("silero_vad/test.wav"), recording("silero_vad/silero_vad.onnx")
    length_s = SPEECH_QUICK_S if options.is_quick else SPEECH_S
    told = {"wav": wav, "model": model, "out": "{}/segments", "out_chunks": "{}/chunks", **settings}
    arguments = ["--speed", "1", "--restart-limit", "100000/0.1"]
    arguments += ["--duration", str(length_s if options.is_quick else length_s + 5.0)]
    with a_patient("pipelines/speech.py", arguments, told, STAGES) as (run, patient):
        chance = random.Random(11)
        blows = storm(run, patient, chance, kills, GAP_S, length_s, victims=[victim], is_in_service=is_in_service)
        report = run.succeed()
        results = read_results(run.folder / "chunks")
    return Killed(results, report, [blow.others_stayed for blow in blows], Detector(wav, model))


def lossless(options: Options) -> Iterator[Row]:
    """`kill -9` of a stage of `speech` over lossless edges: what comes out is what does where nobody dies."""
    kills = KILLS_QUICK if options.is_quick else KILLS
    for victim in ("vad", "mic", "chunks"):
        run = run_and_kill(options, victim, kills, {"lossless": True}, is_in_service=True)
        yield Row(f"kill -9 of {victim} at work", f"{kills}, the rest stays", *_stayed(run.stayed, kills))
        yield from _undisturbed(run)


def _undisturbed(run: Killed) -> Iterator[Row]:
    numbers = [result.number for result in run.results]
    count = run.report["paths"][PATH]["produced"]
    whole = list(range(count))
    text = f"{len(set(numbers)):,} of {count:,}, {len(numbers) - len(set(numbers))} twice"
    yield Row("chunks with a result", "all, once, in order", text, numbers == whole)
    carried, worst = run.detector.start(), 0.0
    for result in run.results:
        probability, carried = run.detector.step(carried, result.number)
        worst = max(worst, abs(probability - result.probability))
    yield Row("furthest from the model by itself", f"{TOLERANCE:g}", f"{worst:.1e}", worst <= TOLERANCE)
    redone = {edge: counts["redone"] for edge, counts in run.report["edges"].items() if counts["redone"]}
    lost = sum(counts["lost"] for counts in run.report["edges"].values())
    yield Row("done again; lost", "0 lost", f"{sum(redone.values())}; {lost}", lost == 0)
    broken = broken_account(run.report)
    yield Row("conserved", "true", "; ".join(broken) or "true", not broken)


def killed_anywhere(options: Options) -> Iterator[Row]:
    """Each stage is killed before any line that makes a difference, in virtual time: nothing lost, nothing twice."""
    for pipeline, more in ANYWHERE:
        every = 40 if options.is_quick else 3
        command = [sys.executable, "-m", "tools.campaigns.crash_points", "--pipeline", pipeline, "--every", str(every)]
        ended = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, check=False)
        told = ended.stdout.splitlines()[-1] if ended.stdout else ended.stderr[-200:]
        yield Row(" ".join([pipeline, *more]), "0 broken", told.partition(", in")[0], ended.returncode == 0)


def killed(options: Options) -> Iterator[Row]:
    """`kill -9` of the detector of `speech`: each result is as its marks say, what else is missing is lost."""
    kills = KILLS_QUICK if options.is_quick else KILLS
    run = run_and_kill(options, "vad", kills, {})
    results, report = run.results, run.report
    yield Row("kill -9 of the detector", f"{kills}, the rest stays", *_stayed(run.stayed, kills))
    followed = follow(run.detector, results)
    text = f"{followed.right:,}, the furthest {followed.worst:.1e}" + _told(followed.first_wrong)
    yield Row(
        "results as their marks say", f"{len(results):,} within {TOLERANCE:g}", text, followed.right == len(results)
    )
    yield from _accounts(report, results, followed)


def _stayed(stayed: Sequence[bool], kills: int) -> tuple[str, bool]:
    return f"{len(stayed)}, {sum(stayed)} times", len(stayed) == kills and all(stayed)


def _told(sentence: str) -> str:
    return f"; {sentence}" if sentence else ""


def _accounts(report: dict[str, Any], results: Sequence[Result], followed: Followed) -> Iterator[Row]:
    path = report["paths"][PATH]
    missing = path["produced"] - len(results)
    at_end = path["produced"] - 1 - results[-1].number
    given_up = path["dropped"] + path["shed"] + path["rejected"]
    yield Row(
        "marked gaps",
        "",
        f"{followed.marks} in which {followed.marked} data are missing, {given_up} dropped or shed",
        None,
    )
    text = f"{path['lost']} lost, {given_up} dropped or shed, {missing} missing of {path['produced']:,}"
    yield Row("missing results: lost, dropped or shed", "all, exactly", text, path["lost"] + given_up == missing)
    unmarked = missing - followed.marked
    text = f"{unmarked}: {followed.unheard} had been stepped with, {at_end} at the end"
    yield Row("unmarked ones: stepped with, result lost", "all, exactly", text, unmarked == followed.unheard + at_end)
    broken = broken_account(report)
    yield Row("conserved", "true", "; ".join(broken) or "true", not broken)


def read_results(path: Path) -> list[Result]:
    found = []
    for line in path.read_text().splitlines():
        told = json.loads(line)
        (probability,) = told["array"]
        found.append(Result(told["sample"] // CHUNK, probability, told["gap"] or 0, told["gap_action"] or ""))
    return found


def cost(options: Options) -> Iterator[Row]:
    """To gather a stream's state and commit the next, beside a dictionary of arrays in the process."""
    rounds = ROUNDS_QUICK if options.is_quick else ROUNDS
    memory = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        for name, tensors in LAYOUTS.items():
            share = HostShare()
            states = States(Path(folder) / name, tensors, STREAM_COUNT)
            for slot in range(STREAM_COUNT):
                states.assign(slot, f"stream {slot}")
            batches = [Batch(states, count) for count in BATCH_COUNTS]
            for batch, us in zip(batches, measure(batches, rounds), strict=True):
                step_us = us["gather"] + us["commit"]
                ratio = step_us / (us["stack"] + us["cut"])
                text = f"{us['gather']:.2f} + {us['commit']:.2f} µs, {ratio:.2f} of it ({share})"
                bound = f"≤ {STEP_US_MAX:g} µs, ≤ {RATIO_MAX:g} of a dictionary's"
                yield Row(f"{name}, batch of {batch.count}", bound, text, step_us <= STEP_US_MAX and ratio <= RATIO_MAX)
            states.close()


CLAIMS = (
    Claim("lossless under fire", lossless),
    Claim("lossless at any step", killed_anywhere),
    Claim("state under fire", killed),
    Claim("state, cost in a step", cost),
)

if __name__ == "__main__":
    sys.exit(main("rates-state", CLAIMS))
