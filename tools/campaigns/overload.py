"""How much of an overloaded stage's time goes into results that are in time, read from the flight recorders.

Useful is the time of service, as the recorder has it (from the start of the handling until its result was handed on,
less what it waited for room), of data that were done in time at the sink. It is divided by the time from the first to
the last of these services, without the run's first second: as far as the stage's ring goes back, 20 s. What user code
alone took is told beside it. What was shed at the sink has reached the sink, and was not in time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamflow.core.verdict import Kind
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import Rows
from tools.campaigns.overload_pipeline import SERVICE_MS, SINK, STAGE, WITHIN_MS
from tools.claims.command import a_run
from tools.claims.framework import ShortfallError, environment

PIPELINE = "tools.campaigns.overload_pipeline"
SECONDS = 30.0
WARM_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Overload:
    """What became of it. `useful_share` and `user_share`: of the stage's time; `busy_share` counts late data too."""

    reached_count: int
    in_time_count: int
    useful_share: float
    user_share: float
    busy_share: float
    seconds: float
    conserved: bool | list[str]

    @property
    def in_time_share(self) -> float:
        return self.in_time_count / self.reached_count if self.reached_count else 0.0


def measure(seconds: float = SECONDS, *, is_enforced: bool = True) -> Overload:
    """Run it for so long. Raises ShortfallError."""
    options = ["--duration", str(seconds), *([] if is_enforced else ["--no-enforcement"])]
    with tempfile.TemporaryDirectory(prefix="overload-") as name:
        with a_run(PIPELINE, [*options, "--keep", f"{name}/kept"]) as run:
            report = run.succeed()
        return _judge(Path(name) / "kept" / "recordings", report["conserved"])


def _judge(recordings: Path, conserved: bool | list[str]) -> Overload:
    worked, reached = (_records(recordings, stage) for stage in (STAGE, SINK))
    worked = worked[worked["kind"] == Kind.RUN]
    if not len(worked) or not len(reached):
        raise ShortfallError("nothing has reached the sink")
    is_in_time = reached["ended_ns"] - reached["event_time_ns"] <= WITHIN_MS * 1_000_000
    in_time = reached[(reached["kind"] == Kind.RUN) & is_in_time]
    worked = worked[worked["started_ns"] >= reached["started_ns"][0] + WARM_NS]
    took_ns = int(worked["ended_ns"][-1] - worked["started_ns"][0])
    service_ns = worked["ended_ns"] - worked["started_ns"] - worked["blocked_ns"]
    is_useful = np.isin(worked["seq"], in_time["seq"])
    return Overload(
        reached_count=len(reached),
        in_time_count=len(in_time),
        useful_share=float(service_ns[is_useful].sum() / took_ns),
        user_share=float(is_useful.sum() * SERVICE_MS * 1e6 / took_ns),
        busy_share=float(service_ns.sum() / took_ns),
        seconds=took_ns / 1e9,
        conserved=conserved,
    )


def _records(recordings: Path, stage: str) -> Rows:
    """Data that were handled or shed there, the oldest first."""
    recording = Recording.open(recordings / f"{stage}.rec")
    rows = recording.tail(0).records
    recording.close()
    return rows[np.isin(rows["kind"], [Kind.RUN, Kind.SHED])]


def text(one: Overload) -> str:
    useful = f"useful {one.useful_share:.1%} of {one.seconds:.0f} s (user code {one.user_share:.1%})"
    return f"{one.in_time_share:.2%} of {one.reached_count:,} in time; {useful}, busy {one.busy_share:.1%}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    asked = parser.parse_args(arguments)
    print(environment())
    for is_enforced in (True, False):
        way = "SHED" if is_enforced else "without enforcement"
        print(f"{way:20} {text(measure(asked.seconds, is_enforced=is_enforced))}")


if __name__ == "__main__":
    main()
