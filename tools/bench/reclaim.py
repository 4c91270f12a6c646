"""How long after `kill -9` the slots that a process had are free: seen in the pool's own table, from outside.

    python -m tools.bench.reclaim [--count 20]

A slot is watched while the words that say how often it was lent on an edge and how often returned there differ: of the
edges that lead to the dead process, of those that leave it, and where it owns the pool of all. On an edge that leaves
it the next life lends nothing before the receiver has set right what never came, so what is still lent at its first
loan is in the hands of a reader that lives: it is the dead one's no more, and is told apart.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from streamflow.memory.segment import TABLE, Segment, row_words
from streamflow.recorder import layout
from streamflow.runtime.process.memory_plan import owners
from tools.bench.reclaim_pipeline import CHANGED, build
from tools.campaigns.storm import RESTART_LIMIT, Patient, a_patient, broken_account, quantile
from tools.claims.command import Run
from tools.claims.framework import ShortfallError, environment

PIPELINE = "tools/bench/reclaim_pipeline.py"
STAGES = ("source", "relay", "sink")
OWNER = "source"
KEEPING: Mapping[str, Mapping[str, int]] = {
    "source": {},
    "relay": {"relay_kept": 2},
    "sink": {"relay_kept": 2, "sink_kept": 2},
}
"""What readers keep while that stage is killed: nothing where they live on, so that only the dead one's are lent."""
COUNT = 20
GAP_S = (0.25, 0.5)  # of a restart's length and longer: the pipeline is full again
LOOK_S = 0.0003
BACK_LIMIT_S = 20.0
LOAN_LIMIT_S = 1.0
INTERRUPTED = 130  # the exit code of a run that was asked to end and has drained

Place = tuple[int, int, int]
"""A segment, a slot, and a column: the edge."""


@dataclass(frozen=True, slots=True)
class Reclaim:
    """One kill; milliseconds after the signal.

    `slot_count`: lent at that moment or soon after on edges of the dead process, and in no living reader's hands.
    """

    stage: str
    slot_count: int
    free_ms: float
    """The last of those was free."""
    read_ms: float
    """So were those that living readers had."""
    attached_ms: float
    """The next life had joined the run."""


@dataclass(slots=True)
class Endured:
    """What a run has shown. `looks`: of a reader at a whole frame; `changed`: those that were not what was sent."""

    reclaims: list[Reclaim] = field(default_factory=list)
    looks: int = 0
    changed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Tables:
    """The table of the source's pool, as anybody may read it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        columns = next(
            owner.columns for owner in owners(build("").definition().resolved().graph) if owner.stage == OWNER
        )
        self._columns = {edge.split(".")[0]: column for edge, column in columns.items()}  # by the stage that lends
        self._segments: list[Segment] = []
        self.refresh()

    def refresh(self) -> None:
        """Find segments that were made meanwhile."""
        while (path := self._folder / f"{OWNER}.{len(self._segments)}.pool").exists():
            self._segments.append(Segment(path, is_owner=False))

    def columns_of(self, victim: str) -> tuple[list[int], int | None, list[int]]:
        """Into the stage, out of it, and of the owner's also those between others."""
        into = [self._columns[stage] for stage, after in pairwise(STAGES) if after == victim]
        out = self._columns.get(victim)
        others = [column for column in self._columns.values() if column != out] if victim == OWNER else []
        return into, out, others

    def lent(self, columns: Sequence[int]) -> dict[Place, int]:
        """Slots that are lent there, with their generations."""
        return {
            (number, slot, column): segment.generation(slot)
            for number, segment in enumerate(self._segments)
            for slot in range(segment.slot_count)
            for column in columns
            if self._is_lent(segment, slot, column)
        }

    def is_lent(self, place: Place, generation: int) -> bool:
        """Whether it still is: of the same life of the slot."""
        number, slot, column = place
        segment = self._segments[number]
        return self._is_lent(segment, slot, column) and segment.generation(slot) == generation

    @staticmethod
    def _is_lent(segment: Segment, slot: int, column: int) -> bool:
        place = TABLE + slot * row_words(segment.edge_count) + 1 + 2 * column
        return segment.words[place] != segment.words[place + 1]

    def loan_count(self, column: int) -> int:
        """How often a slot was lent there."""
        return sum(
            segment.words[TABLE + slot * row_words(segment.edge_count) + 1 + 2 * column]
            for segment in self._segments
            for slot in range(segment.slot_count)
        )

    def close(self) -> None:
        for segment in self._segments:
            segment.close()


