"""What happened while data flowed, to be marked on plots over time: restarts on the way, and contracts while broken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from streamflow.core.graph import Resolved
from streamflow.core.paths import on_route
from streamflow.core.timebase import s

Told = Mapping[str, Any]

RESTART, BROKEN = "restart", "broken"


class Mark(NamedTuple):
    """Seconds since data began to flow; of a restart how long the stage was down."""

    kind: str
    begin_s: float
    end_s: float
    told: str


def marks(report: Told, resolved: Resolved | None, path: str, end_s: float) -> list[Mark]:
    """Of that path, as far as the report's events go back; none where it does not say when data began to flow."""
    began_ns = report.get("started_ns")
    if not began_ns:
        return []
    on_way = _processes(report, resolved, path)
    found: list[Mark] = []
    down: dict[str, tuple[float, str]] = {}
    broken_s: float | None = None
    for event in report.get("events", ()):
        at_s = max((int(event.get("at_ns", began_ns)) - began_ns) / s, 0.0)
        match event.get("event"):
            case "restarting":
                told = str(event.get("reason", ""))
                down |= {process: (at_s, told) for process in event.get("processes", ()) if process in on_way}
            case "back" if event.get("process") in down:
                began_s, told = down.pop(event["process"])
                found.append(Mark(RESTART, began_s, at_s, f"{event['process']} was started again: {told}"))
            case "broken" if event.get("path") == path and broken_s is None:
                broken_s = at_s
            case "recovered" if event.get("path") == path and broken_s is not None:
                found.append(Mark(BROKEN, broken_s, at_s, f"contract broken, {broken_s:.1f} to {at_s:.1f} s"))
                broken_s = None
    found += [Mark(RESTART, at_s, end_s, f"{process} was down: {told}") for process, (at_s, told) in down.items()]
    if broken_s is not None:
        found.append(Mark(BROKEN, broken_s, end_s, f"contract broken from {broken_s:.1f} s to the end"))
    return [one._replace(end_s=min(one.end_s, end_s)) for one in found if one.begin_s <= end_s]


def _processes(report: Told, resolved: Resolved | None, path: str) -> set[str]:
    """Of the stages on any way from the path's source to its sink; of all where the graph is not known."""
    stages = report.get("stages", {})
    names = set(stages)
    if resolved is not None:
        told = report["paths"][path]
        route = on_route(resolved.graph.edges, str(told.get("source")), str(told.get("sink")))
        names = {stage for edge in route for stage in (edge.source, edge.target)}
    return {str(stages[name].get("process", name)) for name in names if name in stages}
