"""The claims of batching under overload, with a real recurrent network in a real process: share in time by rule."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from streamflow.core.timebase import s
from tools.campaigns.batched_pipeline import DELAY_MS, PERIOD_NS, SIZE_MAX, STAGE, WITHIN_MS
from tools.claims.command import a_run
from tools.claims.framework import Claim, HostShare, Options, Row, ShortfallError, main, recording

PIPELINE = "tools.campaigns.batched_pipeline"
MODEL = "silero_vad/silero_vad.onnx"
LOADS = (0.8, 1.1, 1.4)
SECONDS, SECONDS_QUICK = 20.0, 4.0
SATURATED_S, SATURATED_QUICK_S = 6.0, 3.0
SATURATED_STREAMS = 512
OTHERS = {"one by one": f"batches of 1, SHED at {WITHIN_MS} ms", "timeout": f"up to {SIZE_MAX} after {DELAY_MS} ms"}


@dataclass(frozen=True, slots=True)
class Share:
    """What became of a run's chunks, all that were offered."""

    produced: int
    met: int
    batch: float
    conserved: bool | list[str]

    @property
    def in_time(self) -> float:
        return self.met / self.produced if self.produced else 0.0


def overloaded(options: Options) -> Iterator[Row]:
    """Silero VAD over many streams, at shares of what it can do in full batches, each rule after the other."""
    model = recording(MODEL)
    seconds = SECONDS_QUICK if options.is_quick else SECONDS
    capacity_hz, batch = _capacity(str(model), SATURATED_QUICK_S if options.is_quick else SATURATED_S)
    yield Row("capacity", "", f"{capacity_hz:,.0f} chunks/s in batches of {batch:.1f}", None)
    for load in LOADS:
        host = HostShare()
        stream_count = max(round(load * capacity_hz * PERIOD_NS / s), 1)
        ours, *others = (_share(str(model), stream_count, rule, seconds) for rule in ("ours", *OTHERS))
        told = [f"{name} {each.in_time:.1%}" for name, each in zip(OTHERS.values(), others, strict=True)]
        measured = (
            f"{ours.in_time:.1%} of {ours.produced:,}, in batches of {ours.batch:.1f} ({'; '.join(told)}; {host})"
        )
        holds = all(ours.in_time >= each.in_time for each in others)
        yield Row(f"in time, {stream_count} streams, {load:g} of capacity", ">= each other rule", measured, holds)
        conserved = [each.conserved for each in (ours, *others)]
        is_conserved = conserved == [True] * 3
        yield Row(f"conserved, {load:g} of capacity", "true", str(is_conserved).lower(), is_conserved)


def _capacity(model: str, seconds: float) -> tuple[float, float]:
    """Chunks a second when there is always one more to do, and how many were done at once."""
    report = _report(model, SATURATED_STREAMS, "ours", seconds, paced=False)
    stage = report["stages"][STAGE]
    if not stage["processed"]:
        raise ShortfallError("nothing was processed")
    return stage["processed"] / report["duration_s"], _mean(stage["batch"])


def _share(model: str, stream_count: int, rule: str, seconds: float) -> Share:
    report = _report(model, stream_count, rule, seconds)
    path = report["paths"]["chunk"]
    return Share(path["produced"], path["met"], _mean(report["stages"][STAGE]["batch"]), report["conserved"])


def _report(model: str, stream_count: int, rule: str, seconds: float, *, paced: bool = True) -> dict[str, Any]:
    arguments = ["--duration", str(seconds), *(["--no-enforcement"] if rule == "timeout" else [])]
    settings = {"model": model, "stream_count": stream_count, "rule": rule, "paced": str(paced).lower()}
    with a_run(PIPELINE, arguments, settings) as run:
        report: dict[str, Any] = run.succeed()
    return report


def _mean(sizes: dict[str, int]) -> float:
    count = sum(sizes.values())
    return sum(int(size) * each for size, each in sizes.items()) / count if count else 0.0


CLAIMS = [Claim("batching real", overloaded)]

if __name__ == "__main__":
    sys.exit(main("rates-batches", CLAIMS))
