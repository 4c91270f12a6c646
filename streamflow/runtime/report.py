"""What a run did: the report's keys (a contract), made from what every stage counted, and its table for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from streamflow.core.accounting import EdgeCounts, broken_sums
from streamflow.core.graph import EdgeDef, Resolved, StageDef
from streamflow.core.statistics import Histogram
from streamflow.core.timebase import seconds

StageCounts = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run came to its end. `complete`: every stage has finished in order and told its last counts."""

    how: Literal["done", "interrupted", "failed", "killed"]
    complete: bool
    failure: str = ""
    failed_stage: str = ""


def make_report(resolved: Resolved, counts: StageCounts, duration_ns: int, ending: Ending) -> dict[str, Any]:
    """The report of a run. The sums are checked where every stage has told its last counts; else that is said."""
    ends = {edge.name: _ends(edge, counts) for edge in resolved.graph.edges}
    stages = _stages(resolved, counts, duration_ns)
    if ending.complete:
        broken = [line for name, own in ends.items() for line in broken_sums(name, own, ended=True)]
        broken += [
            f"{name}: {stage['lost']} delivered, but neither processed nor unmatched"
            for name, stage in stages.items()
            if stage["lost"] and name != ending.failed_stage
        ]
        broken += [f"{stage.name}: told no counts" for stage in resolved.graph.stages if stage.name not in stages]
    else:
        broken = [f"not checked, the run was {ending.how}: the counts are what each stage told last"]
    report: dict[str, Any] = {
        "pipeline": resolved.graph.name,
        "duration_s": seconds(duration_ns),
        "ending": ending.how,
        "paths": _paths(resolved, counts),
        "edges": {
            edge.name: {
                "sent": own.offered,
                "delivered": own.delivered,
                "dropped": own.dropped,
                "in_flight": max(own.in_flight, 0),  # less than 0 only where the sender's last counts are missing
                "depth_peak": _peak(edge, counts),
                "strangers": _strangers(edge, counts),
            }
            for edge, own in zip(resolved.graph.edges, ends.values(), strict=True)
        },
        "stages": stages,
        "conserved": broken or True,
    }
    if ending.failure:
        report["failure"] = ending.failure
    return report


def _ends(edge: EdgeDef, counts: StageCounts) -> EdgeCounts:
    sender = counts.get(edge.source, {}).get("senders", {}).get(edge.name)
    receiver = counts.get(edge.target, {}).get("receivers", {}).get(edge.name)
    return EdgeCounts(
        offered=sender["offered_count"] if sender else 0,
        transmitted=sender["transmitted_count"] if sender else 0,
        sender_held=sender["held_count"] if sender else 0,
        sender_dropped=sender["dropped"] if sender else {},
        received=receiver["received_count"] if receiver else 0,
        delivered=receiver["delivered_count"] if receiver else 0,
        receiver_held=receiver["held_count"] if receiver else 0,
        receiver_dropped=receiver["dropped"] if receiver else {},
    )


def _ends_of(edge: EdgeDef, counts: StageCounts) -> list[Mapping[str, Any]]:
    """What the sender and the receiver of an edge told, as far as they did."""
    sender = counts.get(edge.source, {}).get("senders", {}).get(edge.name)
    receiver = counts.get(edge.target, {}).get("receivers", {}).get(edge.name)
    return [end for end in (sender, receiver) if end]


def _peak(edge: EdgeDef, counts: StageCounts) -> int:
    """The most that waited, both sides together: their peaks need not have come at once, so no more than fits."""
    peaks: int = sum(end["depth_peak"] for end in _ends_of(edge, counts))
    return min(peaks, edge.capacity)


def _strangers(edge: EdgeDef, counts: StageCounts) -> int:
    """Peers that knocked at the edge's socket and were refused."""
    count: int = sum(end.get("stranger_count", 0) for end in _ends_of(edge, counts))
    return count


def _stages(resolved: Resolved, counts: StageCounts, duration_ns: int) -> dict[str, Any]:
    stages: dict[str, Any] = {}
    for name in resolved.order:
        stage, mine = resolved.graph.stage(name), counts.get(name)
        if mine is None:
            continue
        processed = mine["emitted"] if stage.is_source else mine["processed"]
        stages[name] = {
            "processed": processed,
            "emitted": mine["emitted"],
            "absorbed": mine["absorbed"],
            "rejected": mine["rejected"],
            "unmatched": mine["unmatched"],
            "lost": 0 if stage.is_source else _lost(stage, mine),
            "restarts": 0,
            "service_ms": {} if stage.is_source else Histogram.from_wire(mine["service"]).summary_ms(),
            "busy": None if stage.is_source else round(mine["busy_ns"] / duration_ns, 4) if duration_ns else 0.0,
            "batch": {"1": processed} if processed else {},
            "device": "host",
        }
    return stages


