"""Stored profiles: how long each stage and each edge of a pipeline took, measured once, for `check` and first budgets.

A profile lies beside the pipeline's file, as `speech.profile.json`, and is of one machine and of one choice of
settings; where they differ that is said, and it is used all the same: a wrong first guess is better than none, and
what a run measures itself soon takes its place. Durations are in ms, as in the report.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from streamflow.core.budget import Estimate
from streamflow.core.feasibility import Measured
from streamflow.core.graph import Graph
from streamflow.core.statistics import Histogram
from streamflow.core.timebase import ms, s
from streamflow.core.verdict import Kind
from streamflow.errors import StreamflowError, UsageError
from streamflow.recorder.layout import VALUE_LIMIT
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import Rows
from streamflow.runtime.loading.loader import Loaded, Reference

VERSION = 1
SINGLE = "1"  # the bucket of data that were handled one by one


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """What a profile says. `notes`: sentences on what was different when it was taken."""

    path: Path
    measured: Measured
    notes: tuple[str, ...] = ()

    @property
    def estimates(self) -> dict[str, Estimate]:
        """By the name of a stage or of an edge; the two never meet, for an edge's has an arrow."""
        return {**self.measured.service, **self.measured.transport}


def profile_path(reference: Reference) -> Path:
    """Beside the pipeline's file; another function than `build` has a profile of its own."""
    target = reference.target
    if target.endswith(".py") or "/" in target:
        file = Path(target)
    else:
        module = sys.modules.get(target)
        spec = importlib.util.find_spec(target) if module is None else None
        origin = module.__file__ if module is not None else spec.origin if spec is not None else None
        if origin is None:
            raise UsageError(target, "a module without a file", "a pipeline's file or module")
        file = Path(origin)
    function = "" if reference.function == "build" else f".{reference.function}"
    return file.with_name(f"{file.stem}{function}.profile.json")


def machine() -> dict[str, Any]:
    """What a duration depends on first of all."""
    return {"cpu": _cpu_model(), "cores": len(os.sched_getaffinity(0))}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, platform.processor() or platform.machine())


# ----------------------------------------------------------------------------------------------- measuring


def make_profile(
    loaded: Loaded, recordings: Mapping[str, Recording], *, is_offline: bool, duration_s: float
) -> dict[str, Any]:
    """What the recorders of a run that has ended say. Offline nothing is told about transport: no clock is read."""
    graph = loaded.resolved.graph
    stages = {}
    transport: dict[str, Histogram] = {}
    for name in loaded.resolved.order:
        recording = recordings.get(name)
        if recording is None:
            continue
        service = _warm(recording)
        if service.count:
            stages[name] = {SINGLE: _quantiles(service)}
        transport |= {edge: recording.histogram(f"transport:{edge}") for edge, _ in recording.shape.in_edges}
    rates_hz = _rates_hz(graph, recordings)
    edges: dict[str, Any] = {}
    for edge in graph.edges:
        told: dict[str, Any] = {}
        if not is_offline and edge.name in transport and transport[edge.name].count:
            told["transport_ms"] = _quantiles(transport[edge.name])
        if edge.name in rates_hz:
            told["rate_hz"] = round(rates_hz[edge.name], 6)
        if told:
            edges[edge.name] = told
    return {
        "profile": VERSION,
        "pipeline": graph.name,
        "settings": dict(loaded.reference.settings),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "python": platform.python_version(),
        "mode": "offline" if is_offline else "paced",
        "duration_s": round(duration_s, 3),
        "stages": {name: {"service_ms": buckets} for name, buckets in stages.items()},
        "edges": edges,
    }


def _warm(recording: Recording) -> Histogram:
    """How long the stage took, without its first call, or batch, which fills caches and touches memory for the first
    time: each datum of a batch counts that again. Where its records are gone there are enough others not to see it.
    """
    service, tail = recording.histogram("service"), recording.tail(0)
    done = tail.records[tail.records["kind"] == Kind.RUN]
    if done["device_done_ns"].any():
        return _with_device(done)
    if tail.lost_count or not done.size:
        return service
    first = done[done["started_ns"] == done[0]["started_ns"]]
    took_ns = np.clip(first["ended_ns"] - first["started_ns"] - first["blocked_ns"], 0, VALUE_LIMIT - 1).tolist()
    return service.without(took_ns) if service.count > len(took_ns) else service


