"""Who ate the time of a datum that missed its deadline.

Its time, from event to done (or to expiry, when it is still somewhere), is cut into segments without gap or
overlap, each with a kind and a stage. The culprit is the (kind, stage) that exceeds its budget most.

A wait is cut by what the receiving stage did meanwhile: it was down, its loop stood still, it worked on other
data; where none of it explains a wait before arrival, the sender's loop is asked, and then it is the link's. Work
on another datum that overran grossly is the service's fault and not the queue's, and so is the queue it left
behind: without it, each datum of the same busy period would have begun that much earlier. Alternative not taken:
blaming the longest segment; the stage that always takes longest would then be named for everything.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import zip_longest
from typing import NamedTuple

from streamflow.core.budget import Budgets, Share
from streamflow.core.journey import Doings, Drop, Hop, Journey
from streamflow.core.timebase import ms

GROSS_FACTOR = 4  # a service beyond so many times its usual duration ...
GROSS_NS = 3 * ms  # ... and so much longer than usual overran grossly
IDLE_NS_MIN = 1 * ms  # a shorter gap between two services is the loop's own work, not idleness


class Culprit(StrEnum):
    SOURCE = "source jitter"
    TRANSPORT = "transport"
    MAILBOX = "mailbox wait"
    BATCH = "batch wait"
    SERVICE = "service"
    DEVICE = "device"
    SINK = "sink"
    STALL = "stall"
    RESTART = "restart"
    DROP = "upstream drop"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the datum's time. The budget of its (kind, stage) stands at the first of several."""

    kind: Culprit
    stage: str
    start_ns: int
    duration_ns: int
    budget_ns: int
    usual_ns: int = 0
    detail: str = ""

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.duration_ns


_SENTENCES = {
    Culprit.SOURCE: "source {} emitted it {} after the event",
    Culprit.TRANSPORT: "transport to {} took {}",
    Culprit.MAILBOX: "mailbox of {} held it {}",
    Culprit.BATCH: "a batch at {} was collected for {}",
    Culprit.SERVICE: "service at {} took {}",
    Culprit.DEVICE: "device of {} took {}",
    Culprit.SINK: "sink {} took {}",
    Culprit.STALL: "loop of {} stood still for {}",
    Culprit.RESTART: "{} was down for {}",
    Culprit.DROP: "a piece was dropped at {}, and waited for {}",
}
_PLACES = {
    Culprit.SOURCE: "{}",
    Culprit.TRANSPORT: "wire",
    Culprit.MAILBOX: "wait@{}",
    Culprit.BATCH: "batch@{}",
    Culprit.SERVICE: "{}",
    Culprit.DEVICE: "device@{}",
    Culprit.SINK: "{}",
    Culprit.STALL: "stall@{}",
    Culprit.RESTART: "down@{}",
    Culprit.DROP: "dropped@{}",
}


@dataclass(frozen=True, slots=True)
class Blame:
    """The culprit, by how much it exceeded its budget, and where the time went."""

    kind: Culprit
    stage: str
    excess_ns: int
    detail: str
    segments: tuple[Segment, ...]
    took_ns: int
    usual_ns: int
    is_done: bool

    def sentence(self) -> str:
        """As in `service at vad took 61.2 ms (usual 2.1), behind mic#123`."""
        usual = f" (usual {self.usual_ns / ms:.1f})" if self.usual_ns else ""
        detail = f", {self.detail}" if self.detail else ""
        took = f"{self.took_ns / ms:.1f} ms"
        return _SENTENCES[self.kind].format(self.stage or "the next stage", took) + usual + detail

    def timeline(self) -> str:
        """As in `mic 0.3 | wire 0.2 | wait@vad 41.0 (behind 12) | vad 4.1`, in ms, up to when the miss was known."""
        parts = []
        for segment in self.segments:
            if segment.duration_ns < ms // 20 and (segment.kind, segment.stage) != (self.kind, self.stage):
                continue
            detail = f" ({segment.detail})" if segment.detail else ""
            parts.append(_PLACES[segment.kind].format(segment.stage) + f" {segment.duration_ns / ms:.1f}{detail}")
        is_given_up = self.kind is Culprit.DROP
        return " | ".join(parts if self.is_done or is_given_up else [*parts, "not done yet"])


