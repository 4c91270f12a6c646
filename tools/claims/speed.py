"""The claims of speed: all of streamflow beside the bare mechanism, in turns, and beside peers where they are known.

Every bar is a ratio within one repeat, and the median of these is judged; what is no ratio says what the host took.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.bench.speed.cases import (
    CASES,
    DIRECT,
    DIRECT_SPIN,
    DIRECT_TO_FOUR,
    FRAME_SPIN,
    IPC,
    MEMCPY,
    RAW,
    TO_FOUR,
    Way,
)
from tools.bench.speed.peers_file import PeerFigures, Peers, of_line, read_peers
from tools.bench.speed.runner import Outcome, measure
from tools.claims.framework import AbsentError, Claim, HostShare, Options, Row, main
from tools.claims.growth import CLAIMS as GROWTH
from tools.claims.reclaim import CLAIMS as RECLAIM

REPEAT_COUNT, REPEAT_COUNT_QUICK = 5, 2
SECONDS, SECONDS_QUICK = 3.0, 0.5
PEERS_VARIABLE = "STREAMFLOW_PEERS"  # a file that `make bench-peers ARGS="--json FILE"` wrote
NO_PEERS = f"{PEERS_VARIABLE} names no file of make bench-peers"

HOP_MAX = 1.15
DIRECT_MAX, DIRECT_SPIN_MAX = 0.6, 0.2
FRAME_MAX = 0.07
SIZES_MAX = 1.5
COPIED_MAX = 1.15
THROUGHPUT_MIN = 0.5
THROUGHPUT_PEERS_MIN = 2.0
FAN_OUT_MAX = 1.3
FAN_OUT_FIGURES = {
    "source_cpu_us": "sender's processor time, writing it too",
    "send_us": "sender's emit, p50",
    "p50": "latency of the last, p50",
}
MIX_P50_MAX, MIX_P99_MAX, MIX_FRAMES_MAX = 1.1, 0.5, 0.2
CPU_US_MAX = 30.0
BEST_PEER = "iceoryx2"  # only some rows are to be ahead of it
THROUGHPUT_PEERS = ("ezmsg", "dora")

SMALL, FAST = "4 KiB", "4 KiB, 10 kHz"
IN_PLACE = ("600 KB in place", "6.2 MB in place", "25 MB in place")
FRAME, COPIED = IN_PLACE[1], "6.2 MB copied in"


def _measured(name: str, options: Options) -> Outcome:
    repeat_count = REPEAT_COUNT_QUICK if options.is_quick else REPEAT_COUNT
    return measure(
        CASES[name], seconds=SECONDS_QUICK if options.is_quick else SECONDS, repeat_count=repeat_count, tell=_tell
    )


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _peers() -> Peers:
    path = os.environ.get(PEERS_VARIABLE)
    return read_peers(Path(path) if path else None)


def _row(claim: str, bound: str, judged: Callable[[], tuple[str, bool]]) -> Row:
    """A row; one whose way is not there says so."""
    try:
        measured, holds = judged()
    except AbsentError as error:
        return Row(claim, bound, f"not measured: {error}", None)
    return Row(claim, bound, measured, holds)


def beside(outcome: Outcome, way: Way, line: str, name: str, most: float, to: Way = RAW, to_line: str = "") -> Row:
    """Whether a figure is at most so many times another way's, within a repeat."""

    def judged() -> tuple[str, bool]:
        ratio = outcome.ratio(way.name, line, name, to.name, to_line)
        mine, other = outcome.value(way.name, line, name), outcome.value(to.name, to_line or line, name)
        return f"{ratio:.2f} times; {mine:,.0f} and {other:,.0f} µs", ratio <= most

    return _row(f"{line}, {way.name}, {name}", f"<= {most:g} times {to.name}", judged)


