"""The watch over recorders in memory: what it reads of them, how often, and how long it looks into misses."""

from __future__ import annotations

from typing import Any

import pytest

from streamflow.core.blame import Blame
from streamflow.core.paths import Paths
from streamflow.core.timebase import ms, s
from streamflow.core.verdict import Kind
from streamflow.recorder.reader import Recording
from streamflow.recorder.shape import Shape
from streamflow.recorder.writer import Recorder
from streamflow.runtime.loading.loader import Reference, load
from streamflow.runtime.supervision.events import EventLog
from streamflow.runtime.supervision.inquest import Inquest
from streamflow.runtime.supervision.planning import Planning
from streamflow.runtime.supervision.watch import JUDGED_LIMIT, JUDGING_LIMIT_NS, Watch

STAGES = 4


class SlowInquest(Inquest):
    """Takes its time, by the clock of the watch."""

    def __init__(self, watched: Watched, judging_ns: int, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._watched, self._judging_ns = watched, judging_ns

    def judge(self, *arguments: Any) -> Blame:
        self._watched.now_ns += self._judging_ns
        return super().judge(*arguments)


class Watched:
    """A chain of stages with recorders, a watch over them, and what is in its log. `judging_ns`: of each miss."""

    def __init__(self, within_ms: int = 100, judging_ns: int = 0) -> None:
        settings = {"stages": str(STAGES), "within_ms": str(within_ms)}
        resolved = load(Reference("tools.bench.watched_pipeline", settings)).resolved
        graph, self.paths = resolved.graph, Paths(resolved.graph, resolved.graph.deadlines)
        self.recorders = {
            stage.name: Recorder.in_memory(
                Shape(
                    stage.name,
                    index,
                    tuple((edge.name, 4) for edge in graph.edges_into(stage.name)),
                    tuple((edge.name, 4) for edge in graph.edges_from(stage.name)),
                    tuple(one.name for one in graph.stages),
                    tuple(path.name for path in self.paths.definitions),
                    ring_capacity=16,
                )
            )
            for index, stage in enumerate(graph.stages)
        }
        recordings: dict[str, Recording] = {}
        self.now_ns = 10 * s
        self.events: list[dict[str, Any]] = []
        log = EventLog(None, lambda: 0)
        log.listeners.append(lambda event, fields: self.events.append({"event": event, **fields}))
        self.watch = Watch(
            resolved,
            self.paths,
            recordings,
            Planning(resolved, self.paths, recordings, {}),
            SlowInquest(self, judging_ns, graph, self.paths, recordings),
            log,
            lambda: self.now_ns,
            lambda path, event, culprit: None,
        )
        for name, recorder in self.recorders.items():
            self.watch.follow(name, Recording.over(recorder.buffer))

    def admit(self, seq: int, at_ns: int) -> None:
        self.recorders["s0"].note(Kind.ADMITTED, 0, 0, seq, at_ns, at_ns, 0, -1, 1)

    def handle(self, stage: str, seq: int, at_ns: int, mask: int) -> None:
        recorder = self.recorders[stage]
        recorder.begin(0, seq, at_ns, at_ns, at_ns, at_ns, 0, 0)
        recorder.finish(Kind.RUN, 0, at_ns + ms, 0, 0, 1, mask)

    def counts(self) -> dict[str, int]:
        return {name: number for name, number in self.watch.ledger.counts(0).items() if number}

    def misses(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == "miss"]


def test_every_datum_is_accounted_for_though_most_stages_have_nothing_to_say_of_it() -> None:
    watched = Watched()
    for seq in range(100):
        at_ns = seq * ms
        watched.admit(seq, at_ns)
        for stage in ("s1", "s2"):
            watched.handle(stage, seq, at_ns, 0)
        watched.handle("s3", seq, at_ns, 1)
        if seq % 5 == 0:
            watched.watch.sweep(at_ns + 2 * ms)
    watched.watch.sweep(102 * ms)
    assert watched.counts() == {"produced": 100, "met": 100}
    assert watched.watch.ledger.is_exact


def test_a_stage_that_begins_to_give_up_after_many_laps_of_its_ring_has_lost_nothing() -> None:
    watched = Watched()
    for seq in range(100):
        watched.handle("s1", seq, seq * ms, 0)
        watched.watch.sweep(seq * ms)
    watched.admit(100, 100 * ms)
    watched.recorders["s1"].note(Kind.SHED, 0, 0, 100, 100 * ms, 101 * ms, 0, 0, 1)
    watched.watch.sweep(102 * ms)
    assert watched.counts() == {"produced": 1, "shed": 1}
    assert watched.watch.ledger.forgotten_count == 0


def test_what_the_accounts_needed_and_was_overwritten_is_told() -> None:
    watched = Watched()
    for seq in range(100):
        watched.admit(seq, seq * ms)
    watched.watch.sweep(101 * ms)
    assert watched.watch.ledger.forgotten_count == 85, "a ring of 16 has 15 that can be counted on"


@pytest.mark.parametrize(("within_ms", "period_ms"), [(10, 4), (49, 4), (60, 10), (99, 16.5), (120, 40), (90_000, 40)])
def test_the_tighter_the_deadline_the_more_often_it_sweeps(within_ms: int, period_ms: float) -> None:
    assert Watched(within_ms).watch.period_ns == period_ms * ms


@pytest.mark.parametrize(
    ("judging_ns", "judged_count"), [(0, JUDGED_LIMIT), (10 * ms, JUDGING_LIMIT_NS // (10 * ms)), (s // 2, 1)]
)
def test_misses_are_looked_into_only_so_much_of_a_second(judging_ns: int, judged_count: int) -> None:
    watched = Watched(judging_ns=judging_ns)
    for seq in range(300):
        watched.admit(seq, seq)
        if seq % 10 == 9:
            watched.watch.sweep(seq)
    watched.watch.sweep(s)
    watched.watch.conclude()
    misses = watched.misses()
    assert len(misses) == 300
    told = [miss for miss in misses if not miss["sentence"].startswith("as the one before it")]
    assert len(told) == judged_count
    last = told[-1]
    assert {(miss["culprit"], miss["stage"]) for miss in misses[judged_count:]} == {(last["culprit"], last["stage"])}
    watched.now_ns += s
    watched.admit(300, 0)
    watched.watch.sweep(2 * s)
    assert not watched.misses()[-1]["sentence"].startswith("as the one before it"), "a second later there is time again"
