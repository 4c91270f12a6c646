"""The view of the graph: stages and edges as `streamflow graph` draws them, each with how it is now."""

from __future__ import annotations

from collections.abc import Sequence

from streamflow.core.drawing import Row, railed
from streamflow.core.graph import EdgeDef, Resolved
from tools.monitor.snapshot import Edge, Snapshot, Stage, number
from tools.monitor.text import (
    Line,
    Page,
    Span,
    Tone,
    bar,
    cut,
    cut_line,
    each,
    fit,
    line,
    line_width,
    milliseconds,
    rate,
    short,
)
from tools.monitor.views.stages import TONES

DEPTH_WIDTH = 8
NAME_WIDTH_MAX = 28


class GraphView:
    """Of one graph, whose rails are laid once."""

    def __init__(self, resolved: Resolved | None) -> None:
        self._rows: Sequence[Row] = railed(resolved.graph) if resolved is not None else ()

    def view(self, snapshot: Snapshot, width: int, wanted: str) -> Page:
        if not self._rows:
            return Page([line(("this run, of another version, has left no graph", Tone.DIM))])
        edges = {edge.name: edge for edge in snapshot.edges}
        names = [row.stage if row.edge is None else _receiver(row.edge) for row in self._rows]
        name_width = min(max(len(name) for name in names), NAME_WIDTH_MAX, max(width - 50, 12))
        lines: list[Line] = []
        for row in self._rows:
            if row.edge is None:
                stage = snapshot.stage(row.stage)
                lines.append(_stage_line(row, stage, name_width, width, wanted))
            else:
                lines.append(_edge_line(row, edges.get(row.edge.name), name_width, width))
        return Page([cut_line(one, width) for one in lines])


def _stage_line(row: Row, stage: Stage | None, name_width: int, width: int, wanted: str) -> Line:
    name: Span = (fit(row.stage, name_width), Tone.STRONG if wanted in row.stage else Tone.DIM)
    if stage is None:
        return line((row.rail, Tone.DIM), name)
    tone = TONES[stage.condition]
    spans: list[Span] = [
        (row.rail, Tone.DIM),
        name,
        (f" {stage.condition.value:<10}", tone),
        (f" {rate(stage.rate_hz):>7}", Tone.PLAIN),
    ]
    shed = int(number(stage.told.get("shed")) or 0)
    facts: list[Span] = []
    if not stage.is_source:
        facts.append((f"  busy {'  -' if stage.busy is None else f'{stage.busy:>4.0%}'}", Tone.PLAIN))
    facts.append((f"  restarts {short(stage.restarts)}" if stage.restarts else "", Tone.BAD))
    facts.append((f"  shed {short(shed)}" if shed else "", Tone.BAD))
    if not stage.is_source:
        facts.append((f"  p99 {milliseconds(stage.service_ms.get('p99'))}", Tone.PLAIN))
    facts.append((f"  with {stage.variant}" if stage.variant is not None else "", Tone.WARN))
    for fact in facts:  # what matters most comes first, and what has no room is left to the view of stages
        if line_width((*spans, fact)) <= width:
            spans.append(fact)
    return tuple(spans)


def _edge_line(row: Row, edge: Edge | None, name_width: int, width: int) -> Line:
    assert row.edge is not None
    name = fit(_receiver(row.edge), name_width)
    if edge is None:
        return line((row.rail + name, Tone.DIM))
    share = edge.depth / edge.capacity if edge.capacity else 0.0
    tone = Tone.BAD if share >= 1 else Tone.WARN if share >= 0.5 else Tone.GOOD if edge.depth else Tone.DIM
    filled = bar(share, DEPTH_WIDTH) if edge.depth else " " * DEPTH_WIDTH
    depth = f"{edge.depth}/{edge.capacity}"
    spans: list[Span] = [
        (row.rail + name, Tone.DIM),
        (f" {rate(edge.rate_hz):>7} ", Tone.PLAIN),
        ("▕", Tone.DIM),
        (filled, tone),
        ("▏", Tone.DIM),
        (f"{depth:<7}", tone),
        (cut(edge.policy, 12) if width >= 100 else "", Tone.DIM),
    ]
    lost = f" lost {short(edge.lost)}" if edge.lost else ""
    dropped = sum(edge.dropped.values())
    told = f" dropped {each(edge.dropped.items())}" if dropped else ""
    if line_width(tuple(spans)) + len(told) + len(lost) > width:
        told = f" dropped {short(dropped)}" if dropped else ""
    return (*spans, (told + lost, Tone.BAD))


def _receiver(edge: EdgeDef) -> str:
    back = "↩" if edge.loop is not None else "→"
    return f"  .{edge.output} {back} {edge.target}.{edge.input}"
