"""The claims of the cabin: four sensors at their own rates, each in time, joined as the files say they must be."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tools.claims.cabin_reference import SENSES, Files, Record, Reference, differences
from tools.claims.command import a_run
from tools.claims.framework import Claim, HostShare, Options, Row, main, recording

SECONDS, QUICK_SECONDS = 60, 10
LAPS = 2  # of a video of 39.9 s
SENSORS = ("mic", "camera", "imu", "thermometer")
SHARE_MIN = 0.999
PRIORITY = 2  # real time: it takes 1.2 of two processors, and whoever else takes one would leave too little
AGE_MS_MAX = {"speech": 100.0, "attitude": 50.0, "temperature": 3000.0}  # as `max_age` of the pipeline's join
SKEW_MS_MAX = max(AGE_MS_MAX.values())  # the frame is the newest of a record, what is joined at most so much older
TOLD_COUNT = 3  # records that differ, said in full


def at_real_time(options: Options) -> Iterator[Row]:
    """At the speed at which it was recorded: in time, fresh, and what the files say."""
    files, seconds = _files(), _seconds(options)
    settings = _settings(files, seconds) | {"priority": PRIORITY}
    host, use = HostShare(), ProcessorUse()
    with a_run("pipelines/cabin.py", ["--speed", "1"], settings) as run:
        report = run.succeed()
        taken = f"{use}, {host}"
        records = _records(run.folder / "records")
    for sensor in SENSORS:
        yield _in_time(sensor, report["paths"][sensor])
    yield Row("processors meanwhile", "", taken, None)
    for sense, bound_ms in AGE_MS_MAX.items():
        yield _within(f"age of {sense}", [record[f"{sense}_age_ms"] for record in records], bound_ms)
    yield _within("skew", [record["skew_ms"] for record in records], SKEW_MS_MAX)
    yield from _as_the_files_say(records, Reference(files, seconds), report)


def without_a_clock(options: Options) -> Iterator[Row]:
    """As fast as it goes: every frame has its record."""
    files, seconds = _files(), _seconds(options)
    with a_run("pipelines/cabin.py", ["--offline"], _settings(files, seconds)) as run:
        report = run.succeed()
        records = _records(run.folder / "records")
    reference = Reference(files, seconds)
    bound = f"{reference.frame_count:,}"
    yield Row("frames with a record", bound, f"{len(records):,}", len(records) == reference.frame_count)
    yield from _as_the_files_say(records, reference, report)


class ProcessorUse:
    """How many processors this process's children have taken since this was made, those that have ended, and others."""

    def __init__(self) -> None:
        self._before = self._spent_s()

    @staticmethod
    def _spent_s() -> tuple[float, float, float]:
        """Time that has passed, that children took, that anybody took."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        with open("/proc/stat") as stat:
            user, nice, system, _, _, interrupts, soft_interrupts = map(int, stat.readline().split()[1:8])
        busy = user + nice + system + interrupts + soft_interrupts
        return time.monotonic(), children.ru_utime + children.ru_stime, busy / os.sysconf("SC_CLK_TCK")

    def __str__(self) -> str:
        passed, own, every = (now - before for now, before in zip(self._spent_s(), self._before, strict=True))
        return f"the run took {own / passed:.2f}, others {max(every - own, 0) / passed:.2f}"


def _in_time(sensor: str, path: Mapping[str, Any]) -> Row:
    """What a record did not need is in time where it was known so before its deadline."""
    in_time, produced = path["met"] + path["absorbed"], path["produced"]
    share = in_time / max(produced, 1)
    latency = path["latency_ms"]
    took = f"p50 {latency['p50']:.0f}, p99 {latency['p99']:.0f}, max {latency['max']:.0f} ms"
    measured = f"{share:.3%} ({in_time:,} of {produced:,}); {took}"
    return Row(f"{sensor} to record, in time", f">= {SHARE_MIN:.1%} in {path['within_ms']:g} ms", measured,
               share >= SHARE_MIN)  # fmt: skip


def _within(what: str, found_ms: list[float | None], bound_ms: float) -> Row:
    """`found_ms` has None where there was nothing."""
    there = [value for value in found_ms if value is not None]
    missing = f", none in {len(found_ms) - len(there)}" if len(there) < len(found_ms) else ""
    worst = max(there, default=float("inf"))
    measured = f"at most {worst:.2f} ms in {len(there):,} records{missing}"
    return Row(what, f"<= {bound_ms:g} ms in every record", measured, worst <= bound_ms)


def _as_the_files_say(records: list[Record], reference: Reference, report: Mapping[str, Any]) -> Iterator[Row]:
    expected = reference.records([record["frame"] for record in records])
    wrong = differences(records, expected)
    told = "".join(f"; {each}" for each in wrong[:TOLD_COUNT])
    of_frames = f"{len(records) - len(wrong):,} of {len(records):,}, of {reference.frame_count:,} frames{told}"
    yield Row("records as the files say", "all", of_frames, bool(records) and not wrong)
    states = {sense: sum(record[f"{sense}_state"] == "used" for record in records) for sense in SENSES}
    yield Row("records with news of each sense", "", ", ".join(f"{k} {n:,}" for k, n in states.items()), None)
    conserved = report["conserved"]
    yield Row("conserved", "true", "true" if conserved is True else "; ".join(conserved), conserved is True)


def _files() -> Files:
    return Files(
        wav=recording("silero_vad/test.wav"),
        video=recording("cam_fastestdet/bottle-detection.mp4"),
        imu=recording("imu_riann/broad_02_undisturbed_slow_rotation_B.hdf5"),
        speech_model=recording("silero_vad/silero_vad.onnx"),
        object_model=recording("cam_fastestdet/FastestDet.onnx"),
        attitude_model=recording("imu_riann/riann.onnx"),
        names=recording("cam_fastestdet/coco.names"),
    )


def _settings(files: Files, seconds: int) -> dict[str, object]:
    named = {name: getattr(files, name) for name in Files.__dataclass_fields__}
    return {"sensors": "recordings", "seconds": seconds, "laps": LAPS, "out": "{}/records"} | named


def _seconds(options: Options) -> int:
    return QUICK_SECONDS if options.is_quick else SECONDS


def _records(path: Any) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


CLAIMS = [
    Claim("cabin at real time", at_real_time),
    Claim("cabin --offline", without_a_clock),
]

if __name__ == "__main__":
    sys.exit(main("rates-cabin", CLAIMS))
