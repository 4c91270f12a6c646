"""What four stages cost: the same stream through `streamflow run`, `--inline`, and four bare pyzmq processes.

They take turns, a third of the time each turn, so that what else the machine does falls on all alike. It prints
figures and ratios, and judges nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tools.bench.speed.programme import Noted, Ns, Phase, Programme
from tools.bench.speed.raw import run_raw
from tools.claims.command import a_run
from tools.claims.framework import environment

RATE_HZ = 1000.0
SIZE = 4096  # bytes
SECONDS = 30.0
ROUND_COUNT = 3
MODES: Sequence[Sequence[str]] = ((), ("--inline",))
QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}

HOP_COUNT = 3

Quantiles = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """One way to run the chain. `latency_us`: from the instant a block was due until the sink has it."""

    way: str
    sent_count: int
    delivered_count: int
    conserved: bool | list[str]
    latency_us: Quantiles

    @property
    def is_whole(self) -> bool:
        return self.sent_count == self.delivered_count and self.conserved is True


def measure(seconds: float = SECONDS, *, rate_hz: float = RATE_HZ, size: int = SIZE) -> list[Figures]:
    """streamflow's processes, streamflow in one process, the bare chain from due, and the same from sending."""
    count = round(seconds * rate_hz / ROUND_COUNT)
    turns = []
    for _ in range(ROUND_COUNT):
        raw = measure_raw(rate_hz=rate_hz, size=size, count=count)
        from_due, from_sending = (_Turn(count, len(raw), [], raw[:, i]) for i in range(2))
        turns.append((*(_streamflow(mode, rate_hz, size, count) for mode in MODES), from_due, from_sending))
    ways = [" ".join(["streamflow", *mode]) for mode in MODES] + ["raw pyzmq, from due", "raw pyzmq, from sending"]
    return [_figures(way, own) for way, own in zip(ways, zip(*turns, strict=True), strict=True)]


@dataclass(frozen=True, slots=True)
class _Turn:
    sent_count: int
    delivered_count: int
    broken_sums: list[str]
    latencies_ns: Ns


def _streamflow(mode: Sequence[str], rate_hz: float, size: int, count: int) -> _Turn:
    programme = Programme((Phase(size, rate_hz, count),))
    settings = {"folder": "{}", "programme": programme, "hops": HOP_COUNT}
    with a_run("tools.bench.speed.pipeline", mode, settings) as run:
        report = run.succeed()
        from_due_ns = _latencies_ns(run.folder)[:, 0]
    delivered_count = min(len(from_due_ns), *(edge["delivered"] for edge in report["edges"].values()))
    broken_sums = [] if report["conserved"] is True else report["conserved"]
    return _Turn(report["paths"]["source->sink0"]["produced"], delivered_count, broken_sums, from_due_ns)


def measure_raw(*, rate_hz: float, size: int, count: int) -> Ns:
    """int64[delivered, 2] ns at the sink of four bare processes: since a block was due, and since it was sent."""
    with tempfile.TemporaryDirectory(prefix="raw-") as folder:
        run_raw(Path(folder), Programme((Phase(size, rate_hz, count),)), HOP_COUNT)
        return _latencies_ns(Path(folder))


def _latencies_ns(folder: Path) -> Ns:
    from_sending_ns = Noted.load(folder, "sink0").took_ns
    late_ns = Noted.load(folder, "source").late_ns[: len(from_sending_ns)]
    return np.stack([from_sending_ns + late_ns, from_sending_ns], axis=1)


def _figures(way: str, turns: Sequence[_Turn]) -> Figures:
    return Figures(
        way=way,
        sent_count=sum(turn.sent_count for turn in turns),
        delivered_count=sum(turn.delivered_count for turn in turns),
        conserved=[sentence for turn in turns for sentence in turn.broken_sums] or True,
        latency_us=_quantiles(np.concatenate([turn.latencies_ns for turn in turns])),
    )


def _quantiles(latencies_ns: Ns) -> Quantiles:
    return {name: float(np.quantile(latencies_ns, share)) / 1e3 for name, share in QUANTILES.items()}


def latency_text(figures: Figures) -> str:
    """Quantiles in microseconds, for people."""
    latency = figures.latency_us
    return "p50 {p50:,.0f}, p99 {p99:,.0f}, p99.9 {p999:,.0f} µs".format(**latency)


def ratio_text(figures: Figures, peer: Figures) -> str:
    """How many times as long as the peer's."""
    mine, other = figures.latency_us, peer.latency_us
    return ", ".join(f"{mine[name] / other[name]:.2f}" for name in ("p50", "p99", "p999")) + " times"


def main() -> None:
    parser = argparse.ArgumentParser(prog="chain", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rate", type=float, default=RATE_HZ, metavar="HZ")
    parser.add_argument("--size", type=int, default=SIZE, metavar="BYTES")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    measured = measure(asked.seconds, rate_hz=asked.rate, size=asked.size)
    if asked.json:
        print(json.dumps([asdict(figures) for figures in measured], indent=2))
        return
    print(environment())
    print(f"{asked.seconds:g} s of {asked.rate:g} Hz, {asked.size:,} bytes, four stages; ratios to raw pyzmq from due")
    peer = next(figures for figures in measured if figures.way.startswith("raw"))
    for figures in measured:
        lost = figures.sent_count - figures.delivered_count
        print(f"{figures.way:26} {latency_text(figures):44} {ratio_text(figures, peer):22} lost {lost}")


if __name__ == "__main__":
    main()
