"""The amendment behind `streamflow replay`: stages that were recorded become sources of what the recording has of them.

What comes after them is as it was; what came before them, or gets nothing from them, is left out. A deadline from a
sensor that is left out begins at the stage that is replayed in its stead, and still counts from the sensor's instant:
the event time is in the recording, and so is the time that had passed when the datum was sent. *Not taken*: to let
sensors that were not recorded run beside the recording; their now is not its then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nodes.ingest.mcap_file import McapFile
from nodes.mcap_files.outputs import chosen
from nodes.mcap_files.reader import McapRecording, RecordedOutput, open_recording
from streamflow import PipelineError, Restart
from streamflow.core.deadline import PathDef
from streamflow.core.graph import EdgeDef, Graph, StageDef
from streamflow.core.paths import on_route
from streamflow.core.ports import Mismatch, unify_ports
from streamflow.errors import Fault, InputError, StreamflowError, UsageError
from streamflow.runtime.loading.definition import Definition, stage_of
from streamflow.runtime.loading.loader import Reference


def replay(definition: Definition, reference: Reference, *, path: str, outputs: Sequence[str] = ()) -> Definition:
    """With sources of what the file at `path` has in place of the stages that sent it.

    `outputs`: only these are replayed; by default all that were recorded. Raises UsageError where the file is no
    recording or lacks what was named, PipelineError with all that does not fit.
    """
    try:
        recording = open_recording(path)
    except InputError as error:
        raise UsageError(error.subject, error.found, error.expected, error.hint) from None
    graph = _with_ports(definition.graph)
    names = _names(recording, graph, outputs)
    plan = _Plan(recording, graph, names)
    plan.look()
    if plan.faults:
        raise PipelineError(plan.faults)
    nodes = dict(definition.nodes)
    stages = []
    faults: list[StreamflowError] = [fault for fault in definition.faults if not _is_about(fault, plan.gone)]
    for stage in graph.stages:
        if stage.name in plan.replaced:
            node = McapFile(path, stage.name, plan.replaced[stage.name])
            nodes[stage.name] = node
            restart = Restart.TRANSIENT if stage.restart is Restart.PERMANENT else stage.restart
            stage, fault = stage_of(stage.name, node, stage.process, restart)
            faults += [fault] if fault is not None else []
        if stage.name in plan.kept:
            stages.append(stage)
    deadlines, handlers = plan.deadlines(definition.handlers)
    groups = (replace(one, stages=tuple(name for name in one.stages if name in plan.kept)) for one in graph.groups)
    amended = Graph(
        graph.name,
        tuple(stages),
        plan.edges,
        tuple(deadlines),
        tuple(one for one in graph.rates if one.stage in plan.kept and one.stage not in plan.replaced),
        tuple(one for one in groups if one.stages),
    )
    return replace(
        definition,
        graph=amended,
        nodes={name: node for name, node in nodes.items() if name in plan.kept},
        faults=tuple(faults),
        handlers=handlers,
        notes=(*definition.notes, *_differences(recording, reference, graph), *plan.notes),
        warnings=(*definition.warnings, *recording.notes()),
    )


@dataclass(slots=True)
class _Plan:
    """What becomes of a pipeline of which some outputs are replayed."""

    recording: McapRecording
    graph: Graph
    names: Sequence[tuple[str, str]]
    replaced: dict[str, list[str]] = field(default_factory=dict)
    """Ports by stage."""
    kept: set[str] = field(default_factory=set)
    edges: tuple[EdgeDef, ...] = ()
    faults: list[StreamflowError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def gone(self) -> set[str]:
        """Stages whose own nodes do not run."""
        return {stage.name for stage in self.graph.stages if stage.name not in self.kept or stage.name in self.replaced}

    def look(self) -> None:
        """Find out what is replaced and kept, and everything that does not fit."""
        stages = {stage.name: stage for stage in self.graph.stages}
        for name, port in self.names:
            fault = self._misfit(stages, name, port)
            if fault is not None:
                self.faults.append(fault)
            else:
                self.replaced.setdefault(name, []).append(port)
        if self.faults:
            return
        needed = {edge.source for edge in self.graph.edges if edge.target not in self.replaced}
        self.replaced = {name: ports for name, ports in self.replaced.items() if name in needed} or self.replaced
        self.kept = _reached(self.graph.edges, self.replaced)
        self.edges = tuple(
            edge
            for edge in self.graph.edges
            if {edge.source, edge.target} <= self.kept and edge.target not in self.replaced
        )
        self._require_what_is_needed()
        left = [stage.name for stage in self.graph.stages if stage.name not in self.kept]
        if left and not self.faults:
            who = ", ".join(self.replaced)
            self.notes.append(f"{self.recording.path}: replays {who}; left out: {', '.join(left)}")

    def _misfit(self, stages: Mapping[str, StageDef], name: str, port: str) -> Fault | None:
        subject = f"{self.recording.path}, {name}.{port}"
        of = self.recording.pipeline
        whence = f"it was recorded from pipeline {of}" if of != self.graph.name else "replay the others with --edges"
        if name not in stages:
            if likely := self._likely(self.recording.outputs[f"{name}.{port}"]):
                whence = f"{' or '.join(likely)} is not in the recording: was a stage renamed?"
            return Fault(subject, f"pipeline {self.graph.name} has no stage {name}", _one_of(stages), whence)
        stage = stages[name]
        if port not in stage.outputs and stage.is_known:
            return Fault(subject, f"stage {name} has no output {port}", _one_of(stage.outputs), whence)
        if not stage.is_known:
            return None
        recorded, expected = self.recording.outputs[f"{name}.{port}"].type, stage.outputs[port].type
        try:
            unify_ports(recorded, expected, {})
        except Mismatch as mismatch:
            found = str(mismatch).replace(" sent", " recorded")
            return Fault(subject, found, hint=whence if of != self.graph.name else "the pipeline has changed since")
        return None

    def _require_what_is_needed(self) -> None:
        for edge in self.graph.edges:
            if edge.target not in self.kept or edge.target in self.replaced:
                continue
            needed = f"{edge.source}.{edge.output}"
            if edge.source not in self.kept or edge.output not in self.replaced.get(edge.source, (edge.output,)):
                found = f"stage {edge.target} needs {needed}, which is not replayed"
                self.faults.append(Fault(str(self.recording.path), found, hint=self._remedy(edge.source, needed)))

    def _remedy(self, source: str, needed: str) -> str:
        """Where to have `needed`, an output of `source`, from."""
        named = [f"{stage}.{port}" for stage, port in self.names]
        if needed in self.recording.outputs:
            return f"it is in the recording: --edges {','.join([*named, needed])}"
        origins = self._origins(source, set())
        if origins:
            more = [name for name in origins if name not in named]
            return f"it is made of {', '.join(origins)}, in the recording: --edges {','.join([*named, *more])}"
        stages = {stage.name for stage in self.graph.stages}
        fitting = [name for name, one in self.recording.outputs.items() if one.stage in stages]
        strange = [name for name in self.recording.outputs if name not in fitting]
        if strange:
            found = f"the recording has {', '.join(strange)}, for which {self.graph.name} has no stage"
            return f"{found}: was one renamed?"
        return f"record it too, as in record --edges {','.join([*fitting, needed])}"

    def _origins(self, stage: str, seen: set[str]) -> list[str]:
        """Recorded outputs of which everything that `stage` sends is made; none where there are not all of them."""
        seen.add(stage)
        found: dict[str, None] = {}
        edges = [edge for edge in self.graph.edges if edge.target == stage]
        for edge in edges:
            name = f"{edge.source}.{edge.output}"
            if name in self.recording.outputs:
                found[name] = None
            elif edge.source not in seen:
                origins = self._origins(edge.source, seen)
                if not origins:
                    return []
                found |= dict.fromkeys(origins)
        return list(found)

    def _likely(self, recorded: RecordedOutput) -> list[str]:
        """What it may be called now: the same port of the same kind of node, of which the recording has nothing."""
        known = {one.stage for one in self.recording.outputs.values()}
        return [
            f"{stage.name}.{recorded.port}"
            for stage in self.graph.stages
            if stage.node == recorded.node and stage.name not in known and recorded.port in stage.outputs
        ]

    def deadlines(self, handlers: Mapping[str, Any]) -> tuple[list[PathDef], dict[str, Any]]:
        """Those that can still be told of, and what is called for each; the others are noted."""
        found: list[PathDef] = []
        called: dict[str, Any] = {}
        for path in self.graph.deadlines:
            paths = list(self._from_replayed(path))
            found += paths
            called |= {one.name: handlers[path.name] for one in paths if path.name in handlers}
            if not paths:
                self.notes.append(f"deadline {path.name}: not looked at, what it is about is not replayed")
        return found, called

    def _from_replayed(self, path: PathDef) -> Iterable[PathDef]:
        if path.sink not in self.kept or path.sink in self.replaced:
            return []
        if path.source in self.replaced:
            return [path] if on_route(self.edges, path.source, path.sink) else []
        before = _reached(self.graph.edges, [path.source])
        starts = [name for name in self.replaced if name in before and on_route(self.edges, name, path.sink)]
        if len(starts) == 1:
            return [replace(path, source=starts[0])]
        return [replace(path, name=f"{path.name} from {name}", source=name) for name in starts]


def _names(recording: McapRecording, graph: Graph, outputs: Sequence[str]) -> list[tuple[str, str]]:
    """What is to be replayed: all that was recorded, or of that what was named."""
    recorded = [(one.stage, one.port) for one in recording.outputs.values()]
    if not recording.count:
        raise UsageError(str(recording.path), "has no data", "a recording of some")
    if not outputs:
        return recorded
    found = []
    for name in outputs:
        own = [end for end in chosen(graph, [name]) if end in recorded]
        if not own:
            raise UsageError(f"--edges {name}", f"{recording.path} has nothing of it", _one_of(recording.outputs))
        found += own
    return list(dict.fromkeys(found))


def _with_ports(graph: Graph) -> Graph:
    """With the only output of a stage named where an edge leaves it: that stage may be given others."""
    only = {stage.name: next(iter(stage.outputs)) for stage in graph.stages if len(stage.outputs) == 1}
    edges = (edge if edge.output else replace(edge, output=only.get(edge.source, "")) for edge in graph.edges)
    return replace(graph, edges=tuple(edges))


def _reached(edges: Iterable[EdgeDef], starts: Iterable[str]) -> set[str]:
    after: dict[str, list[str]] = {}
    for edge in edges:
        after.setdefault(edge.source, []).append(edge.target)
    found, waiting = set(starts), list(starts)
    while waiting:
        for name in after.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


def _is_about(fault: StreamflowError, stages: Collection[str]) -> bool:
    """Whether it was found in a stage that does not run, or in an edge at its end: a file that is not here, perhaps."""
    what, _, rest = fault.subject.partition(" ")
    ends = rest.partition(",")[0].split("->")
    return what in ("stage", "edge") and any(end.partition(".")[0] in stages for end in ends)


def _differences(recording: McapRecording, reference: Reference, graph: Graph) -> list[str]:
    """In what this run is not as the recorded one was."""
    notes = []
    if recording.pipeline != graph.name:
        notes.append(f"{recording.path}: recorded from pipeline {recording.pipeline}, replayed into {graph.name}")
    former, now = recording.settings, reference.settings
    if former != dict(now) and recording.pipeline == graph.name:
        notes.append(f"{recording.path}: recorded {_settings(former)}, replayed {_settings(now)}")
    return notes


def _settings(settings: Mapping[str, str]) -> str:
    told = " ".join(f"--set {name}={value}" for name, value in settings.items())
    return f"with {told}" if told else "without settings"


def _one_of(names: Iterable[str]) -> str:
    return f"one of {', '.join(names)}"