def _with_device(done: Rows) -> Histogram:
    """How long the stage and its device took, from what is recorded still; what a batch waited for the one before it on
    the device was that one's. Without the first batch, where there are others."""
    found, before_ns = Histogram(), 0
    batches = np.split(done, np.flatnonzero(np.diff(done["started_ns"])) + 1)
    for nth, batch in enumerate(batches):
        started_ns, given_ns, done_ns = (int(batch[0][word]) for word in ("started_ns", "ended_ns", "device_done_ns"))
        on_device_ns = max(done_ns - max(given_ns, before_ns), 0)
        before_ns = max(before_ns, done_ns)
        if nth or len(batches) == 1:
            for blocked_ns in batch["blocked_ns"].tolist():
                found.record(given_ns - started_ns - blocked_ns + on_device_ns)
    return found


def _quantiles(histogram: Histogram) -> dict[str, float]:
    return {key: round(value, 6) for key, value in histogram.summary_ms().items()} | {"count": histogram.count}


def _rates_hz(graph: Graph, recordings: Mapping[str, Recording]) -> dict[str, float]:
    """Data per second of event time on each edge, which offline is the recording's own time."""
    lasted_s = {}
    for stage in graph.stages:
        if stage.is_source and stage.name in recordings:
            rate_hz = _source_rate_hz(recordings[stage.name])
            if rate_hz:
                lasted_s[stage.name] = recordings[stage.name].counter("emitted") / rate_hz
    rates_hz = {}
    for name, recording in recordings.items():
        lasted = max((lasted_s.get(source, 0.0) for source in graph.sources_of(name)), default=0.0)
        for output in recording.outputs():
            if lasted > 0 and output.offered:
                rates_hz[output.name] = output.offered / lasted
    return rates_hz


def _source_rate_hz(recording: Recording) -> float | None:
    records = recording.tail(0).records
    admitted = records[records["kind"] == Kind.ADMITTED]
    if not admitted.size:
        return None
    first, last = admitted[0], admitted[-1]
    elapsed_ns = int(last["event_time_ns"]) - int(first["event_time_ns"])
    count = int(last["seq"]) - int(first["seq"])
    return count * s / elapsed_ns if count > 0 and elapsed_ns > 0 else None


def write_profile(path: Path, content: Mapping[str, Any]) -> None:
    """As a whole or not at all. Raises UsageError where it cannot be."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(content, indent=2) + "\n")
        partial.replace(path)
    except OSError as error:
        raise UsageError(str(path), f"cannot be written: {error.strerror}", hint="--out names another file") from None


# ------------------------------------------------------------------------------------------------- loading


def load_profile(reference: Reference, path: Path | None = None) -> StoredProfile | None:
    """The stored profile of a pipeline, or None where there is none. Raises UsageError for one that is damaged."""
    path = path or profile_path(reference)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"profile {path}", f"cannot be read: {error.strerror}") from None
    try:
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("profile") != VERSION:
            raise ValueError(f"no profile of version {VERSION}")
        measured = Measured(
            {name: _estimate(stage["service_ms"][SINGLE]) for name, stage in content["stages"].items()},
            {name: _estimate(e["transport_ms"]) for name, e in content["edges"].items() if "transport_ms" in e},
            {name: float(e["rate_hz"]) for name, e in content["edges"].items() if "rate_hz" in e},
        )
        notes = _differences(content, reference)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        hint = "remove it, or measure again with streamflow profile"
        raise UsageError(f"profile {path}", f"damaged, {type(error).__name__}: {error}", hint=hint) from None
    return StoredProfile(path, measured, notes)


def _estimate(quantiles: Mapping[str, Any]) -> Estimate:
    p50_ns, p99_ns, count = round(quantiles["p50"] * ms), round(quantiles["p99"] * ms), int(quantiles["count"])
    if min(p50_ns, p99_ns, count) < 0:
        raise ValueError("a duration below 0")
    return Estimate(p50_ns, p99_ns, count)


def _differences(content: Mapping[str, Any], reference: Reference) -> tuple[str, ...]:
    notes = []
    then, now = content["machine"], machine()
    if dict(then) != now:
        there = f"{then['cpu']} with {then['cores']} cores"
        here = f"{now['cpu']} with {now['cores']}"
        notes.append(f"the profile was taken on another machine, {there}, this is {here}")
    old, new = dict(content["settings"]), dict(reference.settings)
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if changed:
        then, now = ({name: each.get(name, "by default") for name in changed} for each in (old, new))
        told = ", ".join(f"{name} {then[name]} (now {now[name]})" for name in changed)
        notes.append(f"the profile was taken with other settings: {told}")
    return tuple(notes)


def require_measured(content: Mapping[str, Any]) -> None:
    """Raises StreamflowError for a run in which no stage handled anything."""
    if not content["stages"]:
        raise StreamflowError(
            f"pipeline {content['pipeline']}", "no stage handled anything", hint="--duration gives it longer"
        )