def ahead(outcome: Outcome, way: Way, line: str, peers: Peers, *, but: str = "", only: str = "") -> Iterator[Row]:
    """Whether the median is below that of each peer with the same payload: as ratios to raw in their own rounds."""
    found = of_line(peers, outcome.case.name, line)
    chosen = {peer: own for peer, own in found.items() if peer != but and only in ("", peer)}
    if not chosen:
        reason = NO_PEERS if not peers else f"{only or 'no peer'} has no such case in the file of peers"
        yield Row(f"{line}, {way.name}, p50", f"ahead of {only or 'peers'}", f"not measured: {reason}", None)
    for peer, own in chosen.items():

        def judged(own: PeerFigures = own) -> tuple[str, bool]:
            mine, theirs = outcome.ratio(way.name, line, "p50", RAW.name), own.to_raw["p50"]
            values = outcome.value(way.name, line, "p50"), own.values["p50"]
            return f"{mine:.2f} and {theirs:.2f} times raw; {values[0]:,.0f} and {values[1]:,.0f} µs", mine < theirs

        yield _row(f"{line}, {way.name}, p50", f"ahead of {peer}", judged)


def sums(outcome: Outcome) -> Row:
    broken = outcome.broken_sums
    return Row("all arrived, and every sum holds", "true", broken[0] if broken else "true", not broken)


def hop(options: Options) -> Iterator[Row]:
    """One hop, small messages, a thousand a second; with the spin also ten thousand, where it bridges the pause."""
    outcome, peers = _measured("hop", options), _peers()
    for line in ("64 B", SMALL):
        yield beside(outcome, IPC, line, "p50", HOP_MAX)
        yield beside(outcome, IPC, line, "p99", HOP_MAX)
        yield beside(outcome, DIRECT, line, "p50", DIRECT_MAX)
    yield beside(outcome, DIRECT_SPIN, SMALL, "p50", DIRECT_SPIN_MAX)
    yield beside(outcome, DIRECT_SPIN, FAST, "p50", DIRECT_SPIN_MAX)
    yield from ahead(outcome, IPC, SMALL, peers, but=BEST_PEER)
    yield from ahead(outcome, DIRECT_SPIN, SMALL, peers, only=BEST_PEER)
    yield sums(outcome)


def frame(options: Options) -> Iterator[Row]:
    """One hop, frames: written in place, of three sizes, and copied in."""
    outcome, peers = _measured("frame", options), _peers()
    yield beside(outcome, IPC, FRAME, "p50", FRAME_MAX)
    yield from ahead(outcome, IPC, FRAME, peers, but=BEST_PEER)
    yield from ahead(outcome, FRAME_SPIN, FRAME, peers, only=BEST_PEER)
    yield beside(outcome, DIRECT, FRAME, "p50", FRAME_MAX)
    for way in (IPC, DIRECT):

        def of_any_size(way: Way = way) -> tuple[str, bool]:
            rounds = zip(*([one.p50 for one in outcome.each(way.name, line)] for line in IN_PLACE), strict=True)
            ratio = statistics.median(max(sizes) / min(sizes) for sizes in rounds)
            texts = (f"{outcome.value(way.name, line, 'p50'):,.0f}" for line in IN_PLACE)
            return f"{ratio:.2f} times; {', '.join(texts)} µs", ratio <= SIZES_MAX

        def copied_in(way: Way = way) -> tuple[str, bool]:
            parts = [outcome.each(*part) for part in ((way.name, COPIED), (MEMCPY.name, COPIED), (way.name, SMALL))]
            ratio = statistics.median(a.p50 / (b.p50 + c.p50) for a, b, c in zip(*parts, strict=True))
            texts = [f"{statistics.median(one.p50 for one in part):,.0f}" for part in parts]
            return f"{ratio:.2f} times; {texts[0]}, and {texts[1]} + {texts[2]} µs", ratio <= COPIED_MAX

        bound = f"<= {SIZES_MAX:g} times each other"
        yield _row(f"600 KB to 25 MB in place, {way.name}, p50", bound, of_any_size)
        yield _row(f"{COPIED}, {way.name}, p50", f"<= {COPIED_MAX:g} times memcpy + a small hop", copied_in)
    yield sums(outcome)


