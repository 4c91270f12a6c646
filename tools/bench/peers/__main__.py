"""The same hop and the same chain through the peers, each in its own documented way, with raw pyzmq in between.

Latency is one-way, from just before the sending to the moment the data can be read as a NumPy array at the far end.
Each round takes every case of every peer in turn, and before it the same case over raw pyzmq. A peer that cannot be
installed, does not run or takes too long is named with the reason, and the others go on. It prints figures and ratios
and judges nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.bench.peers import guard
from tools.bench.peers.chain import Chain
from tools.bench.peers.environments import AbsentError, python_of
from tools.bench.peers.hop import Case
from tools.bench.peers.known import (
    COPIED,
    FRAME_HZ,
    LOANED,
    MIX,
    PEERS,
    RAW,
    RAW_LOANED_SIZE_MIN,
    ROUND_COUNT,
    SECONDS,
    SMALL_HZ,
    Peer,
    case_name,
    cases,
    mix,
)
from tools.bench.peers.results import Figures, Outcome, Record, ResultError, parse, parse_chain, table
from tools.claims.framework import ROOT, environment

FOLDER = ROOT / ".peers"
FAILURES_LIMIT = 3  # cases of one peer that may fail before the rest of it is left out
REASON_SIZE = 240

Measure = Callable[[Peer, Path, Case | Chain], Mapping[str, Outcome]]
"""Gives an outcome for each line of a chain; that of a hop is called ''."""
Install = Callable[[str, Path], Path]


def measure_case(peer: Peer, python: Path, case: Case | Chain) -> dict[str, Outcome]:
    """Run the peer's script in a folder of its own, below a guard; ResultError says why there is no outcome."""
    is_chain = isinstance(case, Chain)
    module = f"tools.bench.peers.{peer.name}{'_chain' if is_chain else ''}"
    before = guard.shared_names()
    with tempfile.TemporaryDirectory(prefix="sfp-", ignore_cleanup_errors=True) as folder:
        command = [str(python), "-m", module, json.dumps(asdict(case)), folder]
        env = {**os.environ, "TMPDIR": folder, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        limit_s = case.seconds * 2 + peer.start_s
        try:
            ended = guard.guarded(command, cwd=ROOT, env=env, timeout_s=limit_s)
        finally:
            guard.sweep([*peer.leavings, f"{Path(folder).name}_*"], before)
    if ended.code == guard.TIMED_OUT:
        raise ResultError(f"it ran past its limit of {limit_s:.0f} s")
    if ended.code:
        raise ResultError(f"exit code {ended.code}: {_last_line(ended.errors)}")
    return parse_chain(ended.output) if is_chain else {"": parse(ended.output)}


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no error text")[:REASON_SIZE]


class Run:
    """One run: which peers there are, what was measured, what failed and why."""

    def __init__(self, peers: Sequence[Peer], folder: Path, install: Install, measure: Measure) -> None:
        self._measure = measure
        self._pythons: dict[str, Path] = {RAW.name: Path(sys.executable)}
        self._records: dict[str, dict[str, Record]] = {RAW.name: {}}
        self._failed: dict[str, dict[str, str]] = {RAW.name: {}}
        self._absent: dict[str, str] = {}
        self._peers = peers
        for peer in peers:
            self._records[peer.name], self._failed[peer.name] = {}, {}
            try:
                self._pythons[peer.name] = install(peer.name, folder)
            except AbsentError as error:
                self._absent[peer.name] = str(error)

    def round(self, options: Mapping[str, float]) -> None:
        """Every case of every peer once, each after the same over raw pyzmq, in the way that is its fastest for it."""
        for number in range(len(cases(RAW.ways[0], **options))):
            for peer in self._peers:
                if not self._is_given_up(peer):
                    own = {way: cases(way, **options)[number] for way in (*RAW.ways, *peer.ways)}
                    is_large = own[COPIED].size >= RAW_LOANED_SIZE_MIN
                    raw = self._take(RAW, own[LOANED if is_large else COPIED], {})
                    for way in peer.ways:
                        self._take(peer, own[way], raw)

    def chain_round(self, seconds: float) -> None:
        """The chain of every peer that has one, in each of its ways, after the same over raw pyzmq."""
        for peer in self._peers:
            if peer.chain_ways and not self._is_given_up(peer):
                raw = self._take(RAW, mix(RAW.chain_ways[0], seconds=seconds), {})
                for way in peer.chain_ways:
                    self._take(peer, mix(way, seconds=seconds), raw)

    def _is_given_up(self, peer: Peer) -> bool:
        return peer.name not in self._pythons or len(self._failed[peer.name]) >= FAILURES_LIMIT

    def _take(self, peer: Peer, case: Case | Chain, raw: Mapping[str, Figures]) -> dict[str, Figures]:
        """Figures by line, as also `raw`: those of the yardstick in the same round."""
        name = case_name(peer, case)
        if name in self._failed[peer.name]:
            return {}
        try:
            outcomes = self._measure(peer, self._pythons[peer.name], case)
        except ResultError as error:
            self._failed[peer.name][name] = str(error)
            return {}
        for line, outcome in outcomes.items():
            record = self._records[peer.name].setdefault(case_name(peer, case, line), Record(case.way))
            record.outcomes.append(outcome)
            record.raw.append(raw.get(line, {}))
        return {line: outcome.figures for line, outcome in outcomes.items()}

    def results(self) -> dict[str, dict[str, Any]]:
        """By peer, raw first: its version and cases, or why it is absent, and which cases failed and why."""
        return {name: self._result(name) for name in self._records if self._records[name] or name != RAW.name}

    def _result(self, name: str) -> dict[str, Any]:
        records, failed = self._records[name], self._failed[name]
        if name in self._absent:
            return {"absent": self._absent[name]}
        if not records:
            return {"absent": next(iter(failed.values()), "no case was measured")}
        version = next(iter(records.values())).outcomes[0].version
        summaries = {case: record.summary() for case, record in records.items()}
        return {"version": version, "cases": summaries, **({"failed": failed} if failed else {})}


def run(
    peers: Sequence[Peer],
    folder: Path,
    options: Mapping[str, float],
    *,
    round_count: int = ROUND_COUNT,
    is_mix_only: bool = False,
    install: Install = python_of,
    measure: Measure = measure_case,
) -> dict[str, dict[str, Any]]:
    """Measure the peers in `round_count` interleaved rounds; what each gave, raw pyzmq first."""
    whole = Run(peers, folder, install, measure)
    for number in range(round_count):
        print(f"round {number + 1} of {round_count}", file=sys.stderr)
        if not is_mix_only:
            whole.round(options)
        whole.chain_round(options["seconds"])
    return whole.results()


def chosen(names: Sequence[str]) -> list[Peer]:
    """The peers of these names, all of them for none; a ValueError of one sentence for a name that is not known."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise ValueError(f"peer {unknown[0]} is not known; expected one of {', '.join(PEERS)}")
    return [PEERS[name] for name in names] if names else list(PEERS.values())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="peers", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="may be given several times")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of one case in one round")
    parser.add_argument("--rounds", type=int, default=ROUND_COUNT)
    parser.add_argument("--small-hz", type=float, default=SMALL_HZ, help="pace of hops up to 4 KiB")
    parser.add_argument("--frame-hz", type=float, default=FRAME_HZ, help="pace of larger ones")
    parser.add_argument(f"--{MIX}-only", action="store_true", help="the chains of four processes, and no hop")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the environments are made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    asked = parser.parse_args(arguments)
    try:
        peers = chosen(asked.only)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    options = {"seconds": asked.seconds, "small_hz": asked.small_hz, "frame_hz": asked.frame_hz}
    results = run(peers, asked.folder.resolve(), options, round_count=asked.rounds, is_mix_only=asked.mix_only)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=2) + "\n")
    print(environment())
    print(f"one-way, µs; {asked.rounds} rounds of {asked.seconds:g} s a case; medians; ratios to raw in the same round")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
