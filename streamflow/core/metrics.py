"""What a run tells a monitoring system: every metric by name, with its type, unit and help, from plain values.

Names, units and labels are Prometheus's: `_total` for what only grows, seconds and bytes, one name for what may be
summed over its labels. Every series carries the pipeline; which run it is says `streamflow_run_info` alone, so that
a restart of the run goes on with the same series. Help says of each how fresh it is: what both ends of an edge and
the deadlines' accounts settle together comes from the run's state, written once a second, at first twice; the rest is
read from the flight recorders when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from streamflow.core import ladder
from streamflow.core.blame import Culprit
from streamflow.core.timebase import ms, s, seconds

Kind = Literal["counter", "gauge", "histogram", "info"]
Labels = dict[str, str]

STAGE_STATES: Final = ("starting", "running", "draining", "down", "hung", "failed", "ended")
RUN_PHASES: Final = ("starting", "running", "draining", "aborting", "leaving", "done")
OUTCOMES: Final = ("met", "missed", "absorbed", "shed", "dropped", "rejected", "lost")
DROPPING: Final = ("drop_oldest", "drop_newest", "latest")

_TOLD = ", as of streamflow_state_timestamp_seconds."
_READ = ", read at the scrape."


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` as it is looked for, less the suffix of its type; `unit` is its last word, if it has one."""

    name: str
    kind: Kind
    help: str
    unit: str = ""

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which its values are found."""
        suffixes = {"counter": ("_total",), "info": ("_info",), "histogram": ("_bucket", "_count", "_sum")}
        return tuple(self.name + suffix for suffix in suffixes.get(self.kind, ("",)))


@dataclass(frozen=True, slots=True)
class Sample:
    """One value; `suffix` is what its name has beyond the metric's."""

    suffix: str
    labels: Labels
    value: float


@dataclass(slots=True)
class Family:
    """A metric with its values."""

    metric: Metric
    samples: list[Sample] = field(default_factory=list)


