"""Figures of other libraries, as `make bench-peers ARGS="--json FILE"` writes them, by the cases and lines here.

They are of another run, maybe of another hour: what is compared is each side's ratio to raw pyzmq in its own rounds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamflow.errors import UsageError

RAW_PEER = "raw"  # of that file: raw pyzmq in its own rounds
NAMES = {
    ("hop", "64 B"): "hop-64",
    ("hop", "4 KiB"): "hop-4096",
    ("frame", "600 KB in place"): "hop-600000",
    ("frame", "6.2 MB in place"): "hop-6220800",
    ("frame", "6.2 MB copied in"): "hop-6220800-copied",
    ("throughput", "4 KiB"): "throughput-4096",
    ("mix", "small"): "mix-small",
    ("mix", "frames"): "mix-frames",
}


@dataclass(frozen=True, slots=True)
class PeerFigures:
    """Of one case of one peer. `values`: p50, p99, p999 in µs, or `rate_hz`; `to_raw`: the same as ratios."""

    values: Mapping[str, float]
    to_raw: Mapping[str, float]


Peers = Mapping[str, Mapping[str, PeerFigures]]
"""By peer, then by their name of the case."""


def of_line(peers: Peers, case: str, line: str) -> dict[str, PeerFigures]:
    """The figures of each peer that has that line."""
    name = NAMES.get((case, line), "")
    return {peer: own[name] for peer, own in peers.items() if name in own}


def read_peers(path: Path | None) -> Peers:
    """Raises UsageError where the file is no result of `tools.bench.peers`."""
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text())
        return {
            peer: {name: _figures(figures) for name, figures in result.get("cases", {}).items()}
            for peer, result in found.items()
            if peer != RAW_PEER
        }
    except (ValueError, AttributeError, TypeError, KeyError):
        raise UsageError(
            f"--peers {path}", "no figures of peers", 'a file of make bench-peers ARGS="--json FILE"'
        ) from None


def _figures(summary: Mapping[str, Any]) -> PeerFigures:
    names = {"p50": "p50", "p99": "p99", "p999": "p999", "per_s": "rate_hz"}
    ratios = summary["ratio_to_raw"]
    return PeerFigures(
        {mine: float(summary[theirs]) for theirs, mine in names.items() if theirs in summary},
        {mine: float(ratios[theirs]) for theirs, mine in names.items() if theirs in ratios},
    )
