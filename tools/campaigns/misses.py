"""Misses with a known cause, injected into a run of real processes, and whether the run names the cause.

Each injection has one datum that misses because of it: the one that the slow or hung stage works on, the next to come
where a loop, a link or a process stands still, the late one, the last of a burst. That one is judged. What is queued
behind it misses for the same reason, which is judged apart.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.campaigns import faulty
from tools.campaigns.faulty import Injection, Kind
from tools.campaigns.relay import RelayClient
from tools.claims.framework import ROOT, ShortfallError, environment

COUNT_EACH = 30
SEED = 3
LINK_MS = 60
CATCH_MS = 40  # what is taken so long after a process was killed or a link held up may be on time again
END_LIMIT_S = 60.0
START_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Miss:
    """As the run has it in its log."""

    seq: int
    event_time_ns: int
    deadline_ns: int
    detected_ns: int
    at_ns: int
    culprit: str
    stage: str
    sentence: str
    timeline: str


@dataclass(slots=True)
class Judged:
    """An injection and what became of it; `miss` None: its datum was on time all the same."""

    injection: Injection
    at_ns: int
    miss: Miss | None
    behind: list[Miss] = field(default_factory=list)

    def is_right(self, miss: Miss) -> bool:
        return (miss.culprit, miss.stage) in expected(self.injection)

    def is_right_behind(self, miss: Miss) -> bool:
        """Behind a hung stage there are two causes: it hung, and then it was killed and started again."""
        is_hung = self.injection.kind is Kind.HUNG
        return self.is_right(miss) or (is_hung and (miss.culprit, miss.stage) == ("restart", self.injection.stage))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a campaign. `others`: misses that nobody injected; the machine is to blame, or we are."""

    judged: Sequence[Judged]
    others: Sequence[Miss]
    report: dict[str, Any]

    def missed(self, kind: Kind | None = None) -> list[tuple[Judged, Miss]]:
        return [(one, one.miss) for one in self.judged if one.miss and (kind is None or one.injection.kind is kind)]

    def right_count(self, kind: Kind | None = None) -> int:
        return sum(one.is_right(miss) for one, miss in self.missed(kind))

    def behind(self) -> tuple[int, int]:
        """How many missed because they were behind, and of how many that was named right."""
        found = [one.is_right_behind(miss) for one in self.judged for miss in one.behind]
        return len(found), sum(found)

    def detection_ms(self) -> list[float]:
        """From the deadline until it was seen, of all misses, sorted; where a datum came after it, from then."""
        return self._after_deadline_ms("detected_ns")

    def logged_ms(self) -> list[float]:
        """The same until it was looked into and written down."""
        return self._after_deadline_ms("at_ns")

    def _after_deadline_ms(self, which: str) -> list[float]:
        late = {miss.seq for _, miss in self.missed(Kind.LATE)}
        misses = [miss for one in self.judged for miss in [*([one.miss] if one.miss else []), *one.behind]]
        every = [*misses, *self.others]
        return sorted((getattr(one, which) - _knowable_ns(one, is_late=one.seq in late)) / 1e6 for one in every)


def _knowable_ns(miss: Miss, *, is_late: bool) -> int:
    emitted_ns = miss.event_time_ns + faulty.LATE_MS * 1_000_000 if is_late else 0
    return max(miss.deadline_ns, emitted_ns)


def expected(injection: Injection) -> set[tuple[str, str]]:
    """(kind of culprit, stage) that an injection is to be named as."""
    stage = injection.stage
    work = "sink" if stage == faulty.SINK else "service"
    kinds = {
        Kind.SLOW: work, Kind.HUNG: work, Kind.STALL: "stall", Kind.LINK: "transport", Kind.LATE: "source jitter",
        Kind.BURST: "mailbox wait", Kind.KILL: "restart",
    }  # fmt: skip
    return {(kinds[injection.kind], stage)}


# ---------------------------------------------------------------------------------------- the run


def run(count_each: int = COUNT_EACH, seed: int = SEED, keep: Path | None = None) -> Outcome:
    """A whole campaign; `keep`: a folder for what is left of it. Raises ShortfallError where the run fails."""
    with tempfile.TemporaryDirectory(prefix="misses-", ignore_cleanup_errors=True) as name:
        folder = keep or Path(name)
        injections = faulty.plan(count_each, seed)
        faulty.save(folder / "plan.json", injections)
        (folder / "truth.jsonl").touch()
        with _a_relay(Path(name)) as relay, _a_run(folder, Path(name), injections) as process:
            done = _inject(folder, relay, process, {one.number: one for one in injections})
            code = process.wait(END_LIMIT_S)
        if code:
            raise ShortfallError(f"the run failed: {(folder / 'stderr').read_text().strip().splitlines()[-1:]}")
        (folder / "done.json").write_text(json.dumps(done))
        return judge(folder)


@contextmanager
def _a_relay(folder: Path) -> Iterator[RelayClient]:
    path = folder / "relay"
    command = [sys.executable, "-m", "tools.campaigns.relay", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise ShortfallError("the relay has not started")
            client = RelayClient(path)
            yield client
            client.close()
        finally:
            process.kill()


@contextmanager
def _a_run(folder: Path, scratch: Path, injections: Sequence[Injection]) -> Iterator[subprocess.Popen[bytes]]:
    seconds = faulty.duration_s(injections)
    command = [
        *(sys.executable, "-m", "tools.campaigns.relayed", "tools.campaigns.faulty"),
        *("--relay", str(scratch / "relay"), "--keep", str(folder / "kept"), "--report", str(folder / "report.json")),
        *("--duration", str(seconds + 5), "--set", f"folder={folder}", "--set", f"seconds={seconds}"),
    ]
    (scratch / "t").mkdir()
    environment = os.environ | {"TMPDIR": str(scratch / "t")}
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=errors)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _inject(
    folder: Path, relay: RelayClient, process: subprocess.Popen[bytes], injections: dict[int, Injection]
) -> dict[int, int]:
    """Do what is done from outside, when the source says that it is time; when it was done."""
    done: dict[int, int] = {}
    with (folder / "truth.jsonl").open() as truth:
        while process.poll() is None:
            line = truth.readline()
            if not line:
                time.sleep(0.004)  # the source is told of it up to a period before
                continue
            told = json.loads(line)
            injection = injections[told["number"]]
            if injection.kind in faulty.FROM_OUTSIDE:
                done[injection.number] = _from_outside(folder, relay, injection, told["at_ns"])
    return done


