"""The ledger against accounts kept the slow way: any graph, any fate of any message, swept while it happens."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.deadline import PathDef
from streamflow.core.graph import EdgeDef, Graph, StageDef
from streamflow.core.ledger import Ledger
from streamflow.core.outcome import Finished, Missed
from streamflow.core.paths import Paths
from streamflow.core.verdict import WORK, Kind

GRAPHS = {
    "chain": "s>a a>b b>t",
    "fan-out": "s>a a>t a>u s>v",
    "diamond": "s>a a>b a>c b>d c>d d>t",
    "two sources": "s>a r>a a>b a>t b>t b>u",
}


def graph_of(text: str) -> Graph:
    ends = [pair.split(">") for pair in text.split()]
    targets = {target for _, target in ends}
    names = dict.fromkeys(name for pair in ends for name in pair)
    stages = tuple(StageDef(name, "Node", name, {}, {}, is_source=name not in targets) for name in names)
    return Graph("g", stages, tuple(EdgeDef(a, f"to_{b}", b, f"from_{a}") for a, b in ends))


class Record(NamedTuple):
    """What a stage writes into its recorder."""

    kind: Kind
    mask: int
    stream: str
    seq: int
    done_ns: int
    sink_mask: int = 0


@dataclass
class Token:
    """A message on its way to a stage, or there."""

    stage: str
    stream: str
    seq: int


class World:
    """Stages that handle, copy, drop and lose messages at random, and write what they do, each to its own ring."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.graph = graph_of(chance.choice(list(GRAPHS.values())))
        sources = [stage.name for stage in self.graph.stages if stage.is_source]
        declared = [PathDef("tight", "s", "t", 40), PathDef("wide", "s", "t", 200), PathDef("half way", "s", "a", 20)]
        self.paths = Paths(self.graph, declared[: chance.randrange(4)])
        self.sources = sources
        self.streams = [stage.name for stage in self.graph.stages]
        self.rings: dict[str, list[Record]] = {name: [] for name in self.streams}
        self.seqs = dict.fromkeys(sources, 0)
        self.event_times: dict[tuple[str, int], int] = {}
        self.tokens: list[Token] = []
        self.now_ns = 0

    def step(self) -> None:
        self.now_ns += self.chance.randrange(6)
        if self.tokens and self.chance.random() < 0.8:
            self.handle(self.tokens.pop(self.chance.randrange(len(self.tokens))))
        else:
            self.produce(self.chance.choice(self.sources))

    def produce(self, source: str) -> None:
        seq = self.seqs[source]
        self.seqs[source] += self.chance.choice([1, 1, 3])
        self.event_times[source, seq] = self.now_ns - self.chance.randrange(30)
        begun = self.paths.through(source, source)
        if self.chance.random() < 0.1:
            self.write(source, Kind.ADMITTED, begun, source, seq)
            self.write(source, Kind.REJECTED, begun, source, seq)
            return
        self.send(Token(source, source, seq), is_new=True)

    def handle(self, token: Token) -> None:
        mask = self.paths.through(token.stage, token.stream)
        kind = self.chance.choice([*WORK] * 4 + [Kind.SHED, Kind.DROPPED])
        if kind not in WORK:
            self.write(token.stage, kind, mask, token.stream, token.seq)
            return
        gone = self.send(token, is_new=False)
        sink_mask = self.paths.ending_at(token.stage, token.stream)
        self.write(token.stage, kind, gone, token.stream, token.seq, sink_mask)

    def send(self, token: Token, *, is_new: bool) -> int:
        """Some messages on some edges; the result is the paths on which nothing was sent."""
        mask = self.paths.through(token.stage, token.stream) & ~self.paths.ending_at(token.stage, token.stream)
        stage, sent = token.stage, 0
        for edge in self.graph.edges_from(stage):
            for _ in range(self.chance.choice([0, 1, 1, 1, 2])):
                on = mask & self.paths.masks_by_edge(edge.name)
                if is_new and on & ~sent:
                    self.write(stage, Kind.ADMITTED, on & ~sent, token.stream, token.seq)
                if on & sent:
                    self.write(stage, Kind.SPLIT, on & sent, token.stream, token.seq)
                sent |= on
                self.tokens.append(Token(edge.target, token.stream, token.seq))
        return self.paths.through(stage, token.stream) & ~sent

    def write(self, stage: str, kind: Kind, mask: int, stream: str, seq: int, sink_mask: int = 0) -> None:
        if mask:
            self.rings[stage].append(Record(kind, mask, stream, seq, self.now_ns, sink_mask))