def reclaims(
    victim: str,
    count: int,
    *,
    link: str = "ipc",
    settings: Mapping[str, object] | None = None,
    restart_limit: Sequence[str] = RESTART_LIMIT,
    seed: int = 1,
) -> Endured:
    """Kill that stage so often: one that lends, every other time right after it has lent.

    `settings`: of the pipeline, beside its folder and what readers keep.
    """
    chance, endured = random.Random(seed), Endured()
    arguments = [*restart_limit, "--link", link]
    asked = {"folder": "{}", **KEEPING[victim], **(settings or {})}
    with a_patient(PIPELINE, arguments, asked, {stage: stage for stage in STAGES}) as (run, patient):
        with closing(Tables(patient.folder.recordings)) as tables:
            for number in range(count):
                time.sleep(chance.uniform(*GAP_S))
                endured.reclaims.append(_strike(run, patient, tables, victim, is_lending=number % 2 == 1))
        os.kill(run.pid, signal.SIGINT)
        _require(run.wait() == INTERRUPTED, f"the run has not ended in order: {' '.join(run.errors()[-1:])}")
        report = run.report()
        endured.looks = 2 * sum(report["stages"][stage]["processed"] for stage in STAGES[1:])
        endured.broken = broken_account(report)
        changed = run.folder / CHANGED
        endured.changed = changed.read_text().splitlines() if changed.exists() else []
    return endured


def _strike(run: Run, patient: Patient, tables: Tables, victim: str, *, is_lending: bool) -> Reclaim:
    tables.refresh()
    _wait(lambda: patient.are_all_at_work, BACK_LIMIT_S, f"stage {victim} did not come back")
    recording, (into, out, others) = patient.recordings[victim], tables.columns_of(victim)
    columns = [*into, *([] if out is None else [out]), *others]
    before, is_between_living = recording.word(layout.PID), set(others).__contains__
    if is_lending and out is not None:
        _spin_until_lent(tables, out)
    watched = tables.lent(columns)
    struck_ns = time.monotonic_ns()
    os.kill(before, signal.SIGKILL)
    slot_count, free_ns, read_ns, attached_ns = 0, struck_ns, struck_ns, 0
    loan_count, has_lent = 0, False
    while not attached_ns or watched:
        if not attached_ns:
            watched |= tables.lent(columns)  # who lives may still lend to who is dead
        now_ns = time.monotonic_ns()
        if out is not None and not attached_ns:
            loan_count = tables.loan_count(out)
        has_lent = has_lent or (out is not None and tables.loan_count(out) > loan_count)
        free = [place for place, generation in watched.items() if not tables.is_lent(place, generation)]
        for place in free:
            del watched[place]
            read_ns = now_ns
            if not is_between_living(place[2]) and not (has_lent and place[2] == out):
                free_ns = now_ns
                slot_count += 1
        if not attached_ns and recording.word(layout.PID) != before:
            attached_ns = now_ns
        if now_ns - struck_ns > BACK_LIMIT_S * 1e9 or not run.is_running:
            raise ShortfallError(f"{len(watched)} slots that {victim} had are not free after {BACK_LIMIT_S:g} s")
        time.sleep(LOOK_S)
    return Reclaim(victim, slot_count, *((at_ns - struck_ns) / 1e6 for at_ns in (free_ns, read_ns, attached_ns)))


def _spin_until_lent(tables: Tables, column: int) -> None:
    """Without sleeping, so that what follows is within microseconds; gives up after a while."""
    loan_count, end_s = tables.loan_count(column), time.monotonic() + LOAN_LIMIT_S
    while tables.loan_count(column) == loan_count and time.monotonic() < end_s:
        pass


def _require(is_so: object, sentence: str) -> None:
    if not is_so:
        raise ShortfallError(sentence)


def _wait(is_so: Callable[[], bool], limit_s: float, sentence: str) -> None:
    end_s = time.monotonic() + limit_s
    while not is_so():
        _require(time.monotonic() < end_s, sentence)
        time.sleep(LOOK_S)


def text(found: Sequence[Reclaim]) -> str:
    """For people: how soon what the dead had was free; kills at which it had nothing are told, and count as no time."""
    free = [one.free_ms for one in found if one.slot_count]
    if not free:
        return f"nothing was lent at {len(found)} kills"
    count = sum(one.slot_count for one in found)
    return (
        f"{quantile(free, 0.5):.0f} ms median, {max(free):.0f} longest of {len(free)} kills with {count} slots"
        f" ({len(found) - len(free)} had none)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="reclaim", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="kills of each stage")
    parser.add_argument("--link", choices=("ipc", "direct"), default="ipc")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of the pipeline")
    asked = parser.parse_args()
    print(environment())
    settings = dict(each.split("=", 1) for each in asked.set)
    for victim in STAGES:
        endured = reclaims(victim, asked.count, link=asked.link, settings=settings, seed=asked.seed)
        print(f"{victim}: {text(endured.reclaims)}")
        for one in endured.reclaims:
            instants = f"{one.free_ms:.1f} ms, with what was read {one.read_ms:.1f}, attached {one.attached_ms:.1f}"
            print(f"  {one.slot_count} slots, free after {instants}")
        print(f"  {len(endured.changed)} of {endured.looks} looks at a frame found another {endured.changed[:3]}")
        print(f"  broken sums: {endured.broken or 'none'}")


if __name__ == "__main__":
    main()
