"""How a run stands, in plain values: what `status` shows and the report tells, from recorders and accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamflow.core.accounting import EdgeCounts, StageCounts
from streamflow.core.graph import Graph, Resolved
from streamflow.core.ledger import Ledger
from streamflow.core.paths import Paths
from streamflow.core.timebase import ms
from streamflow.recorder import layout
from streamflow.recorder.reader import Recording

_PHASES = {
    layout.STARTING: "starting",
    layout.RUNNING: "running",
    layout.DRAINING: "draining",
    layout.CLOSED: "ended",
}


def edge_sums(
    graph: Graph,
    recordings: Mapping[str, Recording],
    lost: Mapping[str, int],
    dropped_found: Mapping[str, int],
    offered_found: Mapping[str, int],
    returned: Mapping[str, int],
) -> dict[str, EdgeCounts]:
    """What both ends of every edge counted; the receiver is read first (see `broken_sums`).

    `lost`, `dropped_found` and `offered_found`: what dead processes had not counted themselves, from their recorders.
    `returned`: what they had taken, and is sent again.
    """
    sums = {}
    read = [recordings[stage.name] for stage in graph.stages if stage.name in recordings]
    received = {one.name: one for recording in read for one in recording.inputs()}
    sent = {one.name: one for recording in read for one in recording.outputs()}
    for edge in graph.edges:
        into, out = received.get(edge.name), sent.get(edge.name)
        counted = into.dropped if into is not None else {}
        dropped = {reason: count for reason, count in counted.items() if reason in layout.OVERFLOWS}
        if found := dropped_found.get(edge.name, 0):
            dropped[edge.overflow.value] = dropped.get(edge.overflow.value, 0) + found
        peaks = (into.depth_peak if into is not None else 0) + (out.depth_peak if out is not None else 0)
        sums[edge.name] = EdgeCounts(
            offered=(out.offered if out is not None else 0) + offered_found.get(edge.name, 0),
            sender_dropped=out.dropped if out is not None else {},
            lost_told=out.lost if out is not None else 0,
            taken=(into.taken if into is not None else 0) - returned.get(edge.name, 0),
            returned=returned.get(edge.name, 0),
            receiver_dropped=dropped,
            lost_found=lost.get(edge.name, 0),
            taken_too_old=counted.get(layout.TOO_OLD_REASON, 0),
            depth_peak=min(peaks, edge.capacity),  # the peaks of both sides need not have come at once
            stranger_count=into.stranger_count if into is not None else 0,
        )
    return sums


def stage_sums(
    graph: Graph,
    recordings: Mapping[str, Recording],
    lost: Mapping[str, int],
    edges: Mapping[str, EdgeCounts],
    done: Mapping[str, int],
    counters: Mapping[str, Mapping[str, int]],
) -> dict[str, StageCounts]:
    """What became of the data that were delivered to each stage that is no source.

    `lost` and `done`: what was found of that in the recorders of dead processes. `counters` of the stages must
    have been read before the edges: then no stage has done more than was delivered to it.
    """
    sums = {}
    for stage in graph.stages:
        recording = recordings.get(stage.name)
        if stage.is_source or recording is None:
            continue
        own = counters[stage.name]
        into = graph.edges_into(stage.name)
        sums[stage.name] = StageCounts(
            delivered=sum(edges[edge.name].delivered for edge in into),
            done=(own["row_data"] if stage.holds_back else own["processed"] + own["shed"]) + done.get(stage.name, 0),
            left_out=own["left_out"],
            lost_told=own["lost"],
            lost_found=lost.get(stage.name, 0),
            by_input={_port(one.name): left_out for one in recording.inputs() if (left_out := _left_out(one.dropped))},
        )
    return sums


def _port(edge: str) -> str:
    """The input at its end."""
    return edge.rpartition("->")[2].rpartition(".")[2]


def _left_out(dropped: Mapping[str, int]) -> dict[str, int]:
    """What a join left out, by reason."""
    others = (*layout.OVERFLOWS, layout.TOO_OLD_REASON, layout.ABSORBED_REASON)
    return {reason: count for reason, count in dropped.items() if reason not in others}


def edge_states(edges: Mapping[str, EdgeCounts], ways: Mapping[str, str]) -> dict[str, Any]:
    """By the name of the edge, as the report has it. `ways`: how what may stay on a device goes; else None."""
    return {
        name: {
            "sent": counts.offered,
            "delivered": counts.delivered,
            "dropped": counts.dropped,
            "lost": counts.lost,
            "redone": counts.returned,
            "in_flight": max(counts.in_flight, 0),
            "depth_peak": counts.depth_peak,
            "strangers": counts.stranger_count,
            "on_device": ways.get(name),
        }
        for name, counts in edges.items()
    }


def stage_states(
    resolved: Resolved,
    recordings: Mapping[str, Recording],
    sums: Mapping[str, StageCounts],
    done_found: Mapping[str, int],
    elapsed_ns: int,
    process_of: Mapping[str, str],
    generations: Mapping[str, int],
    restarts: Mapping[str, int],
    special: Mapping[str, str],
    effects: Mapping[str, Sequence[Mapping[str, Any]]],
    devices: Mapping[str, str],
    device_work: Mapping[str, Mapping[str, Any]],
    now_ns: int,
) -> dict[str, Any]:
    """By the name of the stage, in the graph's order.

    `done_found`: what dead processes had done and not counted. `special`: states that its recorder does not know of.
    `effects`: of what it asked of the machine. `devices`: that those who asked for one work on;
    `device_work`: what they found out there.
    """
    states: dict[str, Any] = {}
    for name in resolved.order:
        recording = recordings.get(name)
        if recording is None:
            continue
        stage = resolved.graph.stage(name)
        counters = recording.counters()
        done = counters["emitted"] if stage.is_source else counters["processed"] + done_found.get(name, 0)
        service = recording.in_service()
        at_work_since_ns = service.started_ns if service is not None else recording.given_ns
        mine = sums.get(name)
        states[name] = {
            "process": process_of[name],
            "pid": counters["pid"],
            "generation": generations.get(process_of[name], 0),
            "state": special.get(name) or _PHASES.get(counters["phase"], "starting"),
            "processed": done,
            "emitted": counters["emitted"],
            "absorbed": counters["absorbed"],
            "shed": counters["shed"],
            "degraded": counters["degraded"],
            "rejected": counters["rejected"],
            "left_out": {port: dict(reasons) for port, reasons in mine.by_input.items()} if mine is not None else {},
            "silent": {_port(one.name): one.idle_count for one in recording.inputs() if one.idle_count},
            "clock_steps": {_port(one.name): one.step_count for one in recording.inputs() if one.step_count},
            "lost": mine.lost if mine is not None else 0,
            "restarts": restarts.get(name, 0),
            "service_ms": {} if stage.is_source else recording.histogram("service").summary_ms(),
            "busy": None if stage.is_source else round(counters["busy_ns"] / elapsed_ns, 4) if elapsed_ns else 0.0,
            "batch": _batches(recording, done),
            "variants": _variants(stage.variants, recording),
            "variant": stage.variants[recording.word(layout.VARIANT)] if stage.variants else None,
            "variant_switches": recording.word(layout.VARIANT_SWITCHES),
            "batch_wait_ms": {} if stage.batch is None else recording.histogram("batch_wait").summary_ms(),
            "join": _join(recording),
            "device": devices.get(name),
            "launches": device_work.get(name, {}).get("launches", []),
            "copies": device_work.get(name, {}).get("copies", {}),
            "depth": sum(one.held for one in recording.inputs()),
            "in_service_ms": max(now_ns - at_work_since_ns, 0) / ms if at_work_since_ns else None,
            "pool_mb": round(counters["pool_bytes"] / 1e6, 3),
            "pool_exhausted": counters["pool_exhausted"],
            "spun_ms": counters["spun_ns"] / ms,
            "spin_hits": counters["spin_hits"],
            "stalled_ms": (counters["stall_ns"] + counters["gc_ns"]) / ms,
            "realtime": list(effects.get(name, ())),
        }
    return states


def _join(recording: Recording) -> dict[str, Any]:
    """Of rows whose inputs need not be of one instant: how far apart they were, and how old each."""
    if not recording.shape.has_ages:
        return {}
    ages = {_port(edge): recording.histogram(f"age:{edge}").summary_ms() for edge, _ in recording.shape.in_edges}
    return {"skew_ms": recording.histogram("skew").summary_ms(), "age_ms": ages}


def _variants(names: Sequence[str], recording: Recording) -> dict[str, int]:
    """Data that each has worked on."""
    return {name: recording.word(layout.VARIANT_DATA + nth) for nth, name in enumerate(names)}


def _batches(recording: Recording, done: int) -> dict[str, int]:
    """How many batches of each size there were; who works on one datum at a time has had so many of one."""
    if recording.shape.batch_size_max:
        return {str(size): count for size, count in recording.batch_sizes().items()}
    return {"1": done} if done else {}


def path_states(paths: Paths, ledger: Ledger, *, has_own_time: bool) -> dict[str, Any]:
    """By the name of the path, declared ones first. Where its data have a time of their own, nothing is late."""
    told: dict[str, Any] = {}
    for index, path in enumerate(paths.definitions):
        summary = ledger.summary(index)
        summary.pop("name")
        summary["arrived"] = ledger.latency(index).count
        if has_own_time:
            summary["latency_ms"] = {}
        told[path.name] = summary
    return told