CATALOGUE: Final = (
    Metric("streamflow_run", "info", "Which run this is: its folder's name, and the version of streamflow."),
    Metric(
        "streamflow_run_start_timestamp_seconds", "gauge", "When data began to flow, since the epoch.", "seconds"
    ),
    Metric(
        "streamflow_state_timestamp_seconds", "gauge",
        "When the run last wrote its state, which is once a second, at first twice, since the epoch.", "seconds",
    ),
    Metric("streamflow_run_phase", "gauge", "1 for the phase that the run is in" + _TOLD),
    Metric(
        "streamflow_run_conserved", "gauge", "1 if every datum is accounted for, 0 if a sum does not hold" + _TOLD
    ),
    Metric("streamflow_path_produced", "counter", "Data that began on the path" + _TOLD),
    Metric("streamflow_path_settled", "counter", "Data of the path by what became of them" + _TOLD),
    Metric("streamflow_path_in_flight", "gauge", "Data of the path under way" + _TOLD),
    Metric(
        "streamflow_path_latency_seconds", "histogram",
        "From a datum's event time to the end of its processing at the sink" + _TOLD, "seconds",
    ),
    Metric("streamflow_deadline_bound_seconds", "gauge", "Within how long the deadline asks for a result.", "seconds"),
    Metric("streamflow_deadline_missed", "counter", "Missed deadlines by culprit and the stage blamed" + _TOLD),
    Metric("streamflow_deadline_contract_broken", "gauge", "1 while a firm contract is broken" + _TOLD),
    Metric("streamflow_deadline_contract_breaches", "counter", "Times that a firm contract was broken" + _TOLD),
    Metric("streamflow_deadline_contract_level", "gauge", "Steps of the escalation that are taken now" + _TOLD),
    Metric("streamflow_rate_bound_seconds", "gauge", "How long an input may be silent.", "seconds"),
    Metric("streamflow_rate_silent", "gauge", "1 while the input is silent for longer than it may" + _TOLD),
    Metric("streamflow_rate_gaps", "counter", "Times that the input fell silent" + _TOLD),
    Metric("streamflow_rate_longest_gap_seconds", "gauge", "The longest of those silences" + _TOLD, "seconds"),
    Metric("streamflow_edge_sent", "counter", "Data that were offered to the edge" + _TOLD),
    Metric(
        "streamflow_edge_delivered", "counter",
        "Data that the receiver worked on; those that it took in vain, and took again, once" + _TOLD,
    ),
    Metric("streamflow_edge_dropped", "counter", "Data that the edge's policy gave up, by reason" + _TOLD),
    Metric("streamflow_edge_lost", "counter", "Data that went with a process that died" + _TOLD),
    Metric("streamflow_edge_redone", "counter", "Data that were sent again to the next life of the receiver" + _TOLD),
    Metric("streamflow_edge_in_flight", "gauge", "Data sent, and not yet served, dropped or lost" + _TOLD),
    Metric("streamflow_edge_depth", "gauge", "Data that wait at both ends of the edge" + _READ),
    Metric("streamflow_edge_capacity", "gauge", "How many data may wait at both ends."),
    Metric("streamflow_stage_state", "gauge", "1 for the state that the stage is in" + _TOLD),
    Metric("streamflow_stage_processed", "counter", "Data that were worked on" + _TOLD),
    Metric("streamflow_stage_emitted", "counter", "Results, or a source's data" + _TOLD),
    Metric("streamflow_stage_absorbed", "counter", "Data consumed without a result" + _TOLD),
    Metric("streamflow_stage_shed", "counter", "Data given up before any work, for they could not be on time" + _TOLD),
    Metric("streamflow_stage_degraded", "counter", "Data worked on by the cheaper way" + _TOLD),
    Metric("streamflow_stage_rejected", "counter", "Data that a source could not pass on" + _TOLD),
    Metric("streamflow_stage_left_out", "counter", "Data that a join left out, by input and reason" + _TOLD),
    Metric("streamflow_stage_lost", "counter", "Data that went with the stage's process, or its failure" + _TOLD),
    Metric("streamflow_stage_restarts", "counter", "Times that the stage was started again" + _TOLD),
    Metric("streamflow_stage_variant_switches", "counter", "Times that it went over to another variant" + _TOLD),
    Metric("streamflow_stage_variant_data", "counter", "Data by the variant that worked on them" + _TOLD),
    Metric("streamflow_stage_busy_seconds", "counter", "Time in user code" + _READ, "seconds"),
    Metric("streamflow_stage_service_seconds", "histogram", "How long a handling took" + _READ, "seconds"),
    Metric(
        "streamflow_stage_in_service_seconds", "gauge",
        "How long it has been at what it is working on; 0: it is idle" + _READ, "seconds",
    ),
    Metric("streamflow_stage_depth", "gauge", "Data that wait for the stage" + _READ),
    Metric("streamflow_stage_blocked", "gauge", "1 while it waits for room downstream" + _READ),
    Metric(
        "streamflow_stage_stalled_seconds", "counter",
        "Time that its loop stood still, garbage collection included" + _READ, "seconds",
    ),
    Metric("streamflow_stage_spun_seconds", "counter", "Time that it waited awake for data" + _READ, "seconds"),
    Metric("streamflow_stage_pool_bytes", "gauge", "Shared memory for its large tensors" + _READ, "bytes"),
    Metric(
        "streamflow_stage_pool_exhausted", "counter",
        "Tensors that were copied into messages, or off their device, because no slot was free" + _READ,
    ),
    Metric("streamflow_process_resident_memory_bytes", "gauge", "Of the stages' processes" + _READ, "bytes"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StageNow:
    """What the recorder of a stage says at this moment, over all its lives. `service`: counts as `ladder.cumulative`
    has them, and the sum in ns; a source has none."""

    busy_ns: int
    stalled_ns: int
    spun_ns: int
    in_service_ns: int
    depth: int
    is_blocked: bool
    pool_bytes: int
    pool_exhausted: int
    service: tuple[list[int], int] | None


@dataclass(frozen=True, slots=True)
class Look:
    """All that is known of a run at one moment. `state`: as it wrote it, empty before the first; `graph`: its
    portrait; `waiting`: by edge; `resident_bytes`: by process."""

    run: str
    pipeline: str
    version: str
    state: Mapping[str, Any]
    graph: Mapping[str, Any]
    started_s: float = 0.0
    told_s: float = 0.0
    stages: Mapping[str, StageNow] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)
    resident_bytes: Mapping[str, int] = field(default_factory=dict)


class _Sheet:
    """Families in the catalogue's order."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self.families = {metric.name: Family(metric) for metric in CATALOGUE}

    def put(self, name: str, value: Any, **labels: str) -> None:
        """One value of a counter, gauge or info; whatever is no number, as of a run of another version, is left out."""
        if not isinstance(value, int | float):
            return
        family = self.families[f"streamflow_{name}"]
        suffix = family.metric.series[0].removeprefix(family.metric.name)
        family.samples.append(Sample(suffix, {"pipeline": self._pipeline} | labels, float(value)))

    def histogram(self, name: str, counts: list[int], sum_ns: float, **labels: str) -> None:
        samples, labels = self.families[f"streamflow_{name}"].samples, {"pipeline": self._pipeline} | labels
        for edge_ns, count in zip(ladder.EDGES_NS, counts, strict=False):
            samples.append(Sample("_bucket", labels | {"le": repr(edge_ns / s)}, count))
        samples.append(Sample("_bucket", labels | {"le": "+Inf"}, counts[-1]))
        samples.append(Sample("_count", labels, counts[-1]))
        samples.append(Sample("_sum", labels, sum_ns / s))


def families(look: Look) -> list[Family]:
    """Every metric of the catalogue that has values now."""
    sheet = _Sheet(look.pipeline)
    sheet.put("run", 1, run=look.run, version=look.version)
    state = look.state
    if look.told_s:
        sheet.put("state_timestamp_seconds", look.told_s)
    if look.started_s:
        sheet.put("run_start_timestamp_seconds", look.started_s)
    _states(sheet, "run_phase", "phase", RUN_PHASES, str(state.get("phase", "starting")))
    if "conserved" in state:
        sheet.put("run_conserved", int(state["conserved"] is True))
    for name, path in _parts(state, "paths"):
        _path(sheet, name, path)
    for name, rate in _parts(state, "rates"):
        sheet.put("rate_bound_seconds", _seconds(rate, "within_ms"), rate=name)
        sheet.put("rate_silent", int(bool(rate.get("is_silent"))), rate=name)
        sheet.put("rate_gaps", rate.get("gaps"), rate=name)
        sheet.put("rate_longest_gap_seconds", _seconds(rate, "longest_ms"), rate=name)
    for name, edge in _parts(state, "edges"):
        for key in ("sent", "delivered", "lost", "redone", "in_flight"):
            sheet.put(f"edge_{key}", edge.get(key), edge=name)
        for reason, count in (_policy(look.graph, name) | dict(edge.get("dropped", {}))).items():
            sheet.put("edge_dropped", count, edge=name, reason=reason)
    for edge in look.graph.get("edges", ()):
        sheet.put("edge_capacity", edge.get("capacity"), edge=edge["name"])
    for name, count in look.waiting.items():
        sheet.put("edge_depth", count, edge=name)
    for name, stage in _parts(state, "stages"):
        _stage(sheet, name, stage)
    for name, now in look.stages.items():
        _stage_now(sheet, name, now)
    for name, size in look.resident_bytes.items():
        sheet.put("process_resident_memory_bytes", size, process=name)
    return [family for family in sheet.families.values() if family.samples]


def _path(sheet: _Sheet, name: str, path: Mapping[str, Any]) -> None:
    sheet.put("path_produced", path.get("produced"), path=name)
    sheet.put("path_in_flight", path.get("in_flight"), path=name)
    for outcome in OUTCOMES:
        sheet.put("path_settled", path.get(outcome), path=name, outcome=outcome)
    told = path.get("histogram")
    if told:
        edges = (round(edge_ms * ms) for edge_ms in told["le_ms"])
        counts = ladder.cumulative(zip(edges, told["count"], strict=True))
        sheet.histogram("path_latency_seconds", counts, told["sum_ms"] * ms, path=name)
    if path.get("within_ms") is None:
        return
    sheet.put("deadline_bound_seconds", _seconds(path, "within_ms"), path=name)
    for blamed, count in path.get("culprits", {}).items():
        culprit, stage = parted(blamed)
        sheet.put("deadline_missed", count, path=name, culprit=culprit, stage=stage)
    firm = path.get("firm")
    if firm:
        sheet.put("deadline_contract_broken", int(firm.get("state") == "broken"), path=name)
        sheet.put("deadline_contract_breaches", firm.get("breaches"), path=name)
        sheet.put("deadline_contract_level", firm.get("level"), path=name)


def _stage(sheet: _Sheet, name: str, stage: Mapping[str, Any]) -> None:
    _states(sheet, "stage_state", "state", STAGE_STATES, str(stage.get("state", "starting")), stage=name)
    for key in ("processed", "emitted", "absorbed", "shed", "degraded", "rejected", "lost", "restarts"):
        sheet.put(f"stage_{key}", stage.get(key), stage=name)
    for port, reasons in stage.get("left_out", {}).items():
        for reason, count in reasons.items():
            sheet.put("stage_left_out", count, stage=name, input=port, reason=reason)
    variants = stage.get("variants")
    if variants:
        sheet.put("stage_variant_switches", stage.get("variant_switches"), stage=name)
        for variant, count in variants.items():
            sheet.put("stage_variant_data", count, stage=name, variant=variant)


def _stage_now(sheet: _Sheet, name: str, now: StageNow) -> None:
    sheet.put("stage_stalled_seconds", seconds(now.stalled_ns), stage=name)
    sheet.put("stage_spun_seconds", seconds(now.spun_ns), stage=name)
    sheet.put("stage_blocked", int(now.is_blocked), stage=name)
    sheet.put("stage_pool_bytes", now.pool_bytes, stage=name)
    sheet.put("stage_pool_exhausted", now.pool_exhausted, stage=name)
    if now.service is not None:
        sheet.put("stage_busy_seconds", seconds(now.busy_ns), stage=name)
        sheet.put("stage_in_service_seconds", seconds(now.in_service_ns), stage=name)
        sheet.put("stage_depth", now.depth, stage=name)
        sheet.histogram("stage_service_seconds", *now.service, stage=name)


def _states(sheet: _Sheet, name: str, label: str, known: Iterable[str], now: str, **labels: str) -> None:
    """0 for all but one, so that a state that is left is seen to be left."""
    for each in dict.fromkeys((*known, now)):
        sheet.put(name, int(each == now), **labels, **{label: each})


def _policy(graph: Mapping[str, Any], name: str) -> dict[str, int]:
    """That an edge that may drop has dropped nothing yet, which a rate over its first drop has to begin with."""
    policies = (edge["overflow"] for edge in graph.get("edges", ()) if edge["name"] == name)
    return {policy: 0 for policy in policies if policy in DROPPING}


def parted(blamed: str) -> tuple[str, str]:
    """`mailbox wait vad` as culprit and stage; some culprits have no stage."""
    culprits = sorted((culprit.value for culprit in Culprit), key=len, reverse=True)
    culprit = next((one for one in culprits if blamed == one or blamed.startswith(f"{one} ")), blamed)
    return culprit, blamed[len(culprit) + 1 :]


def _parts(state: Mapping[str, Any], key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from state.get(key, {}).items()


def _seconds(part: Mapping[str, Any], key: str) -> float | None:
    value = part.get(key)
    return value / 1e3 if isinstance(value, int | float) else None


class Ratchet:
    """Keeps what only grows from going back: a datum that was delivered in vain to a life that died is subtracted
    until it is delivered again, and a reader would take that for a counter that began anew."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def hold(self, found: Iterable[Family]) -> list[Family]:
        """The same families, in which no counter and no bucket is below what it was before."""
        held = []
        for family in found:
            if family.metric.kind in ("counter", "histogram"):
                family = Family(family.metric, [self._held(family.metric.name, one) for one in family.samples])
            held.append(family)
        return held

    def _held(self, name: str, sample: Sample) -> Sample:
        key = name + sample.suffix, tuple(sorted(sample.labels.items()))
        value = self._highest[key] = max(sample.value, self._highest.get(key, 0.0))
        return Sample(sample.suffix, sample.labels, value)