def blame(journey: Journey, budgets: Budgets) -> Blame:
    """The culprit of the journey. Of equal excesses the first on the way is named."""
    edges = {hop.stage: hop.edge for hop in journey.hops}
    segments: list[Segment] = []
    totals: dict[tuple[Culprit, str], int] = {}
    for piece in _merged(_cut(journey, budgets)):
        key = piece.kind, piece.stage
        share = _share(budgets, piece.kind, piece.stage, edges.get(piece.stage, ""))
        first = Share(share.usual_ns, 0 if key in totals else share.budget_ns)
        segments.append(replace(piece, budget_ns=first.budget_ns, usual_ns=first.usual_ns))
        totals[key] = totals.get(key, -first.budget_ns) + piece.duration_ns
    is_done = any(hop.is_sink and hop.ended_ns is not None for hop in journey.hops)
    if not segments:
        return Blame(Culprit.SOURCE, journey.source, 0, "", (), 0, 0, is_done)
    last = segments[-1]
    # What it waits for at the end never comes: however slow the rest was, that is why it is not done.
    kind, stage = (last.kind, last.stage) if last.kind is Culprit.DROP else max(totals, key=lambda key: totals[key])
    own = [segment for segment in segments if (segment.kind, segment.stage) == (kind, stage)]
    longest = max(own, key=lambda segment: segment.duration_ns)
    took_ns = sum(segment.duration_ns for segment in own)
    return Blame(
        kind, stage, totals[kind, stage], longest.detail, tuple(segments), took_ns, longest.usual_ns, is_done
    )  # fmt: skip


def _share(budgets: Budgets, kind: Culprit, stage: str, edge: str) -> Share:
    match kind:
        case Culprit.SOURCE:
            return budgets.source
        case Culprit.TRANSPORT:
            return budgets.transport.get(edge, Share())
        case Culprit.MAILBOX:
            return budgets.mailbox.get(edge, Share())
        case Culprit.SERVICE | Culprit.SINK:
            return budgets.service.get(stage, Share())
        case Culprit.DEVICE:
            return budgets.device.get(stage, Share())
        case _:
            return Share()


def _merged(pieces: Iterator[Segment]) -> list[Segment]:
    """Neighbours of the same kind, stage and detail as one."""
    found: list[Segment] = []
    for piece in pieces:
        if not piece.duration_ns:
            continue
        last = found[-1] if found else None
        if last and (last.kind, last.stage, last.detail) == (piece.kind, piece.stage, piece.detail):
            found[-1] = replace(last, duration_ns=last.duration_ns + piece.duration_ns)
        else:
            found.append(piece)
    return found


def _cut(journey: Journey, budgets: Budgets) -> Iterator[Segment]:
    """The pieces in order of time; each begins where the one before it ended."""
    end_ns = journey.until_ns
    here_ns = journey.event_time_ns
    stages = _Stages(journey, budgets)
    before = stages[journey.source]
    emitted_ns = _between(here_ns, journey.sent_ns, end_ns)
    yield from _paint(here_ns, emitted_ns, before.pauses, Culprit.SOURCE, journey.source)
    here_ns = emitted_ns
    for hop, following in zip_longest(journey.hops, journey.hops[1:]):
        stage = stages[hop.stage]
        started_ns = _between(here_ns, hop.started_ns, end_ns)
        yield from _wait(here_ns, started_ns, hop, stage, before, journey.drops)
        here_ns = started_ns
        if hop.started_ns is None:
            return
        leaves_ns = following.sent_ns if following else end_ns if hop.is_sink else None
        ended_ns = _between(here_ns, hop.ended_ns, end_ns)
        left_ns = ended_ns if leaves_ns is None else min(ended_ns, max(leaves_ns, here_ns))
        yield from _work(here_ns, left_ns, hop, stage, stages[following.stage] if following else None)
        here_ns = left_ns
        if hop.ended_ns is None and following is None:
            return
        device_ns = _between(here_ns, hop.device_done_ns, end_ns if leaves_ns is None else min(end_ns, leaves_ns))
        yield from _paint(here_ns, device_ns, [], Culprit.DEVICE, hop.stage)
        here_ns = device_ns
        if leaves_ns is not None:  # the stage kept it after its work
            kept_ns = _between(here_ns, leaves_ns, end_ns)
            yield from _paint(here_ns, kept_ns, stage.standstills, stage.kind, hop.stage)
            here_ns = kept_ns
        before = stage
    layers = [*before.pauses, *before.gross, *_dropped(journey.drops, end_ns)]
    yield from _paint(here_ns, end_ns, layers, Culprit.TRANSPORT, "", f"after {before.name}")


def _between(low_ns: int, value_ns: int | None, high_ns: int) -> int:
    return max(low_ns, high_ns if value_ns is None else min(value_ns, high_ns))


class _Layer(NamedTuple):
    """What explains a stretch of time, unless a layer before it in the list does."""

    start_ns: int
    end_ns: int
    kind: Culprit
    stage: str
    detail: str = ""
    excess_ns: int = 0

    def overlap_ns(self, start_ns: int, end_ns: int) -> int:
        return max(0, min(self.end_ns, end_ns) - max(self.start_ns, start_ns))

    def within(self, other: _Layer) -> _Layer:
        start_ns, end_ns = max(self.start_ns, other.start_ns), min(self.end_ns, other.end_ns)
        return self._replace(start_ns=start_ns, end_ns=end_ns, excess_ns=end_ns - start_ns)


