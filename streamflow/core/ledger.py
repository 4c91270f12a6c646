"""What became of every datum on every path, from what the flight recorders say: each counted exactly once.

A datum begins as one piece on each path it was admitted to; a split adds a piece, an end takes one away, and it is
done when none is left. Events come as the recorders are swept, sinks first and sources last, so that an end may come
before the admission of the same sweep; therefore nothing is judged before `swept`. What a sweep saw of an end, it
saw of all that led to it: no pieces after a sweep means done.

Law, for each path at any time: produced = met + missed + absorbed + shed + dropped + rejected + lost + in flight.
The first verdict wins: a datum that expired is missed whatever becomes of it; what did is counted in `missed_then`.
Pieces that ended differently make the worst of it: lost, dropped, rejected, shed, missed, met, absorbed.

The numbers of a source only rise, so an end of a number that was passed and is not open is one too many: an anomaly,
not an exception. Memory is bounded by `open_limit` per path: beyond it the oldest data are let go and stay in flight
for ever, which is what is known of them; their ends are ignored, and the account is no longer exact.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Final

from streamflow.core.outcome import (
    ABSORBED,
    ARRIVED,
    BECAME,
    OUTCOMES,
    RANKS,
    VARIANTS,
    Finished,
    Missed,
    Outcome,
)
from streamflow.core.paths import PathSpec
from streamflow.core.statistics import Histogram
from streamflow.core.verdict import Kind

OPEN_LIMIT = 100_000  # open data of one path: 20 s at 5,000 a second; more is a path that stands still
ANOMALY_LIMIT = 64  # sentences kept; all are counted
CULPRIT_LIMIT = 256  # names of culprits per path; further ones are counted together
_ROUTE_LIMIT = 4096  # remembered pairs of mask and stream; a sound recorder has a few dozen
_LET_GO_SHARE = 16  # of the open data so many leave together: finding the oldest one by one would search each time

_RUN: Final = int(Kind.RUN)  # looking members up in an enum would be a tenth of the cost of an event
_MISSED: Final = Outcome.MISSED
_EARLY: Final = 0  # states: its admission is still to be read
_OPEN: Final = 1
_EXPIRED: Final = 2
_DONE: Final = 3


class _Datum:
    """A datum on a path."""

    __slots__ = ("account", "deadline_ns", "done_ns", "event_time_ns", "is_late", "pieces", "rank", "seq", "state")

    def __init__(self, account: _Account, seq: int, event_time_ns: int, pieces: int, state: int) -> None:
        self.account = account
        self.seq = seq
        self.event_time_ns = event_time_ns
        self.deadline_ns = 0
        self.done_ns = 0
        self.pieces = pieces
        self.rank = 0
        self.state = state
        self.is_late = False


class _Account:
    """The counts and the open data of a path."""

    __slots__ = (
        "bit", "culprits", "early", "histogram", "index", "last_seq", "let_go_in_flight", "let_go_seq", "missed",
        "missed_then", "open", "outcomes", "produced", "spec", "stream", "variants", "waiting_missed", "within_ns",
    )  # fmt: skip

    def __init__(self, spec: PathSpec) -> None:
        self.spec = spec
        self.bit = spec.bit
        self.index = spec.index
        self.stream = spec.stream
        self.within_ns = spec.within_ns
        self.open: dict[int, _Datum] = {}
        self.early: dict[int, _Datum] = {}
        self.last_seq = -1
        self.let_go_seq = -1
        self.let_go_in_flight = 0
        self.produced = 0
        self.missed = 0
        self.missed_then = [0] * len(BECAME)
        self.waiting_missed = 0  # of the open data, those that expired
        self.outcomes = [0] * len(BECAME)  # by rank; those of missed data are in missed_then
        self.variants: Counter[str] = Counter()
        self.culprits: Counter[str] = Counter()
        self.histogram = Histogram()

    @property
    def in_flight(self) -> int:
        return len(self.open) - self.waiting_missed + self.let_go_in_flight

    def name(self, seq: int) -> str:
        return f"path {self.spec.name}: datum {seq}"


class Ledger:
    """The accounts of all paths. `grace_ns` after its deadline a datum expires: the time a record takes to be seen."""

    def __init__(self, paths: Sequence[PathSpec], *, open_limit: int = OPEN_LIMIT, grace_ns: int = 0) -> None:
        self.anomalies: list[str] = []
        self.anomaly_count = 0
        self.forgotten_count = 0
        self._grace_ns = grace_ns
        self._open_limit = open_limit
        self._accounts = {spec.index: _Account(spec) for spec in paths}
        self._routes: dict[tuple[int, int], tuple[_Account, ...]] = {}
        self._ended: list[_Datum] = []  # those that had no piece left at some moment of this sweep
        self._fresh: list[_Datum] = []  # those with a deadline that were admitted in this sweep
        self._due: list[tuple[int, int, int, _Datum]] = []  # a heap: expiry, path, seq; some are done
        self._due_limit = 1024
        self._early_count = 0

    @property
    def is_exact(self) -> bool:
        """Nothing was overwritten before it was read, and no datum was let go."""
        return not self.forgotten_count and all(account.let_go_seq < 0 for account in self._accounts.values())

    def admitted(self, mask: int, stream: int, seq: int, event_time_ns: int) -> None:
        """A source made a datum: one piece of it begins on each path of the mask."""
        for account in self._routes.get((mask, stream)) or self._route(mask, stream):
            if seq <= account.last_seq:
                self._anomaly(f"{account.name(seq)} was admitted twice, or after a later one")
                continue
            account.last_seq = seq
            if account.early and seq in account.early:
                datum = account.early.pop(seq)
                self._early_count -= 1
                datum.state = _OPEN
                datum.event_time_ns = event_time_ns
                datum.pieces += 1
                if datum.pieces <= 0:
                    self._ended.append(datum)
            else:
                datum = _Datum(account, seq, event_time_ns, 1, _OPEN)
            account.produced += 1
            account.open[seq] = datum
            if account.within_ns is not None:
                datum.deadline_ns = event_time_ns + account.within_ns
                self._fresh.append(datum)
            if len(account.open) > self._open_limit:
                self._let_go(account)

    def split(self, mask: int, stream: int, seq: int) -> None:
        """One more piece of it begins on each path of the mask."""
        for account in self._routes.get((mask, stream)) or self._route(mask, stream):
            datum = account.open.get(seq) or self._early(account, seq, "was split")
            if datum is not None:
                datum.pieces += 1

    def ended(
        self,
        kind: int,
        mask: int,
        stream: int,
        seq: int,
        event_time_ns: int,
        done_ns: int,
        missed_mask: int,
        sink_mask: int,
    ) -> None:
        """A piece ended on each path of the mask.

        `sink_mask` is `Paths.ending_at` the stage: what was handled arrived on those, and was absorbed elsewhere.
        `missed_mask` is `Paths.tightest` at the stage where the record has `Flag.MISSED`, else 0: that flag speaks
        of the tightest deadline alone. On any path what was done after its own deadline is late.
        """
        rank = RANKS.get(kind, 0)
        if not rank:
            self._anomaly(f"datum {seq} of stream {stream} ended by a record of kind {kind}, which ends nothing")
            return
        for account in self._routes.get((mask, stream)) or self._route(mask, stream):
            datum = account.open.get(seq) or self._early(account, seq, "ended")
            if datum is None:
                continue
            datum.pieces -= 1
            if datum.pieces <= 0:
                self._ended.append(datum)
            if done_ns > datum.done_ns:
                datum.done_ns = done_ns
            if rank == ABSORBED:
                if account.bit & sink_mask:
                    if datum.rank < ARRIVED:
                        datum.rank = ARRIVED
                    if kind != _RUN:
                        account.variants[VARIANTS[kind]] += 1
                elif not datum.rank:
                    datum.rank = ABSORBED
                within_ns = account.within_ns
                if within_ns is not None and (done_ns - event_time_ns > within_ns or account.bit & missed_mask):
                    datum.is_late = True
            elif rank > datum.rank:
                datum.rank = rank

    def lost(self, mask: int, stream: int, seq: int) -> None:
        """A piece was lost on each path of the mask, with a process or in a stage that failed.

        To be told between two sweeps: amid one, it could come of a split that the sweep has already passed by.
        """
        self.ended(Kind.LOST, mask, stream, seq, 0, 0, 0, 0)

    def forgotten(self, count: int) -> None:
        """So many records were overwritten before they were read: the accounts are no longer exact."""
        self.forgotten_count += count

    def blamed(self, path: int, culprit: str) -> None:
        """A miss of the path has a name."""
        culprits = self._accounts[path].culprits
        culprits[culprit if culprit in culprits or len(culprits) < CULPRIT_LIMIT else "others"] += 1

    def swept(self, now_ns: int) -> list[Finished | Missed]:
        """What is done and what is missed, after a complete sweep of all recorders that began at `now_ns`."""
        events: list[Finished | Missed] = []
        for datum in self._ended:
            if datum.pieces <= 0 and (datum.state == _OPEN or datum.state == _EXPIRED):
                if datum.pieces:
                    self._anomaly(f"{datum.account.name(datum.seq)} ended {-datum.pieces} times more than it began")
                self._finish(datum, now_ns, events)
        self._ended.clear()
        for datum in self._fresh:
            if datum.state == _OPEN:
                entry = datum.deadline_ns + self._grace_ns, datum.account.index, datum.seq, datum
                heapq.heappush(self._due, entry)
        self._fresh.clear()
        self._expire(now_ns, events)
        if self._early_count:
            for account in self._accounts.values():
                self._settle_early(account)
        return events

    def next_expiry_ns(self) -> int | None:
        """The first instant at which `swept` would find another datum expired, as things stand; None without any."""
        due = self._due
        while due and due[0][3].state != _OPEN:
            heapq.heappop(due)
        return due[0][0] + 1 if due else None

    def closed(self) -> None:
        """The run has ended and everything was read: what is still open is in flight, if not missed."""
        for account in self._accounts.values():
            self._settle_early(account, is_over=True)

    def latency(self, path: int) -> Histogram:
        """Of the data all of whose pieces arrived or were absorbed, and that arrived: event time to the last end."""
        return self._accounts[path].histogram

    def counts(self, path: int) -> dict[str, int]:
        """`produced`, every outcome, and `in_flight`."""
        account = self._accounts[path]
        counts = {"produced": account.produced}
        ranks = {outcome: rank for rank, outcome in enumerate(OUTCOMES)}
        for outcome in Outcome:
            counts[outcome.value] = account.outcomes[ranks[outcome]]
        counts[Outcome.MISSED.value] = account.missed
        return counts | {"in_flight": account.in_flight}

    def summary(self, path: int) -> dict[str, object]:
        """Everything about a path, of plain values, for reports and JSON. Culprits: most misses first."""
        account = self._accounts[path]
        then = {name: account.missed_then[rank] for rank, name in enumerate(BECAME)}
        then["open"] = account.missed - sum(account.missed_then)
        return {
            "name": account.spec.name,
            "within_ms": None if account.within_ns is None else account.within_ns / 1e6,
            **self.counts(path),
            "missed_then": then,
            "variants": {name: account.variants[name] for name in VARIANTS.values()},
            "latency_ms": account.histogram.summary_ms(),
            "culprits": dict(account.culprits.most_common()),
            "let_go": account.let_go_in_flight,
        }

    def broken_sums(self) -> list[str]:
        """The paths whose law does not hold, as sentences; none, unless the ledger itself is wrong."""
        broken = []
        for index, account in self._accounts.items():
            counts = self.counts(index)
            produced = counts.pop("produced")
            if produced != sum(counts.values()) or account.in_flight < 0:
                parts = ", ".join(f"{count} {name}" for name, count in counts.items())
                broken.append(f"path {account.spec.name}: {produced} produced is not {parts}")
        return broken

    def _route(self, mask: int, stream: int) -> tuple[_Account, ...]:
        """The accounts of a mask; bits of no path, or of a path of another source, are anomalies."""
        if not mask:
            return ()
        known = tuple(a for a in self._accounts.values() if a.bit & mask and a.spec.stream == stream)
        rest = mask & ~sum(account.bit for account in known)
        if rest:
            self._anomaly(f"stream {stream}: a record names the paths {rest:#x}, none of which begins there")
        if known:
            if len(self._routes) >= _ROUTE_LIMIT:
                self._routes.clear()
            self._routes[mask, stream] = known
        return known

    def _early(self, account: _Account, seq: int, what: str) -> _Datum | None:
        """A datum whose admission is still to be read; None where none is to come."""
        if seq <= account.last_seq:
            if seq > account.let_go_seq:
                self._anomaly(f"{account.name(seq)} {what} when it was done already, or was never admitted")
            return None
        datum = account.early.get(seq)
        if datum is None:
            datum = account.early[seq] = _Datum(account, seq, 0, 0, _EARLY)
            self._early_count += 1
            if len(account.early) > self._open_limit:
                self._drop_early(account, next(iter(account.early)))
        return datum

    def _settle_early(self, account: _Account, *, is_over: bool = False) -> None:
        """Give up those whose admission cannot come any more, since a later one was read or the run is over."""
        if account.early:
            for seq in [seq for seq in account.early if is_over or seq < account.last_seq]:
                self._drop_early(account, seq)

    def _drop_early(self, account: _Account, seq: int) -> None:
        del account.early[seq]
        self._early_count -= 1
        self._anomaly(f"{account.name(seq)} ended or was split, and its admission was never seen")

    def _finish(self, datum: _Datum, now_ns: int, events: list[Finished | Missed]) -> None:
        account, rank = datum.account, datum.rank
        outcome = OUTCOMES[rank]
        if rank == ARRIVED:
            account.histogram.record(datum.done_ns - datum.event_time_ns)
        if datum.state == _EXPIRED:
            outcome = _MISSED
            account.waiting_missed -= 1
            account.missed_then[rank] += 1
        elif datum.is_late and rank <= ARRIVED:
            outcome = _MISSED
            account.missed += 1
            account.missed_then[rank] += 1
            events.append(_miss(datum, now_ns))
        else:
            account.outcomes[rank] += 1
        datum.state = _DONE
        seq = datum.seq
        del account.open[seq]
        values = (account.index, account.stream, seq, datum.event_time_ns, datum.deadline_ns, datum.done_ns, outcome,
                  BECAME[rank])  # fmt: skip
        events.append(Finished._make(values))  # a third of the cost of calling the class

    def _expire(self, now_ns: int, events: list[Finished | Missed]) -> None:
        due = self._due
        while due and (due[0][3].state != _OPEN or due[0][0] < now_ns):
            datum = heapq.heappop(due)[3]
            if datum.state == _OPEN:
                datum.state = _EXPIRED
                datum.account.missed += 1
                datum.account.waiting_missed += 1
                events.append(_miss(datum, now_ns))
        if len(due) > self._due_limit:
            self._due = [entry for entry in due if entry[3].state == _OPEN]
            heapq.heapify(self._due)
            self._due_limit = 2 * len(self._due) + 1024

    def _let_go(self, account: _Account) -> None:
        for seq in list(islice(account.open, self._open_limit // _LET_GO_SHARE + 1)):
            datum = account.open.pop(seq)
            if datum.state == _EXPIRED:
                account.waiting_missed -= 1
            else:
                account.let_go_in_flight += 1
            datum.state = _DONE
            account.let_go_seq = seq

    def _anomaly(self, sentence: str) -> None:
        self.anomaly_count += 1
        if len(self.anomalies) < ANOMALY_LIMIT:
            self.anomalies.append(sentence)


def _miss(datum: _Datum, now_ns: int) -> Missed:
    spec = datum.account.spec
    return Missed(spec.index, spec.stream, datum.seq, datum.event_time_ns, datum.deadline_ns, now_ns)
