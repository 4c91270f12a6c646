"""What a run did: the report's keys (a contract), made from what every stage counted, and its table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamflow.core.accounting import EdgeCounts, broken_sums
from streamflow.core.graph import Resolved
from streamflow.core.statistics import Histogram
from streamflow.core.timebase import seconds

StageCounts = Mapping[str, Mapping[str, Any]]


def make_report(
    resolved: Resolved, counts: StageCounts, *, duration_ns: int, clean: bool, failure: str = ""
) -> dict[str, Any]:
    """The report of a run. `clean`: it ended by itself, so that nothing may be in flight or lost."""
    edges, broken = _edges(resolved, counts, clean)
    report: dict[str, Any] = {
        "pipeline": resolved.graph.name,
        "duration_s": seconds(duration_ns),
        "paths": _paths(resolved, counts),
        "edges": edges,
        "stages": _stages(resolved, counts, duration_ns),
        "conserved": broken or True,
    }
    if failure:
        report["failure"] = failure
    return report


def _edges(resolved: Resolved, counts: StageCounts, clean: bool) -> tuple[dict[str, Any], list[str]]:
    edges: dict[str, Any] = {}
    broken: list[str] = []
    for edge in resolved.graph.edges:
        sender = counts.get(edge.source, {}).get("senders", {}).get(edge.name)
        receiver = counts.get(edge.target, {}).get("receivers", {}).get(edge.name)
        ends = EdgeCounts(
            offered=sender["offered_count"] if sender else 0,
            transmitted=sender["transmitted_count"] if sender else 0,
            sender_held=sender["held_count"] if sender else 0,
            sender_dropped=sender["dropped"] if sender else {},
            received=receiver["received_count"] if receiver else 0,
            delivered=receiver["delivered_count"] if receiver else 0,
            receiver_held=receiver["held_count"] if receiver else 0,
            receiver_dropped=receiver["dropped"] if receiver else {},
        )
        peaks = [end["depth_peak"] for end in (sender, receiver) if end]
        edges[edge.name] = {
            "sent": ends.offered,
            "delivered": ends.delivered,
            "dropped": ends.dropped,
            "in_flight": ends.in_flight,
            "depth_peak": max(peaks, default=0),
        }
        if clean:
            broken += broken_sums(edge.name, ends, ended=True)
    if clean:
        broken += _broken_stages(resolved, counts)
    return edges, broken


def _broken_stages(resolved: Resolved, counts: StageCounts) -> list[str]:
    """A stage that handles each message by itself has processed exactly what was delivered to it."""
    broken = []
    for stage in resolved.graph.stages:
        mine = counts.get(stage.name)
        if mine is None:
            broken.append(f"{stage.name}: told no counts")
        elif not stage.is_source and (len(stage.inputs) == 1 or stage.handled is not None):
            delivered = sum(end["delivered_count"] for end in mine["receivers"].values())
            if delivered != mine["processed"]:
                broken.append(f"{stage.name}: {delivered} delivered, {mine['processed']} processed")
    return broken


def _stages(resolved: Resolved, counts: StageCounts, duration_ns: int) -> dict[str, Any]:
    stages: dict[str, Any] = {}
    for name in resolved.order:
        stage, mine = resolved.graph.stage(name), counts.get(name)
        if mine is None:
            continue
        processed = mine["emitted"] if stage.is_source else mine["processed"]
        stages[stage.name] = {
            "processed": processed,
            "absorbed": mine["absorbed"],
            "rejected": mine["rejected"],
            "unmatched": mine["unmatched"],
            "restarts": 0,
            "service_ms": Histogram.from_wire(mine["service"]).summary_ms(),
            "busy": round(mine["busy_ns"] / duration_ns, 4) if duration_ns else 0.0,
            "batch": {"1": processed} if processed else {},
            "device": "host",
        }
    return stages


def _paths(resolved: Resolved, counts: StageCounts) -> dict[str, Any]:
    """One path for every source and sink that it reaches; offline there is no latency to speak of."""
    paths: dict[str, Any] = {}
    for sink in resolved.graph.sinks():
        for source in sorted(resolved.graph.sources_of(sink)):
            if source == sink or source not in counts:
                continue
            latency = counts.get(sink, {}).get("latency", {}).get(source)
            paths[f"{source}->{sink}"] = {
                "within_ms": None,
                "produced": counts[source]["emitted"],
                "rejected": counts[source]["rejected"],
                "latency_ms": Histogram.from_wire(latency).summary_ms() if latency else {},
            }
    return paths


# -------------------------------------------------------------------------------------- for people


def table(report: Mapping[str, Any]) -> str:
    """The report as a few aligned tables: stages, edges, and from each source to each sink."""
    lines = [f"{report['pipeline']}: {report['duration_s']:.1f} s, {_verdict(report)}"]
    stages = [
        [
            name,
            f"{stage['processed']:,}",
            f"{stage['busy']:.1%}",
            *(_ms(stage["service_ms"], key) if stage["service_ms"]["max"] else "-" for key in ("p50", "p99", "max")),
        ]
        for name, stage in report["stages"].items()
    ]
    lines += _aligned(["stage", "data", "busy", "p50 ms", "p99 ms", "max ms"], stages)
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
        [name, f"{path['produced']:,}", *(_ms(path["latency_ms"], key) for key in ("p50", "p99", "p999", "max"))]
        for name, path in report["paths"].items()
        if path["latency_ms"]
    ]
    if paths:
        lines += _aligned(["source->sink", "produced", "p50 ms", "p99 ms", "p99.9 ms", "max ms"], paths)
    return "\n".join(lines)


def _verdict(report: Mapping[str, Any]) -> str:
    if report.get("failure"):
        return "failed"
    conserved = report["conserved"]
    return "every datum accounted for" if conserved is True else "NOT CONSERVED: " + "; ".join(conserved)


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