def _lost(stage: StageDef, mine: Mapping[str, Any]) -> int:
    """What was delivered to a stage and neither processed nor unmatched: it failed before it came to that."""
    delivered: int = sum(end["delivered_count"] for end in mine["receivers"].values())
    is_joined = stage.handled is None and len(stage.inputs) > 1
    accounted: int = mine["processed"] * (len(stage.inputs) if is_joined else 1) + sum(mine["unmatched"].values())
    return delivered - accounted


def _paths(resolved: Resolved, counts: StageCounts) -> dict[str, Any]:
    """One path for every source and sink that it reaches; offline there is no latency to speak of."""
    paths: dict[str, Any] = {}
    for sink in resolved.graph.sinks():
        for source in sorted(resolved.graph.sources_of(sink)):
            if source == sink or source not in counts:
                continue
            latency = counts.get(sink, {}).get("latency", {}).get(source)
            histogram = Histogram.from_wire(latency) if latency else Histogram()
            paths[f"{source}->{sink}"] = {
                "within_ms": None,
                "produced": counts[source]["emitted"],
                "rejected": counts[source]["rejected"],
                "arrived": histogram.count,
                "latency_ms": histogram.summary_ms() if histogram.count else {},
            }
    return paths


# -------------------------------------------------------------------------------------- for people


def table(report: Mapping[str, Any]) -> str:
    """The report as a few aligned tables: stages, edges, and from each source to each sink."""
    lines = [f"{report['pipeline']}: {report['duration_s']:.1f} s, {_verdict(report)}"]
    stages = report["stages"]
    rare = [what for what in ("rejected", "unmatched", "lost") if any(_total(stage[what]) for stage in stages.values())]
    rows = [
        [
            name,
            f"{stage['processed']:,}",
            f"{stage['emitted']:,}",
            f"{stage['absorbed']:,}",
            *(f"{_total(stage[what]):,}" for what in rare),
            "-" if stage["busy"] is None else f"{stage['busy']:.1%}",
            *(_ms(stage["service_ms"], key) for key in ("p50", "p99", "max")),
        ]
        for name, stage in stages.items()
    ]
    lines += _aligned(["stage", "data", "out", "absorbed", *rare, "busy", "p50 ms", "p99 ms", "max ms"], rows)
    edges = [
        [
            name,
            f"{edge['sent']:,}",
            f"{edge['delivered']:,}",
            " ".join(f"{reason}:{count:,}" for reason, count in edge["dropped"].items()) or "0",
            f"{edge['in_flight']:,}",
            str(edge["depth_peak"]),
        ]
        for name, edge in report["edges"].items()
    ]
    lines += _aligned(["edge", "sent", "delivered", "dropped", "in flight", "peak"], edges)
    paths = [
        [
            name,
            f"{path['produced']:,}",
            f"{path['arrived']:,}",
            *(_ms(path["latency_ms"], key) for key in ("p50", "p99", "p999", "max")),
        ]
        for name, path in report["paths"].items()
        if path["latency_ms"]
    ]
    head = ["source->sink", "produced", "arrived", "p50 ms", "p99 ms", "p99.9 ms", "max ms"]
    lines += _aligned(head, paths)
    nothing_matched = [
        f"{name}: nothing matched, no two data were of one event time ({_each(stage['unmatched'])})"
        for name, stage in stages.items()
        if _total(stage["unmatched"]) and not stage["processed"]
    ]
    return "\n".join([*lines, *([""] if nothing_matched else []), *nothing_matched])


def _total(count: int | Mapping[str, int]) -> int:
    return count if isinstance(count, int) else sum(count.values())


def _each(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _verdict(report: Mapping[str, Any]) -> str:
    conserved = report["conserved"]
    sums = "every datum accounted for" if conserved is True else "; ".join(conserved)
    if report["ending"] == "done":
        return sums if conserved is True else f"NOT CONSERVED: {sums}"
    return f"{report['ending']}, {sums}"


def _ms(summary: Mapping[str, float], key: str) -> str:
    return f"{summary[key]:.3f}" if summary else "-"


def _aligned(head: list[str], rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    out = [""]
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        out.append("  ".join(cells).rstrip())
    return out
