"""A whole pipeline in one process and in virtual time, run by the supervisor and the workers of a real run.

    simulation = simulate(build, duration_s=10, service={"infer": 4 * ms}, faults=Faults().hang("infer", at_s=3))
    assert simulation.paths["alert"]["missed"] == 0

A minute of a pipeline takes about a second, every instant is exact, and the same call gives the same run: to that
end trio's order of tasks, by chance otherwise, is by `seed` while it lasts. Only user code and the waits of
`simulated_process` take virtual time; what is computed takes none, so that an overload is to be declared (`service`).

Alternative not taken: a model of the pipeline. It would be tested instead of what runs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import trio
from trio._core import _run
from trio.abc import Instrument
from trio.testing import MockClock

from streamflow.core.message import Message
from streamflow.core.timebase import ms, us
from streamflow.device.virtual import VirtualDevice
from streamflow.errors import Fault
from streamflow.pipeline import Pipeline
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import Record
from streamflow.runtime.clock import TrioClock
from streamflow.runtime.loading.definition import Definition
from streamflow.runtime.loading.loader import Loaded, Reference
from streamflow.runtime.process.worker import WorkerOptions
from streamflow.runtime.supervision.report import table
from streamflow.runtime.supervision.run_options import Outcome, RunOptions
from streamflow.runtime.supervision.supervisor import Supervisor
from streamflow.runtime.supervision.venue import temporary_folder
from streamflow.testing.fault_plan import FaultPlan
from streamflow.testing.faults import Faults
from streamflow.testing.simulated_venue import ENDPOINT, MakeDevice, Script, Service, SimulatedVenue

TURN_LIMIT = 100_000  # of trio's scheduler without any time going by: somebody calls somebody in a circle
_EVERYTHING = 1 << 63


@dataclass
class Simulation:
    """What became of a simulated run. Instants are of its own clock; `started_ns` is when its data began to flow."""

    outcome: Outcome
    events: list[dict[str, Any]]
    """The event log: `event`, `at_ns`, and what is said of it."""
    handled: Mapping[str, list[Message]]
    """What each stage worked on to the end, in order."""
    sent: Mapping[str, list[Message]]
    """What each stage sent, in order, once for all edges that leave the port."""
    records: Mapping[str, list[Record]]
    """The flight recorder of each stage: its last some thousand records."""
    started_ns: int

    @property
    def report(self) -> dict[str, Any]:
        """As `streamflow run --report` writes it."""
        return self.outcome.report

    @property
    def paths(self) -> Mapping[str, Any]:
        """Of the report: deadlines by name, and the other ways from a source to a sink."""
        found: Mapping[str, Any] = self.report["paths"]
        return found

    @property
    def edges(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.report["edges"]
        return found

    @property
    def stages(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.report["stages"]
        return found

    @property
    def misses(self) -> list[dict[str, Any]]:
        """Each with its culprit, stage, sentence and timeline."""
        return self.events_of("miss")

    @property
    def failure(self) -> str | None:
        """Why the run failed, in one sentence."""
        return self.outcome.failure.sentence if self.outcome.failure is not None else None

    def events_of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]

    def results(self, stage: str) -> list[Message]:
        """What a sink got, or any stage that takes something."""
        if stage not in self.handled:
            raise Fault("results", f"no stage {stage}", f"one of {', '.join(self.handled)}")
        return self.handled[stage]

    def __str__(self) -> str:
        """The report's tables."""
        return table(self.report)


def simulate(
    pipeline: Pipeline | Callable[[], Pipeline],
    *,
    duration_s: float | None = None,
    faults: Faults | None = None,
    service: Mapping[str, Service] | None = None,
    seed: int = 0,
    offline: bool = False,
    speed: float = 1.0,
    restarts: bool = True,
    enforces: bool = True,
    latency_ns: int = 50 * us,
    start_ns: int = 20 * ms,
    limit_s: float = 300.0,
    make_device: MakeDevice = VirtualDevice,
) -> Simulation:
    """Run a pipeline in virtual time; not to be called from within a trio task.

    `duration_s`: then sources stop and what is under way is finished; None: when they end by themselves. `service`:
    how long a stage works on a datum, in ns, or a function of its seq, or `OfBatch` by the size of a batch;
    `"stage.degrade"` names the cheaper way, `"stage.NAME"` a variant.
    `latency_ns`: of a datum between processes; `start_ns`: of a process, before its first words. As in a real run
    each process, and each of its lives, has nodes of its own: copies of those in `pipeline`, or newly built ones.

    `make_device`: what stages have in place of each device, by default one that takes no time; as in
    `lambda clock, name: VirtualDevice(clock, name, Delays(launch_ns=4 * ms))`.

    Raises PipelineError, and Fault where the run has not ended after `limit_s` of its own time: it says what hung.
    """
    build = pipeline if callable(pipeline) else None
    first = build() if build is not None else pipeline
    assert isinstance(first, Pipeline)
    definition = first.definition()
    if offline:
        definition = replace(definition, graph=definition.graph.offline())
    loaded = Loaded(Reference("simulation", {}), definition, definition.resolved())
    graph = loaded.resolved.graph
    service = dict(service or {})
    stages = [stage.name for stage in graph.stages]
    ways = [f"{stage.name}.{way}" for stage in graph.stages for way in ("degrade", *stage.variants)]
    for name in service:
        if name not in (*stages, *ways):
            raise Fault("service", f"no stage {name}", f"one of {', '.join(stages)}")
    script = Script(
        graph, FaultPlan(faults or Faults(), graph), service, TrioClock(), offline=offline, make_device=make_device
    )
    options = RunOptions(offline=offline, speed=speed, duration_s=duration_s, restarts=restarts, enforces=enforces)
    fresh = _copies(definition) if build is None else _rebuilt(build, definition)
    with _repeatable(seed), temporary_folder() as folder:
        venue = SimulatedVenue(
            loaded,
            _worker_options(options),
            folder,
            script,
            fresh,
            latency_ns=latency_ns,
            start_ns=start_ns,
            chance=Random(seed).random,
        )
        run = _Run(loaded, options, venue, limit_s)
        trio.run(run.run, clock=MockClock(autojump_threshold=0), instruments=[run])
        records = {stage.name: _records(folder.recording(stage.name)) for stage in graph.stages}
    return Simulation(run.outcome, run.events, script.handled, script.sent, records, script.started_ns)