def _paint(
    start_ns: int, end_ns: int, layers: Sequence[_Layer], kind: Culprit, stage: str, detail: str = ""
) -> list[Segment]:
    """[start, end) by the first layer that explains each part of it; by the given kind what none does."""
    pieces: list[Segment] = []
    left = [(start_ns, end_ns)]
    for layer in [*layers, _Layer(start_ns, end_ns, kind, stage, detail)]:
        uncovered = []
        for low_ns, high_ns in left:
            first_ns, last_ns = max(low_ns, layer.start_ns), min(high_ns, layer.end_ns)
            if first_ns >= last_ns:
                uncovered.append((low_ns, high_ns))
                continue
            pieces.append(Segment(layer.kind, layer.stage, first_ns, last_ns - first_ns, 0, detail=layer.detail))
            uncovered += [(low, high) for low, high in ((low_ns, first_ns), (last_ns, high_ns)) if low < high]
        left = uncovered
    return sorted(pieces, key=lambda piece: piece.start_ns)


class _Stages(dict[str, "_Stage"]):
    """Each is looked at when it is first asked for."""

    def __init__(self, journey: Journey, budgets: Budgets) -> None:
        super().__init__()
        self.journey = journey
        self.budgets = budgets
        self.sinks = {hop.stage for hop in journey.hops if hop.is_sink}

    def __missing__(self, name: str) -> _Stage:
        stage = self[name] = _Stage(name, self)
        return stage


class _Stage:
    """What a stage did, as layers: stood still (down or stalled), waited for room, work that overran grossly, ordinary
    work."""

    def __init__(self, name: str, stages: _Stages) -> None:
        journey, budgets = stages.journey, stages.budgets
        self.name = name
        self._stages = stages
        self._pauses: list[_Layer] | None = None
        doings = journey.doings.get(name, Doings())
        self.kind = Culprit.SINK if doings.is_sink or name in stages.sinks else Culprit.SERVICE
        end_ns = journey.until_ns
        since_ns = journey.event_time_ns - (end_ns - journey.event_time_ns)  # further back `behind` never looks

        def layer(began_ns: int, ended_ns: int | None, kind: Culprit, detail: str = "") -> _Layer:
            ended_ns = end_ns if ended_ns is None else ended_ns
            return _Layer(began_ns, ended_ns, kind, name, detail, ended_ns - began_ns)

        self.standstills = [
            layer(began_ns, ended_ns, Culprit.DEVICE, f"{lost} was lost")
            if lost
            else layer(began_ns, ended_ns, Culprit.RESTART)
            for began_ns, ended_ns, lost in doings.downs
        ]
        self.standstills += [
            layer(began_ns, ended_ns, Culprit.STALL, "garbage collection" if is_gc else "")
            for began_ns, ended_ns, is_gc in doings.stalls
        ]
        self._blocked = [
            layer(began_ns, ended_ns, Culprit.MAILBOX, "no room there")._replace(stage=onward)
            for began_ns, ended_ns, onward in doings.blocked
        ]
        services = [
            layer(began_ns, ended_ns, Culprit.DEVICE if is_device else self.kind, f"behind {stream}#{seq}")
            for began_ns, ended_ns, stream, seq, is_device in doings.services
            if began_ns < end_ns and (ended_ns is None or ended_ns >= since_ns)
        ]
        usual = {
            kind: shares.get(name, Share()).usual_ns or _median([one.excess_ns for one in services if one.kind is kind])
            for kind, shares in ((self.kind, budgets.service), (Culprit.DEVICE, budgets.device))
        }
        self.gross: list[_Layer] = []
        self.ordinary: list[_Layer] = []
        for service in services:
            usual_ns = usual[service.kind]
            limit_ns = max(GROSS_FACTOR * usual_ns, usual_ns + GROSS_NS)
            waited = (*self.standstills, *self._blocked)
            stood_ns = sum(still.overlap_ns(service.start_ns, service.end_ns) for still in waited)
            working_ns = service.excess_ns - stood_ns
            kept = self.gross if working_ns > limit_ns else self.ordinary
            kept.append(service._replace(excess_ns=working_ns - usual_ns))

    @property
    def pauses(self) -> list[_Layer]:
        """Where it did nothing, by whose fault: where it waited for room, that of what was the matter there."""
        if self._pauses is None:
            self._pauses = self.standstills  # for one that waits for it while it waits for that one
            found = [*self.standstills]
            for wait in self._blocked:
                onward = self._stages[wait.stage]
                found += [layer.within(wait) for layer in (*onward.pauses, *onward.gross)]
                found.append(wait)
            self._pauses = [layer for layer in found if layer.start_ns < layer.end_ns]
        return self._pauses

    def queue(self, start_ns: int, end_ns: int) -> list[_Layer]:
        """Ordinary work in that time, up to the next work where the gap is short, as a wait behind so many."""
        ahead = [service for service in self.ordinary if service.overlap_ns(start_ns, end_ns)]
        nexts = sorted([layer.start_ns for layer in (*self.ordinary, *self.gross)] + [end_ns])
        detail = f"behind {len(ahead)}"
        found = []
        for service in ahead:
            place = bisect_left(nexts, service.end_ns)
            next_ns = nexts[place] if place < len(nexts) else end_ns
            reach_ns = next_ns if next_ns - service.end_ns < IDLE_NS_MIN else service.end_ns
            found.append(_Layer(service.start_ns, reach_ns, Culprit.MAILBOX, self.name, detail))
        return found

    def behind(self, start_ns: int, end_ns: int) -> list[_Layer]:
        """The queue of that time; as much of it as something earlier in the same busy period left behind is its fault.

        No further back than the wait is long: before that, drops and sheds have made the queue another one.
        """
        queue = self.queue(start_ns, end_ns)
        cause = self._cause(start_ns, end_ns) if queue else None
        if cause is None:
            return queue
        left_ns = cause.excess_ns
        blamed = []
        for layer in queue:
            first_ns = max(layer.start_ns, start_ns)
            part_ns = min(left_ns, layer.end_ns - first_ns)
            blamed.append(cause._replace(start_ns=first_ns, end_ns=first_ns + part_ns))
            left_ns -= part_ns
        return [*blamed, *queue]

    def _cause(self, start_ns: int, end_ns: int) -> _Layer | None:
        """What delayed this stage most of all that it did before, with no pause since; what is left as excess."""
        causes = {*self.pauses, *self.gross}
        busy = [*causes, *self.ordinary]
        busy_since_ns = min(layer.start_ns for layer in busy if layer.overlap_ns(start_ns, end_ns))
        found: list[_Layer] = []
        earlier = [layer for layer in busy if layer.start_ns < start_ns]
        for layer in sorted(earlier, key=lambda layer: layer.end_ns, reverse=True):
            if layer.end_ns < busy_since_ns - IDLE_NS_MIN or layer.end_ns < 2 * start_ns - end_ns:
                break
            busy_since_ns = min(busy_since_ns, layer.start_ns)
            if layer in causes:
                found.append(layer._replace(excess_ns=layer.excess_ns - layer.overlap_ns(start_ns, end_ns)))
        worst = max(found, key=lambda layer: layer.excess_ns, default=None)
        return worst if worst and worst.excess_ns > 0 else None


