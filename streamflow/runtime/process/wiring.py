"""The ends of edges that a process has: made, bound and connected, each with its account and its shared memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from streamflow.core.graph import EdgeDef, Resolved
from streamflow.core.message import Message
from streamflow.core.outbox import Former
from streamflow.core.overflow import Overflow
from streamflow.core.paths import Paths
from streamflow.core.trace import Preference
from streamflow.core.watermark import timed_edges
from streamflow.memory.lending import Borrowing, Lending
from streamflow.memory.shares import Shares
from streamflow.runtime.accounts.edge_traces import SentOn
from streamflow.runtime.process.landing import LandedBorrowing
from streamflow.runtime.process.life import Life
from streamflow.runtime.process.memory_plan import MB, owners, reservations
from streamflow.runtime.process.staying_outputs import StayingOutputs
from streamflow.runtime.stage.actor import Actor
from streamflow.runtime.stage.ends import Inlet, Outlet
from streamflow.runtime.stage.interference import Interference
from streamflow.runtime.stage.placing import Placing
from streamflow.transport.direct_socket import DirectContext
from streamflow.transport.link import Borrower, Lender, Receiver, Sender
from streamflow.transport.local_link import LocalLink, LocalReceiver, LocalSender
from streamflow.transport.socket_receiver import SocketReceiver
from streamflow.transport.socket_sender import SocketSender
from streamflow.transport.sockets import SocketContext
from streamflow.transport.zmq_socket import ZmqContext
from streamflow.wire.session import EdgeTerms


class Wiring:
    """Of one process. `memory`: where large tensors are shared with the other processes; None where there are none."""

    def __init__(
        self,
        resolved: Resolved,
        paths: Paths,
        context: SocketContext,
        memory: Path | None,
        interference: Interference | None,
        staying: StayingOutputs,
        *,
        is_direct: bool = False,
        pool_mb: int | None = None,
    ) -> None:
        self.receivers: dict[str, Receiver] = {}
        self.senders: dict[str, Sender] = {}
        self.traces: dict[str, SentOn] = {}
        self._resolved = resolved
        self._timed = timed_edges(resolved.graph)
        self._paths = paths
        self._context = context
        self._memory = memory
        self._interference = interference
        self._staying = staying
        self._is_direct = is_direct
        self._pool_mb = pool_mb
        self._direct = DirectContext(context, memory) if memory and isinstance(context, ZmqContext) else None
        limit = None if pool_mb is None else pool_mb * MB
        self._shares = Shares(memory, owners(resolved.graph), limit) if memory is not None else None

    def bind(self, actors: Mapping[str, Actor], life: Life, pattern: str) -> dict[str, str]:
        """Make the receiving ends; where those are to be reached that others send to, by `pattern`."""
        endpoints: dict[str, str] = {}
        graph = self._resolved.graph
        numbers = {stage.name: number for number, stage in enumerate(graph.stages)}
        for number, edge in enumerate(graph.edges):
            actor = actors.get(edge.target)
            if actor is None:
                continue
            terms = self._terms(edge, life)
            trace = actor.logbook.receiver_trace(edge)
            trace.set_generation(terms.generation)
            bell = actor.bell_of(edge.input)
            if edge.source in actors:
                sent = self._trace(edge, actors[edge.source], life)
                link = LocalLink(terms, bell, sent, trace)
                self.receivers[edge.name] = LocalReceiver(link)
                self.senders[edge.name] = LocalSender(link)
            else:
                endpoint = pattern.format(f"{number}g{terms.generation}")
                sockets, borrower = self._arrivals(edge)
                receiver = SocketReceiver(sockets, endpoint, terms, bell, trace, borrower)
                self.receivers[edge.name] = receiver
                endpoints[edge.name] = receiver.endpoint
                if edge.name in life.gone:
                    receiver.abandon()
            mailbox = 0 if edge.overflow is Overflow.BLOCK else edge.capacity
            actor.inlets[edge.input] = Inlet(
                edge.name, self.receivers[edge.name], numbers[edge.source], edge.max_age_ns, mailbox
            )
        return endpoints

    def connect(self, actors: Mapping[str, Actor], life: Life, endpoints: Mapping[str, str]) -> None:
        """Make the sending ends, and give each actor its own."""
        for edge in self._resolved.graph.edges:
            actor = actors.get(edge.source)
            if actor is None:
                continue
            if edge.name not in self.senders:
                trace = self._trace(edge, actors[edge.source], life)
                lender = self._lender(edge, actor)
                endpoint = endpoints.get(edge.name, "")
                sender = SocketSender(
                    self._sockets(edge),
                    endpoint,
                    self._terms(edge, life),
                    trace,
                    lender,
                    *self._kept(edge, actor, trace),
                )
                self.senders[edge.name] = sender
                if edge.name in life.gone:
                    sender.abandon()
            mask = self._paths.masks_by_edge(edge.name)
            waits = edge.overflow is Overflow.BLOCK
            is_timed = edge.name in self._timed
            outlet = Outlet(edge.name, self.senders[edge.name], self.traces[edge.name], mask, waits, is_timed)
            if self._interference is not None:
                outlet = self._interference.outlet(outlet, actor.logbook)
            actor.sending.outlets[edge.output].append(outlet)

    def close(self) -> None:
        ends: list[Sender | Receiver] = [*self.senders.values(), *self.receivers.values()]
        for one in ends:
            one.close()
        if self._shares is not None:
            self._shares.close()

    def _sockets(self, edge: EdgeDef) -> SocketContext:
        is_direct = self._is_direct or edge.is_direct
        return self._direct if is_direct and self._direct is not None else self._context

    def _arrivals(self, edge: EdgeDef) -> tuple[SocketContext, Borrower | None]:
        """Where an edge's data come from, and how what is not in a message is found."""
        sockets = self._sockets(edge)
        if self._shares is None:
            return sockets, None
        borrowing = Borrowing(self._shares, edge.name)
        landing = self._staying.landing(edge, sockets)
        return (sockets, borrowing) if landing is None else (landing, LandedBorrowing(landing, borrowing))

    def _lender(self, edge: EdgeDef, actor: Actor) -> Lender | None:
        if self._shares is None or self._pool_mb == 0:
            return None
        if actor.sending.placing is None:
            pool = self._shares.pool(edge.source)
            for one in reservations(self._resolved):
                if one.stage == edge.source:
                    pool.reserve(one.size, one.count)
            actor.sending.placing = Placing(self._shares, pool, actor.logbook.recorder)
        staying = self._staying.lender(edge, self._shares, self._shares.pool(edge.source))
        return Lending(self._shares, edge.name) if staying is None else staying

    def _kept(
        self, edge: EdgeDef, actor: Actor, trace: SentOn
    ) -> tuple[Callable[[], set[tuple[int, int]]], Sequence[Former[Message]]]:
        """Of a lossless edge: what its receiver has done, when it is asked, and what a former life had to send."""
        keeping = actor.keeping
        if keeping is None or not edge.is_lossless:
            return set, ()
        trace.keeper = keeper = keeping.keeper(edge)
        return partial(keeping.done, edge), keeping.former(edge, keeper)

    def _trace(self, edge: EdgeDef, actor: Actor, life: Life) -> SentOn:
        trace = actor.logbook.sender_trace(edge)
        trace.generation = life.edges.get(edge.name, 0)
        self.traces[edge.name] = trace
        return trace

    def _terms(self, edge: EdgeDef, life: Life) -> EdgeTerms:
        schema = self._resolved.schema(edge)
        generation = life.edges.get(edge.name, 0)
        preference, is_lossless = self._preference(edge), edge.is_lossless
        return EdgeTerms(edge.name, schema, edge.overflow, edge.capacity, generation, preference, is_lossless)

    def _preference(self, edge: EdgeDef) -> Preference[Message]:
        """What comes first on an edge: by deadline where that was asked for, by class where there are several."""
        classes = {
            path.source: path.criticality
            for path in self._paths.definitions[: self._paths.declared_count]
            if self._paths.masks_by_edge(edge.name) & self._paths.through(edge.target, path.source)
        }
        ranks = {**dict.fromkeys(self._resolved.graph.sources_of(edge.source), 1), **classes}
        is_mixed = len(set(ranks.values())) > 1

        def rank_of(message: Message) -> int:
            return max(ranks.get(origin.stream, 1) for origin in message.all_origins())

        def deadline_of(message: Message) -> int:
            return message.deadline_ns or 1 << 62

        return Preference(edge.order, deadline_of, rank_of if is_mixed else None)