def _worker_options(options: RunOptions) -> WorkerOptions:
    can_restart = options.restarts and not options.offline
    return WorkerOptions(options.offline, options.speed, ENDPOINT, Path(), 0, can_restart, options.enforces)


def _copies(definition: Definition) -> Callable[[], Definition]:
    """Every call gives nodes of their own, as they were defined."""

    def fresh() -> Definition:
        try:
            return replace(definition, nodes=copy.deepcopy(dict(definition.nodes)))
        except Exception as error:  # whatever a node of the user's own raises
            hint = "pass the function that builds the pipeline"
            raise Fault("simulate", f"a node cannot be copied ({type(error).__name__}: {error})", "", hint) from error

    fresh()  # what is wrong with that is said before anything runs
    return fresh


def _rebuilt(build: Callable[[], Pipeline], definition: Definition) -> Callable[[], Definition]:
    return lambda: replace(definition, nodes=build().definition().nodes)


def _records(path: Path) -> list[Record]:
    if not path.exists():
        return []  # the run ended before the stage was made
    recording = Recording.open(path)
    try:
        return recording.between(0, _EVERYTHING)
    finally:
        recording.close()


class _Run(Instrument):
    """Follows the supervisor, and breaks off what does not end."""

    def __init__(self, loaded: Loaded, options: RunOptions, venue: SimulatedVenue, limit_s: float) -> None:
        self.outcome = Outcome()
        self.events: list[dict[str, Any]] = []
        self._supervisor = Supervisor(loaded, options, self, venue)
        self._clock = venue.clock
        self._limit_s = limit_s
        self._state: Mapping[str, Any] = {}
        self._guard = trio.CancelScope()
        self._turn_count = 0
        self._turned_at = -1.0

    async def run(self) -> None:
        never, signals = trio.open_memory_channel[int](0)
        with never, trio.move_on_after(self._limit_s) as self._guard:
            self.outcome = await self._supervisor.run(signals)
        if self._guard.cancelled_caught:
            found = f"not ended after {self._limit_s:g} s of its own time"
            if self._turn_count >= TURN_LIMIT:
                found = f"turning in a circle at {trio.current_time():g} s of its own time"
            raise Fault("simulation", f"{found}: {self._where()}", "", "limit_s= sets how long it may take")

    def _where(self) -> str:
        """What stood still, as far as was seen."""
        if not self._state:
            last = self.events[-1]["event"] if self.events else "nothing"
            return f"before the run had started, the last event was {last!r}"
        stages = [
            f"{name} {stage['state']}" + (f" at work for {at_work / 1e3:g} s" if at_work else "")
            for name, stage in self._state["stages"].items()
            if stage["state"] != "ended" and ((at_work := stage["in_service_ms"]) or True)
        ]
        return f"{self._state['phase']}; {', '.join(stages)}"

    def before_io_wait(self, timeout: float) -> None:
        now = trio.current_time()
        self._turn_count = self._turn_count + 1 if now == self._turned_at else 0
        self._turned_at = now
        if self._turn_count == TURN_LIMIT:
            self._guard.cancel()

    # What the supervisor tells.

    def seen(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def happened(self, event: str, fields: Mapping[str, Any]) -> None:
        self.events.append({"event": event, "at_ns": self._clock.now_ns(), **fields})

    def waiting_for(self, stages: Sequence[str]) -> None:
        """Nobody starts a stage by hand here."""

    def draining(self, limit_s: float) -> None:
        """Nobody interrupts."""


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """Within it trio takes the order of tasks that are ready from `seed`: by default it is by chance, on purpose."""
    was_deterministic, state = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    _run._r.seed(seed)
    try:
        yield
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = was_deterministic  # type: ignore[misc]
        _run._r.setstate(state)
