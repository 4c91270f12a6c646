"""What a pipeline module uses: add stages, connect their ports.

    def build(wav: str) -> Pipeline:
        p = Pipeline("loudness")
        mic = p.add("mic", WavFile(wav, chunk=512))
        rms = p.add("rms", Rms())
        p.connect(mic, rms, overflow=Overflow.DROP_OLDEST, capacity=8)
        return p

`add` and `connect` never raise for what is wrong: faults are collected, and `check` (which every command
calls before anything starts) tells all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamflow.core.graph import EdgeDef, Graph, StageDef
from streamflow.core.overflow import Overflow
from streamflow.errors import Fault, StreamflowError
from streamflow.runtime.definition import Definition, handler_faults, stage_of
from streamflow.runtime.node import Node


@dataclass(frozen=True, slots=True)
class PortRef:
    """A named end of a stage, to be connected."""

    stage: str
    port: str


class Stage:
    """A handle on an added stage: `stage.port` (or `stage["port"]`) is an end, the stage itself its only one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, port: str) -> PortRef:
        if port.startswith("__"):
            raise AttributeError(port)
        return PortRef(self._name, port)

    def __getitem__(self, port: str) -> PortRef:
        return PortRef(self._name, port)

    def __repr__(self) -> str:
        return f"Stage({self._name!r})"


class Pipeline:
    """A graph of stages in the making."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._stages: list[StageDef] = []
        self._edges: list[EdgeDef] = []
        self._nodes: dict[str, Node] = {}
        self._faults: list[StreamflowError] = []

    def add(self, name: str, node: Node, *, process: str | None = None) -> Stage:
        """Put `node` into the graph. Stages of one `process` share it; by default each has its own."""
        if not isinstance(node, Node):
            self._faults.append(_no_node(name, node))
            self._stages.append(StageDef(name, "", process or name, {}, {}, is_known=False))
            return Stage(name)
        if any(node is other for other in self._nodes.values()):
            self._faults.append(Fault(f"stage {name}", "a node that another stage has", "a node of its own"))
        stage, fault = stage_of(name, node, process)
        if fault is not None:
            self._faults.append(fault)
        else:
            self._faults += handler_faults(name, node)
        self._stages.append(stage)
        self._nodes[name] = node
        return Stage(name)

    def connect(
        self,
        source: Stage | PortRef,
        target: Stage | PortRef,
        *,
        overflow: Overflow = Overflow.BLOCK,
        capacity: int = 8,
    ) -> None:
        """Join an output to an input.

        `capacity` counts the data that wait, on both sides together, and `overflow` says what happens to one
        for which there is no room. By default the sender waits: choose a dropping policy where fresh matters
        more than complete. Several edges may leave one output, each with its own policy.
        """
        if not isinstance(overflow, Overflow):
            names = ", ".join(f"Overflow.{policy.name}" for policy in Overflow)
            self._faults.append(Fault(f"edge {_text(source)}->{_text(target)}", f"overflow {overflow!r}", names))
            overflow = Overflow.BLOCK
        ends = []
        for what, end in (("source", source), ("target", target)):
            if isinstance(end, PortRef):
                ends.append((end.stage, end.port))
            elif isinstance(end, Stage):
                ends.append((end._name, ""))
            else:
                self._faults.append(Fault("connect", f"a {type(end).__name__} as the {what}", "a stage or its port"))
        if len(ends) == 2:
            (a, output), (b, port) = ends
            self._edges.append(EdgeDef(a, output, b, port, overflow, capacity))

    def definition(self) -> Definition:
        """What was defined so far, for the runtime."""
        return Definition(
            Graph(self.name, tuple(self._stages), tuple(self._edges)), dict(self._nodes), tuple(self._faults)
        )

    def check(self) -> None:
        """Raise PipelineError with every fault there is; return when there is none."""
        self.definition().resolved()


def _no_node(stage: str, found: object) -> Fault:
    if isinstance(found, type):
        written = found.__name__
        return Fault(f"stage {stage}", f"the class {written} itself", "a node", f"write {written}(...)")
    return Fault(f"stage {stage}", f"a {type(found).__name__}", "a Node", "subclass streamflow.Node")


def _text(end: object) -> str:
    if isinstance(end, PortRef):
        return f"{end.stage}.{end.port}"
    return end._name if isinstance(end, Stage) else repr(end)