def _median(durations: list[int]) -> int:
    return sorted(durations)[len(durations) // 2] if durations else 0


def _wait(
    start_ns: int, end_ns: int, hop: Hop, stage: _Stage, before: _Stage, drops: Sequence[Drop]
) -> Iterator[Segment]:
    """From sent to started: on its way first, then in the mailbox."""
    arrived_ns = _between(start_ns, hop.enqueued_ns, end_ns)
    known = [*stage.pauses, *stage.gross, *stage.behind(start_ns, end_ns)]
    missing = _dropped(drops, end_ns) if hop.started_ns is None else []
    sender = [*before.pauses, *before.gross]
    yield from _paint(start_ns, arrived_ns, [*known, *sender, *missing], Culprit.TRANSPORT, hop.stage)
    kind = Culprit.BATCH if hop.batch > 1 else Culprit.MAILBOX
    yield from _paint(arrived_ns, end_ns, [*known, *missing], kind, hop.stage)


def _work(start_ns: int, end_ns: int, hop: Hop, stage: _Stage, onward: _Stage | None) -> Iterator[Segment]:
    """From started until it left; the last of it may have been waiting for room downstream."""
    after_ns = 0 if hop.ended_ns is None else max(0, hop.ended_ns - end_ns)  # blocked after it left is the next wait's
    blocked_ns = min(max(0, hop.blocked_ns - after_ns), end_ns - start_ns)
    yield from _paint(start_ns, end_ns - blocked_ns, stage.standstills, stage.kind, hop.stage)
    full = [*stage.standstills, *onward.pauses, *onward.gross] if onward else stage.standstills
    name, detail = (onward.name, "") if onward else (hop.stage, "no room downstream")
    yield from _paint(end_ns - blocked_ns, end_ns, full, Culprit.MAILBOX, name, detail)


def _dropped(drops: Sequence[Drop], end_ns: int) -> list[_Layer]:
    return [_Layer(drop.at_ns, end_ns, Culprit.DROP, drop.stage, f"on {drop.edge}") for drop in drops]
