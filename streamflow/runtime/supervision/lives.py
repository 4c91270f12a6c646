"""The lives of the processes of a run, and what their neighbours are told when one ends and the next begins.

When a process ends, who sends to it keeps its data by the edge's policy (`detach`), who receives from it reads what
had come (`expect`); what went with it is read from the recorders, once everybody has said what they got. Its next
life is told which it is (`life`), and its senders where it is (`attach`); or all that there will be none (`abandon`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamflow.core.graph import Graph
from streamflow.runtime.accounts.casualties import Remains
from streamflow.runtime.process.control import ControlServer, Telegram
from streamflow.runtime.supervision.observatory import Observatory


class Lives:
    """Of one run."""

    def __init__(
        self,
        graph: Graph,
        processes: Mapping[str, Sequence[str]],
        control: ControlServer,
        observatory: Observatory,
    ) -> None:
        self.generations = dict.fromkeys(processes, 0)
        self.bound: set[str] = set()
        """Processes that have told where their receivers are."""
        self.down_since: dict[str, int] = {}
        """Processes that have ended and are not back at work, and when they ended."""
        self._graph = graph
        self._processes = processes
        self._process_of = {stage: process for process, own in processes.items() for stage in own}
        self._control = control
        self._observatory = observatory
        self._lost_devices: dict[str, set[str]] = {}
        self._gone: set[str] = set()
        self._over: set[str] = set()  # edges whose streams had ended at living receivers when the senders died
        self._stillborn: set[str] = set()  # ended before they had bound; what their recorders show was read before
        self._remains: list[Remains] = []

    def greet(self, process: str) -> None:
        """It has said hello: it is told which life it is, and of what generation its edges are."""
        own = set(self._processes[process])
        edges = [edge.name for edge in self._graph.edges if edge.source in own or edge.target in own]
        gone = [name for name in edges if name in self._gone | self._over | self._finished(own)]
        for edge in self._graph.edges:
            if edge.source in own and edge.name in gone:
                self._let_go(edge.name)  # of what a former life has kept it takes over nothing
        self._control.tell(
            process,
            {
                "is": "life",
                "generation": self.generations[process],
                "edges": {name: self._observatory.edge_generation(name) for name in edges},
                "down_since_ns": self.down_since.get(process, 0),
                "gone": gone,
                "lost_devices": sorted(self._lost_devices.get(process, ())),
            },
        )

    def lost_device(self, process: str, device: str) -> None:
        """Its next lives use it last, and what is late for that is the device's fault."""
        if device:
            self._observatory.lost_device(self._processes[process], device)
            self._lost_devices.setdefault(process, set()).add(device)

    def _let_go(self, edge: str) -> None:
        settled = self._observatory.casualties.let_go(edge)
        if settled is not None:
            self._observatory.lose(settled)

    def _finished(self, own: set[str]) -> set[str]:
        """Edges to stages whose streams have ended: nobody reads there any more, unless they are to start again too."""
        return {
            edge.name
            for edge in self._graph.edges
            if edge.source in own
            and edge.target not in own
            and self._process_of[edge.target] not in self.down_since
            and self._observatory.has_closed(edge.target)
        }

    def went_down(self, process: str, now_ns: int) -> None:
        self._stillborn.discard(process)
        if process not in self.bound:
            self._stillborn.add(process)
        self.bound.discard(process)
        self._control.forget(process)
        self.down_since.setdefault(process, now_ns)

    def ended(self, process: str) -> None:
        """Neighbours of the dead go on without it; what went with it is read from its recorders."""
        stages = self._processes[process]
        observatory, casualties = self._observatory, self._observatory.casualties
        observatory.went_down(stages, self.down_since[process])
        alive = self._alive_stages()
        for edge in self._graph.edges:
            if edge.target in stages:
                self._over.discard(edge.name)  # its next life reads again
            if edge.target in stages and edge.source in alive:
                removed = casualties.removed(edge)
                self._tell_stage(edge.source, {"is": "detach", "edge": edge.name, "removed": removed})
        unheard = {(edge, one.generations[edge]) for one in self._remains for edge in one.unheard}
        for other in self._remains:
            for edge in self._graph.edges:
                if edge.target in stages and edge.name in other.unheard:
                    casualties.receiver_died(other, edge)
        if process not in self._stillborn:
            self._remains.append(casualties.read(stages, alive.__contains__, unheard))
        for edge in self._graph.edges:
            if edge.target in stages or edge.source in stages:
                generation = observatory.next_generation(edge.name)
                if edge.source in stages and edge.target in alive:
                    self._tell_stage(edge.target, {"is": "expect", "edge": edge.name, "generation": generation})
        self._settle_heard()

    def received(self, edge: str, count: int, *, has_ended: bool) -> None:
        """A receiver says how much had come from a sender that died; `has_ended`: all, and nobody reads there now."""
        if has_ended:
            self._over.add(edge)
            source = next(each.source for each in self._graph.edges if each.name == edge)
            self._tell_stage(source, {"is": "abandon", "edge": edge})  # where it has said hello already
        for remains in self._remains:
            if edge in remains.unheard:
                self._observatory.casualties.heard(remains, edge, count)
                break
        self._settle_heard()

    def _settle_heard(self) -> None:
        for remains in [one for one in self._remains if not one.unheard]:
            self._remains.remove(remains)
            self._observatory.lose(self._observatory.casualties.settle(remains))

    def attach(self, process: str, endpoints: Mapping[str, str]) -> None:
        """A new life has bound: it learns where the others are, and its senders where it is."""
        own = set(self._processes[process])
        alive = self._alive_stages()
        known = {
            edge.name: endpoints[edge.name]
            for edge in self._graph.edges
            if edge.name in endpoints and edge.target in alive
        }
        self._control.tell(process, {"is": "connect", "endpoints": known})
        for stage in own:
            self._observatory.casualties.lives_again(stage)
        for edge in self._graph.edges:
            if edge.target in own and edge.source not in own and edge.name in known:
                generation = self._observatory.edge_generation(edge.name)
                telegram = {"is": "attach", "edge": edge.name, "endpoint": known[edge.name], "generation": generation}
                self._tell_stage(edge.source, telegram)

    def abandon(self, process: str) -> None:
        """There is no next life."""
        self._observatory.left(self._processes[process])
        own = set(self._processes[process])
        for stage in own:
            if (settled := self._observatory.casualties.never_emitted(stage)) is not None:
                self._observatory.lose(settled)
        for edge in self._graph.edges:
            if (edge.source in own) != (edge.target in own):
                self._gone.add(edge.name)
                self._observatory.casualties.abandon(edge.name)
                if edge.source in own:
                    self._let_go(edge.name)
                other = edge.target if edge.source in own else edge.source
                self._tell_stage(other, {"is": "abandon", "edge": edge.name})

    def _alive_stages(self) -> set[str]:
        return {stage for process in self.bound for stage in self._processes[process]}

    def _tell_stage(self, stage: str, telegram: Telegram) -> None:
        self._control.tell(self._process_of[stage], telegram)