class Book:
    """The same accounts, kept the slow way: all records that were read, judged anew after every sweep."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.read: dict[tuple[int, str, int], list[Record]] = defaultdict(list)
        self.final: dict[tuple[int, str, int], str] = {}
        self.missed: list[tuple[int, str, int]] = []

    def note(self, record: Record) -> None:
        for index in range(len(self.world.paths)):
            if record.mask >> index & 1:
                self.read[index, record.stream, record.seq].append(record)

    def swept(self, now_ns: int) -> None:
        for (index, stream, seq), records in self.read.items():
            key = index, stream, seq
            if key in self.final:
                continue
            begun = sum(record.kind in (Kind.ADMITTED, Kind.SPLIT) for record in records)
            ends = [record for record in records if record.kind not in (Kind.ADMITTED, Kind.SPLIT)]
            within_ns = self.world.paths.within_ns(index)
            due_ns = None if within_ns is None else self.world.event_times[stream, seq] + within_ns
            if begun == len(ends):
                assert not any(
                    index_mask >> index & 1
                    for token in self.world.tokens
                    if (token.stream, token.seq) == (stream, seq)
                    for index_mask in [self.world.paths.through(token.stage, stream)]
                ), "what a sweep finds done has no piece left anywhere"
                self.final[key] = self.judge(ends, index, due_ns)
            elif due_ns is not None and now_ns > due_ns:
                self.final[key] = "missed"
            if self.final.get(key) == "missed":
                self.missed.append(key)

    def judge(self, ends: list[Record], index: int, due_ns: int | None) -> str:
        kinds = {record.kind for record in ends}
        for kind in (Kind.LOST, Kind.DROPPED, Kind.REJECTED, Kind.SHED):
            if kind in kinds:
                return kind.name.lower()
        if due_ns is not None and any(record.done_ns > due_ns for record in ends):
            return "missed"
        return "met" if any(record.sink_mask >> index & 1 for record in ends) else "absorbed"

    def counts(self, index: int) -> dict[str, int]:
        found = Counter(self.final.get(key, "in_flight") for key in self.read if key[0] == index)
        return {"produced": sum(key[0] == index for key in self.read)} | dict(found)


def sweep(world: World, account: Ledger, book: Book) -> list[Finished | Missed]:
    """Read every ring, sinks first, while the stages go on working; before it, some messages are lost."""
    chance = world.chance
    for token in [token for token in world.tokens if chance.random() < 0.05]:
        world.tokens.remove(token)
        lost = Record(Kind.LOST, world.paths.through(token.stage, token.stream), token.stream, token.seq, 0)
        if lost.mask:
            account.lost(lost.mask, world.streams.index(token.stream), token.seq)
            book.note(lost)
    began_ns = world.now_ns
    order = dict.fromkeys(world.streams, 0)
    for _ in order:
        for edge in world.graph.edges:
            order[edge.target] = max(order[edge.target], order[edge.source] + 1)
    for stage in sorted(order, key=lambda name: -order[name]):
        for _ in range(chance.randrange(4)):
            world.step()
        for record in world.rings[stage]:
            stream = world.streams.index(record.stream)
            event_time_ns = world.event_times[record.stream, record.seq]
            book.note(record)
            if record.kind is Kind.ADMITTED:
                account.admitted(record.mask, stream, record.seq, event_time_ns)
            elif record.kind is Kind.SPLIT:
                account.split(record.mask, stream, record.seq)
            else:
                account.ended(record.kind, record.mask, stream, record.seq, event_time_ns, record.done_ns, 0,
                              record.sink_mask)  # fmt: skip
        world.rings[stage].clear()
    book.swept(began_ns)
    return account.swept(began_ns)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 1 << 32))
def test_produced_is_the_sum_of_all_that_became_of_it_under_any_plan(seed: int) -> None:
    world = World(random.Random(seed))
    account, book = Ledger(world.paths.specs), Book(world)
    missed: list[tuple[int, str, int]] = []
    finished: list[tuple[int, str, int]] = []
    for _ in range(12):
        for _ in range(world.chance.randrange(12)):
            world.step()
        for event in sweep(world, account, book):
            told = missed if isinstance(event, Missed) else finished
            told.append((event.path, world.streams[event.stream], event.seq))
        assert account.broken_sums() == []
        for index in range(len(world.paths)):
            expected = book.counts(index)
            assert {name: count for name, count in account.counts(index).items() if count} == {
                name: count for name, count in expected.items() if count
            }
    assert sorted(missed) == sorted(book.missed), "every miss is told"
    assert len(set(missed)) == len(missed), "and once"
    assert len(set(finished)) == len(finished)
    account.closed()
    assert account.anomalies == []
    assert account.is_exact