def throughput(options: Options) -> Iterator[Row]:
    """4 KiB, one edge, as fast as it goes."""
    outcome, peers = _measured("throughput", options), _peers()
    for way in (IPC, DIRECT):

        def judged(way: Way = way) -> tuple[str, bool]:
            ratio = outcome.ratio(way.name, SMALL, "rate_hz", RAW.name)
            mine, other = (outcome.value(one.name, SMALL, "rate_hz") for one in (way, RAW))
            return f"{ratio:.2f} times; {mine:,.0f} and {other:,.0f} messages/s", ratio >= THROUGHPUT_MIN

        yield _row(f"{SMALL}, {way.name}", f">= {THROUGHPUT_MIN:g} times {RAW.name}", judged)
    for peer, own in of_line(peers, "throughput", SMALL).items():
        if peer in THROUGHPUT_PEERS:
            ratio = outcome.ratio(IPC.name, SMALL, "rate_hz", RAW.name) / own.to_raw["rate_hz"]
            values = outcome.value(IPC.name, SMALL, "rate_hz"), own.values["rate_hz"]
            measured = f"{ratio:.2f} times, by raw; {values[0]:,.0f} and {values[1]:,.0f} messages/s"
            bound = f">= {THROUGHPUT_PEERS_MIN:g} times {peer}"
            yield Row(f"{SMALL}, {IPC.name}", bound, measured, ratio >= THROUGHPUT_PEERS_MIN)
    yield sums(outcome)


def fan_out(options: Options) -> Iterator[Row]:
    """A frame that is written in place and goes to one stage, or to four: what its sender pays, and who is last."""
    outcome = _measured("fanout", options)
    for one, four in ((IPC, TO_FOUR), (DIRECT, DIRECT_TO_FOUR)):
        for name, what in FAN_OUT_FIGURES.items():

            def judged(one: Way = one, four: Way = four, name: str = name) -> tuple[str, bool]:
                ratio = outcome.ratio(four.name, FRAME, name, one.name)
                values = [outcome.value(way.name, FRAME, name) for way in (four, one)]
                return f"{ratio:.2f} times; {values[0]:,.0f} and {values[1]:,.0f} µs", ratio <= FAN_OUT_MAX

            yield _row(f"{four.name}, {what}", f"<= {FAN_OUT_MAX:g} times to one", judged)
    yield sums(outcome)


def mix(options: Options) -> Iterator[Row]:
    """Four stages, samples and frames together, end to end: frames must not block samples."""
    outcome, peers = _measured("mix", options), _peers()
    for way in (IPC, DIRECT):
        yield beside(outcome, way, "small", "p50", MIX_P50_MAX)
        yield beside(outcome, way, "small", "p99", MIX_P99_MAX)
        yield beside(outcome, way, "frames", "p50", MIX_FRAMES_MAX)
    for line in ("small", "frames"):
        yield from ahead(outcome, DIRECT, line, peers, only=BEST_PEER)
    yield sums(outcome)


def processor(options: Options) -> Iterator[Row]:
    """What a relay of 4 KiB messages costs, with ZeroMQ's own threads; `streamflow bench cpu` prints where it goes."""
    host = HostShare()
    outcome = _measured("cpu", options)
    for line in outcome.case.lines:
        for way in (IPC, DIRECT):

            def judged(way: Way = way, line: str = line) -> tuple[str, bool]:
                mine, other = (outcome.value(one.name, line, "relay_cpu_us") for one in (way, RAW))
                return f"{mine:.0f} µs; {RAW.name} {other:.0f} µs; {host}", mine <= CPU_US_MAX

            yield _row(f"{line}, {way.name}", f"<= {CPU_US_MAX:g} µs a message", judged)
    yield sums(outcome)


def floors(options: Options) -> Iterator[Row]:
    """What a bare wake between two processes takes here."""
    outcome = _measured("wake", options)
    for way in outcome.repeats:
        p50, p99 = (outcome.value(way, "wake", name) for name in ("p50", "p99"))
        yield Row(way, "", f"p50 {p50:,.0f}, p99 {p99:,.0f} µs", None)


CLAIMS = (
    Claim("hop", hop),
    Claim("frame", frame),
    Claim("throughput", throughput),
    Claim("fan-out", fan_out),
    Claim("mix", mix),
    Claim("cpu", processor),
    Claim("wake", floors),
    *GROWTH,
    *RECLAIM,
)

if __name__ == "__main__":
    sys.exit(main("speed", CLAIMS))
