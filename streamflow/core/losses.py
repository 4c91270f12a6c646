"""Which data went with a process that died: exactly those that neither a living process nor a record accounts for.

A datum is on one side of each line at every instant, and the two sides write in an order that leaves a trace
whenever a process ends between two steps:

    sender:    table entry HELD --transmitted--> OUT --credit has come back--> FREE (it keeps its serial)
    receiver:  received --taken: first into service, then removed--> in service --sent on or ended--> record

So a datum in service may still stand in its sender's table as not removed: `InService.taken` names such entries, and
they count once, as the one in service. A result bears the serial of the service that it came from: what was sent on
is not lost with its service, but is wherever its entry says.

Nothing here knows of recorders: the caller reads them, and every mask is a set of paths, one bit each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto

from streamflow.core.message import Origin

EntryName = tuple[str, int, int]
"""Edge, generation, number."""


class LiveState(IntEnum):
    """The numbers are the recorder's format."""

    FREE = 0
    """Done with; the generation, number and serial of its last datum still stand. Without generation and number: that
    datum was about to be accepted, and was not."""
    HELD = 1
    """Accepted, and not sent yet. On an edge inside a process: handed over, and not taken yet."""
    OUT = 2
    """Sent, and no credit has come back."""


@dataclass(frozen=True, slots=True)
class Live:
    """An entry of a sender's table. `serial` is that of the service in which its stage sent it.

    It was the `nth` (from 0) that this service got onto this edge: slots are used again, so that of many pieces
    only the last may still have one.
    """

    state: LiveState
    number: int
    generation: int
    origins: tuple[Origin, ...]
    serial: int
    nth: int = 0


class Died(Enum):
    """Which ends of an edge went down together."""

    RECEIVER = auto()
    SENDER = auto()
    BOTH = auto()
    """Both, in processes of their own."""
    INSIDE = auto()
    """Both, in one process: an entry has its number from the start."""


@dataclass(frozen=True, slots=True)
class EdgeState:
    """What both recorders tell of an edge with a dead end, after what could still be read has been read.

    `removed` has (generation, number) of what the receiver took or dropped, in this life or one before; asked where
    a life of it died. `received` is how many data of each generation came in at the receiver that lives; what is out
    in another generation was sent to a life of it that died before the sender had heard of that, or to nobody.
    `mask` are the paths that run over this edge.
    """

    edge: str
    source: str
    died: Died
    live: Sequence[Live]
    removed: Set[tuple[int, int]] = frozenset()
    received: Mapping[int, int] = field(default_factory=dict)
    mask: int = 1
    is_kept: bool = False
    """Whoever lives next sends again what has not been done, so nothing of it is lost yet."""


@dataclass(frozen=True, slots=True)
class InService:
    """The datum that a dead stage was working on: one piece on each path of `mask`, and one more for each split.

    `splits` are the masks of its SPLIT records so far, each written before the extra piece was sent. `settled` are
    masks of pieces of this service that ended by a record without ever having an entry (rejected). `taken` are the
    entries it was made from.
    """

    stage: str
    serial: int
    origins: tuple[Origin, ...]
    mask: int = 1
    splits: Sequence[int] = ()
    settled: Sequence[int] = ()
    taken: Set[EntryName] = frozenset()


@dataclass(frozen=True, slots=True)
class Loss:
    """One piece on each path of `mask` was lost, on an edge or in a stage."""

    place: str
    origins: tuple[Origin, ...]
    mask: int


def losses(edges: Iterable[EdgeState], in_service: Iterable[InService] = ()) -> list[Loss]:
    """Every piece that went with the processes that died, each once; edges in the order given, then stages."""
    edges, in_service = list(edges), list(in_service)
    taken = frozenset[EntryName]().union(*(service.taken for service in in_service))
    found = [
        Loss(edge.edge, entry.origins, edge.mask)
        for edge in edges
        for entry in edge.live
        if _is_lost(entry, edge, taken)
    ]
    for service in in_service:
        sent = [(edge.mask, _sent_count(edge, service.serial)) for edge in edges if edge.source == service.stage]
        found += _unsent(service, [mask for mask, count in sent for _ in range(count)])
    return found


def _is_lost(entry: Live, edge: EdgeState, taken: Set[EntryName]) -> bool:
    if entry.state is LiveState.FREE or edge.is_kept:
        return False
    name = (entry.generation, entry.number)
    is_removed = name in edge.removed or (edge.edge, *name) in taken
    match edge.died, entry.state:
        case Died.RECEIVER, LiveState.HELD:
            return False
        case Died.SENDER, LiveState.OUT:
            received_count = edge.received.get(entry.generation)
            return not is_removed if received_count is None else entry.number >= received_count
        case (Died.RECEIVER | Died.BOTH, LiveState.OUT) | (Died.INSIDE, _):
            return not is_removed
        case _:
            return True  # held by a sender that is gone


def _sent_count(edge: EdgeState, serial: int) -> int:
    """How many pieces this service got onto the edge, wherever they are by now."""
    entries = [entry for entry in edge.live if entry.serial == serial]
    accepted_count = sum(not _is_to_come(entry) for entry in entries)
    return max([accepted_count, *(entry.nth + (not _is_to_come(entry)) for entry in entries)])


def _is_to_come(entry: Live) -> bool:
    """Whether its stage died when all of it was written but that it is held: what it was before is overwritten."""
    return entry.state is LiveState.FREE and entry.number < 0 and not entry.generation


def _unsent(service: InService, sent: Iterable[int]) -> list[Loss]:
    """The pieces of a service that were announced, and neither sent on nor ended: on each path as many as are short."""
    announced = [service.mask, *service.splits]
    accounted = [*sent, *service.settled]
    found = []
    for path in range(service.mask.bit_length()):
        bit = 1 << path
        short = sum(bool(mask & bit) for mask in announced) - sum(bool(mask & bit) for mask in accounted)
        found += [bit] * max(0, short)
    return [Loss(service.stage, service.origins, mask) for mask in _together(found)]


def _together(bits: Sequence[int]) -> list[int]:
    """The same pieces in as few masks as can be: no path twice in one."""
    masks: list[int] = []
    for bit in bits:
        place = next((index for index, mask in enumerate(masks) if not mask & bit), None)
        if place is None:
            masks.append(bit)
        else:
            masks[place] |= bit
    return masks
