"""The supervisor's eyes: reads the recorders of all stages, keeps the accounts, and sees every miss at its deadline.

It never asks a stage anything: a hung one could not answer. Recorders are swept sinks first and sources last (why:
`runtime/accounts/logbook.py`), often enough that a miss is known within milliseconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streamflow.core.deadline import RateDef
from streamflow.core.firm import Broken, Escalated, FirmEvent, FirmMonitor
from streamflow.core.graph import Resolved
from streamflow.core.ledger import Ledger
from streamflow.core.losses import Loss
from streamflow.core.message import Flag
from streamflow.core.outcome import Finished, Missed
from streamflow.core.paths import Paths
from streamflow.core.timebase import ms, s
from streamflow.core.verdict import Kind
from streamflow.recorder.layout import CLOSED, DRAINING, HEAD, MARKED, PHASE
from streamflow.recorder.reader import Recording
from streamflow.runtime.supervision.events import EventLog
from streamflow.runtime.supervision.inquest import Inquest
from streamflow.runtime.supervision.planning import Planning

SWEEP_NS = 4 * ms  # where something has a tight deadline: a miss is to be known within 5 ms
TIGHT_NS = 50 * ms  # up to here
SWEEPS_PER_DEADLINE = 6  # so often between a datum's event and its expiry, for which there is a sweep of its own
LONG_NS = 100 * ms  # from here on a wake-up, which is most of what a sweep costs, counts for more than ...
SWEEPS_PER_LONG = 3  # ... how soon a datum is missed that its source sends in the last third of its time
SLOW_SWEEP_NS = 40 * ms
IDLE_SWEEP_NS = 50 * ms  # where nothing has: the accounts are kept, and no ring may run over
JUDGED_LIMIT = 100  # misses a second that are looked into: more of a kind have one cause
JUDGING_NS = 2 * ms  # what looking into one may take, in which none would be seen
PATIENCE_NS = 20 * ms  # so long a miss waits to be looked into because others are about to be seen
JUDGING_LIMIT_NS = 150 * ms  # of a second: it takes 1 ms for a small pipeline and 10 for a busy one, before all stages
_ADMITTED: Final = int(Kind.ADMITTED)  # comparing with a member of an enum would be a tenth of what a record costs
_RUN: Final = int(Kind.RUN)
_SPLIT: Final = int(Kind.SPLIT)
_SHED: Final = int(Kind.SHED)
_MISSED: Final = int(Flag.MISSED)


@dataclass(slots=True)
class _Stage:
    """A recorder that is followed, with what its records mean to the accounts, by the number of the stream."""

    name: str
    recording: Recording
    ending: list[int]
    tightest: list[int]
    is_first: bool
    """Only sources send to it."""
    words: memoryview = field(init=False)
    cursor: int = 0

    def __post_init__(self) -> None:
        self.words = self.recording.words


@dataclass(slots=True)
class _Rate:
    """An input that must not be silent."""

    definition: RateDef
    sender: str
    edge: str
    output_index: int
    last_ns: int = 0
    silent_since_ns: int = 0
    gap_count: int = 0
    longest_ns: int = 0


@dataclass(slots=True)
class _Contract:
    """A firm contract and how it stands. `culprits`: stages blamed for its latest misses."""

    path: int
    monitor: FirmMonitor
    culprits: deque[str] = field(default_factory=lambda: deque(maxlen=64))


class Watch:
    """Over one run. `contract_changed(path name, event, culprit stage)` is called for what a firm contract demands."""

    def __init__(
        self,
        resolved: Resolved,
        paths: Paths,
        recordings: dict[str, Recording],
        planning: Planning,
        inquest: Inquest,
        log: EventLog,
        now_ns: Callable[[], int],
        contract_changed: Callable[[str, FirmEvent, str], None],
    ) -> None:
        self.ledger = Ledger(paths.specs)
        self.inquest = inquest
        self._resolved = resolved
        self._paths = paths
        self._recordings = recordings
        self._planning = planning
        self._log = log
        self._now_ns = now_ns
        self._contract_changed = contract_changed
        self._names = [stage.name for stage in resolved.graph.stages]
        self._stages: list[_Stage] = []
        self._losses: list[tuple[int, int, int]] = []
        self._merged: list[tuple[int, int, int]] = []
        self._contracts: dict[int, _Contract] = {
            index: _Contract(index, FirmMonitor(path.firm, path.escalation))
            for index, path in enumerate(paths.definitions)
            if path.firm is not None
        }
        self._rates = [self._rate(definition) for definition in resolved.graph.rates]
        self._judged: deque[tuple[int, int]] = deque()  # of the last second: when, and how long it took
        self._judging_ns = 0
        self._to_judge: deque[Missed] = deque()
        self.is_behind = False
        """Whether a miss waits to be looked into: the next sweep should come at once."""
        self._last_culprit: dict[int, tuple[str, str, str]] = {}
        self.late_paths: set[int] = set()
        """Paths on which something was not on time: what `--strict` asks where there is no firm contract."""
        limits_ns = [path.within_ns for path in paths.definitions if path.within_ns is not None]
        self.period_ns = _period_ns([*limits_ns, *(rate.within_ns for rate in resolved.graph.rates)])

    def _rate(self, definition: RateDef) -> _Rate:
        graph = self._resolved.graph
        edge = next(e for e in graph.edges_into(definition.stage) if e.input == definition.port)
        index = [each.name for each in graph.edges_from(edge.source)].index(edge.name)
        return _Rate(definition, edge.source, edge.name, index)

    # ---------------------------------------------------------------------------------- the recorders

    def follow(self, stage: str, recording: Recording) -> None:
        """The stage has a recorder; the same for all its lives."""
        if stage in self._recordings:
            return
        self._recordings[stage] = recording
        streams = recording.shape.streams
        graph = self._resolved.graph
        self._stages.append(
            _Stage(
                stage,
                recording,
                [self._paths.ending_at(stage, source) for source in streams],
                [self._paths.tightest(stage, source) for source in streams],
                all(graph.stage(edge.source).is_source for edge in graph.edges_into(stage)),
            )
        )
        place = {name: index for index, name in enumerate(self._resolved.order)}
        self._stages.sort(key=lambda one: place[one.name], reverse=True)

    def sweep(self, now_ns: int) -> None:
        """Read everything that is new, sinks first, and see what is done and what has expired."""
        for stream, seq, mask in self._losses:
            self.ledger.lost(mask, stream, seq)
        self._losses.clear()
        for stream, seq, mask in self._merged:
            self.ledger.ended(_RUN, mask, stream, seq, 0, 0, 0, 0)
        self._merged.clear()
        for stage in self._stages:
            head = stage.words[HEAD]
            if stage.words[MARKED] > stage.cursor:  # after `head`: FORMAT.md
                self._read(stage)
            else:
                stage.cursor = head
        for event in self.ledger.swept(now_ns):
            if type(event) is Missed:
                self._to_judge.append(event)
            else:
                assert isinstance(event, Finished)
                self._finished(event)
        self.is_behind = bool(self._to_judge) and not self._is_pressed(now_ns)
        if self.is_behind:  # one at a time: those that expire meanwhile are to be seen at their deadlines
            self._missed(self._to_judge.popleft())
            self.is_behind = bool(self._to_judge)

    def _is_pressed(self, now_ns: int) -> bool:
        """Whether a deadline may pass before a miss could be looked into: first all of a burst are seen."""
        expiry_ns = self.ledger.next_expiry_ns()
        is_soon = expiry_ns is not None and expiry_ns < now_ns + JUDGING_NS
        return is_soon and now_ns - self._to_judge[0].detected_ns < PATIENCE_NS

    def conclude(self) -> None:
        """Look into what still waits for it: there will be no more sweeps."""
        while self._to_judge:
            self._missed(self._to_judge.popleft())

    def _read(self, stage: _Stage) -> None:
        new = stage.recording.marked(stage.cursor)
        stage.cursor = new.cursor
        if new.lost_count:
            self.ledger.forgotten(new.lost_count)
        ledger = self.ledger
        for _, kind, flags, stream, seq, event_time_ns, ended_ns, device_done_ns, mask, _ in new.records:
            if kind == _ADMITTED:
                ledger.admitted(mask, stream, seq, event_time_ns)
                if self._contracts:
                    self._promise(mask, seq)
            elif kind == _SPLIT:
                ledger.split(mask, stream, seq)
            else:
                if kind == _SHED and not stage.is_first:
                    self._worked_in_vain(mask)
                tightest = stage.tightest[stream] if flags & _MISSED else 0
                done_ns = device_done_ns or ended_ns
                ledger.ended(kind, mask, stream, seq, event_time_ns, done_ns, tightest, stage.ending[stream])

    def _promise(self, mask: int, seq: int) -> None:
        """A datum was admitted for which a contract may count."""
        for path, contract in self._contracts.items():
            if mask >> path & 1:
                self._judge_contract(contract, contract.monitor.admitted(seq))

    def _worked_in_vain(self, mask: int) -> None:
        """A datum was given up after an earlier stage had worked on it: that one counted on too little after it."""
        for path, caution in enumerate(self._planning.caution):
            if mask >> path & 1:
                caution.was_late()

    def lose(self, losses: list[Loss]) -> None:
        """What went with a dead process is on the accounts with the next sweep."""
        self._losses += self._pieces(losses)

    def merge(self, pieces: list[Loss]) -> None:
        """The same of pieces that were begun by work which is done again, and begins them again."""
        self._merged += self._pieces(pieces)

    def _pieces(self, losses: list[Loss]) -> Iterator[tuple[int, int, int]]:
        index = {name: number for number, name in enumerate(self._names)}
        for loss in losses:
            for origin in loss.origins:
                of_stream = sum(spec.bit for spec in self._paths.specs if spec.stream == index[origin.stream])
                if loss.mask & of_stream:
                    yield index[origin.stream], origin.seq, loss.mask & of_stream

    # ------------------------------------------------------------------------------ what is found out

    def _finished(self, event: Finished) -> None:
        if event.deadline_ns:
            if event.outcome.is_on_time:
                self._planning.caution[event.path].was_on_time()
            else:
                self.late_paths.add(event.path)
                if event.became in ("arrived", "absorbed"):
                    self._planning.caution[event.path].was_late()
        contract = self._contracts.get(event.path)
        if contract is not None:
            self._judge_contract(contract, contract.monitor.settled(event.seq, event.outcome.is_on_time))

    def _missed(self, event: Missed) -> None:
        self.late_paths.add(event.path)
        path = self._paths.definitions[event.path]
        culprit, stage, sentence, timeline, segments = self._blamed(event)
        self.ledger.blamed(event.path, f"{culprit} {stage}".strip())
        assert path.within_ns is not None
        self._log.write(
            "miss",
            path=path.name,
            stream=self._names[event.stream],
            seq=event.seq,
            within_ms=path.within_ns / ms,
            event_time_ns=event.event_time_ns,
            deadline_ns=event.deadline_ns,
            detected_ns=event.detected_ns,
            late_ms=(event.detected_ns - event.deadline_ns) / ms,
            culprit=culprit,
            stage=stage,
            sentence=sentence,
            timeline=timeline,
            segments=segments,
        )
        contract = self._contracts.get(event.path)
        if contract is not None:
            contract.culprits.append(stage)
            self._judge_contract(contract, contract.monitor.settled(event.seq, False))

    def _blamed(self, event: Missed) -> tuple[str, str, str, str, list[dict[str, Any]]]:
        began_ns = self._now_ns()
        if event.path in self._last_culprit and not self._may_judge(began_ns):
            culprit, stage, sentence = self._last_culprit[event.path]
            return culprit, stage, f"as the one before it: {sentence}", "", []
        budgets = self._planning.budgets(event.path)
        blame = self.inquest.judge(event.path, event.stream, event.seq, event.event_time_ns, event.detected_ns, budgets)
        took_ns = self._now_ns() - began_ns
        self._judged.append((began_ns, took_ns))
        self._judging_ns += took_ns
        self._last_culprit[event.path] = (blame.kind.value, blame.stage, blame.sentence())
        segments = [
            {
                "kind": one.kind.value,
                "stage": one.stage,
                "start_ns": one.start_ns,
                "duration_ns": one.duration_ns,
                "budget_ns": one.budget_ns,
                "detail": one.detail,
            }
            for one in blame.segments
        ]
        return blame.kind.value, blame.stage, blame.sentence(), blame.timeline(), segments

    def _may_judge(self, now_ns: int) -> bool:
        """Whether there is time for it: the supervisor must not take from the stages what they need to be on time."""
        while self._judged and now_ns - self._judged[0][0] >= s:
            self._judging_ns -= self._judged.popleft()[1]
        return len(self._judged) < JUDGED_LIMIT and self._judging_ns < JUDGING_LIMIT_NS

    def _judge_contract(self, contract: _Contract, events: tuple[FirmEvent, ...]) -> None:
        for event in events:
            path = self._paths.definitions[contract.path]
            step = event.step.value if isinstance(event, Broken | Escalated) and event.step is not None else None
            self._log.write(
                type(event).__name__.lower(),
                path=path.name,
                level=event.level,
                step=step,
                met=getattr(event, "met", None),
                of=getattr(event, "of", None),
            )
            culprits = list(contract.culprits)
            self._contract_changed(path.name, event, max(culprits, key=culprits.count, default=""))

    # ---------------------------------------------------------------------------------- rate deadlines

    def look_at_rates(self, now_ns: int, started_ns: int) -> None:
        """Whether an input has gone silent, or is heard again."""
        for rate in self._rates:
            recording = self._recordings.get(rate.sender)
            if recording is None or recording.word(PHASE) in (DRAINING, CLOSED):
                continue  # who was told to stop, or has ended, may be silent
            offered_ns = recording.last_offered_ns(rate.output_index)
            last_ns = max(offered_ns, started_ns)
            gap_ns = now_ns - last_ns
            if rate.silent_since_ns and last_ns > rate.silent_since_ns:
                rate.longest_ns = max(rate.longest_ns, last_ns - rate.silent_since_ns)
                self._tell_rate("heard", rate, last_ns - rate.silent_since_ns)
                rate.silent_since_ns = 0
            elif not rate.silent_since_ns and gap_ns > rate.definition.within_ns:
                rate.silent_since_ns = last_ns
                rate.gap_count += 1
                self._tell_rate("silent", rate, gap_ns)
            if rate.silent_since_ns:
                rate.longest_ns = max(rate.longest_ns, now_ns - rate.silent_since_ns)

    def _tell_rate(self, event: str, rate: _Rate, gap_ns: int) -> None:
        one = rate.definition
        self._log.write(event, rate=one.name, stage=one.stage, port=one.port, gap_ms=gap_ns / ms)

    def rates(self) -> dict[str, dict[str, Any]]:
        """How each rate deadline was kept, for the report."""
        return {
            rate.definition.name: {
                "within_ms": rate.definition.within_ns / ms,
                "gaps": rate.gap_count,
                "longest_ms": rate.longest_ns / ms,
                "is_silent": bool(rate.silent_since_ns),
            }
            for rate in self._rates
        }

    def contracts(self) -> Mapping[int, FirmMonitor]:
        return {path: contract.monitor for path, contract in self._contracts.items()}


def _period_ns(limits_ns: list[int]) -> int:
    """How often to sweep at least, by the tightest deadline. Only what comes when it has expired has to wait for it."""
    if not limits_ns:
        return IDLE_SWEEP_NS
    tightest_ns = min(limits_ns)
    if tightest_ns < TIGHT_NS:
        return SWEEP_NS
    sweep_count = SWEEPS_PER_DEADLINE if tightest_ns < LONG_NS else SWEEPS_PER_LONG
    return min(tightest_ns // sweep_count, SLOW_SWEEP_NS)