def _from_outside(folder: Path, relay: RelayClient, injection: Injection, tick_ns: int) -> int:
    left_ns = tick_ns + round(injection.delay_ms * 1e6) - time.monotonic_ns()
    if left_ns > 0:
        time.sleep(left_ns / 1e9)
    if injection.kind is Kind.LINK:
        return relay.hold(faulty.edge_into(injection.stage), LINK_MS)
    at_ns = time.monotonic_ns()
    os.kill(int(faulty.pid_file(folder, injection.stage).read_text()), signal.SIGKILL)
    return at_ns


# -------------------------------------------------------------------------------------- the judge


def judge(folder: Path) -> Outcome:
    """Compare what was done with what the run has found out."""
    injections = {one.number: one for one in faulty.load(folder / "plan.json")}
    outside = {int(number): at_ns for number, at_ns in json.loads((folder / "done.json").read_text()).items()}
    misses = {miss.seq: miss for miss in _misses(folder / "kept" / "recordings")}
    judged, named = [], set()
    told = sorted(faulty.read_truth(folder), key=lambda line: line[2])
    for (number, seq, at_ns), following in zip(told, [*(line[1] for line in told[1:]), 1 << 62], strict=True):
        injection = injections[number]
        begun_ns = outside.get(number, at_ns)
        if injection.kind in faulty.FROM_OUTSIDE:
            seq = _first_caught(misses, seq, begun_ns)
        over_ns = at_ns + faulty.QUIET_MS[injection.kind] * 1_000_000
        one = Judged(injection, begun_ns, misses.get(seq))
        first = seq - faulty.BURST_COUNT if injection.kind is Kind.BURST else seq - 1
        one.behind = [
            miss for miss in misses.values()
            if first <= miss.seq < following and miss.seq != seq and miss.event_time_ns < over_ns
        ]  # fmt: skip
        named |= {seq, *(miss.seq for miss in one.behind)}
        judged.append(one)
    report = json.loads((folder / "report.json").read_text())
    return Outcome(judged, [miss for miss in misses.values() if miss.seq not in named], report)


def _first_caught(misses: Mapping[int, Miss], seq: int, begun_ns: int) -> int:
    """The first after the tick's own that was caught by it and not lost with it."""
    end_ns = begun_ns + CATCH_MS * 1_000_000
    return next((n for n in range(seq + 1, seq + 4) if n in misses and misses[n].event_time_ns < end_ns), seq + 1)


def _misses(recordings: Path) -> Iterator[Miss]:
    for name in ("events.1.jsonl", "events.jsonl"):
        path = recordings / name
        for line in path.read_text().splitlines() if path.exists() else ():
            event = json.loads(line)
            if event["event"] == "miss":
                yield Miss(**{key: event[key] for key in Miss.__slots__})


def quantile(values: Sequence[float], share: float) -> float:
    """Of sorted values; not a number where there are none."""
    return values[min(int(share * len(values)), len(values) - 1)] if values else float("nan")


def delays_text(delays_ms: Sequence[float]) -> str:
    """Of sorted ones."""
    p50, p99, last = (quantile(delays_ms, share) for share in (0.5, 0.99, 1.0))
    return f"p50 {p50:.1f}, p99 {p99:.1f}, max {last:.1f} ms of {len(delays_ms):,}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="misses", description=__doc__)
    parser.add_argument("--each", type=int, default=COUNT_EACH, help="injections of every kind")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--keep", type=Path, help="an empty folder that gets everything")
    parser.add_argument("--judge", type=Path, metavar="FOLDER", help="what was kept, once more; nothing is run")
    asked = parser.parse_args(arguments)
    print(environment())
    outcome = judge(asked.judge) if asked.judge else run(asked.each, asked.seed, asked.keep)
    for kind in Kind:
        count = sum(one.injection.kind is kind for one in outcome.judged)
        print(f"{kind:16} {outcome.right_count(kind)} named right of {len(outcome.missed(kind))} missed of {count}")
    for one in outcome.judged:
        _print_wrong(one)
    behind, right = outcome.behind()
    print(f"behind them      {right} named right of {behind} missed")
    print(f"not injected     {len(outcome.others)} missed")
    for miss in outcome.others:
        print(f"    {miss.seq}: {miss.sentence} | {miss.timeline}")
    print(f"seen after the deadline: {delays_text(outcome.detection_ms())}")
    print(f"written down after it:   {delays_text(outcome.logged_ms())}")
    print(f"conserved: {outcome.report['conserved']}")


def _print_wrong(one: Judged) -> None:
    what = f"{one.injection.number} {one.injection.kind} {one.injection.stage}"
    if one.miss is None:
        print(f"    {what}: no miss")
    elif not one.is_right(one.miss):
        print(f"    {what}: {one.miss.seq} {one.miss.sentence} | {one.miss.timeline}")
    for miss in one.behind:
        if not one.is_right_behind(miss):
            print(f"    {what}, behind: {miss.seq} {miss.sentence} | {miss.timeline}")


if __name__ == "__main__":
    main()
