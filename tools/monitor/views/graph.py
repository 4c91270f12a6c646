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
    fit,
    given_up,
    line,
    line_width,
    milliseconds,
    rate,
    short,
)
from tools.monitor.views.stages import TONES

DEPTH_WIDTH = 8
POLICY_WIDTH = 12
WIDE = 100  # from here on there is room for an edge's policy
BESIDE = 50  # what stands beside a name, at least; with the policy so much more


class GraphView:
    """Of one graph, whose rails are laid once."""

    def __init__(self, resolved: Resolved | None) -> None:
        self._rows: Sequence[Row] = railed(resolved.graph) if resolved is not None else ()

    def view(self, snapshot: Snapshot, width: int, wanted: str) -> Page:
        if not self._rows:
            return Page([line(("this run, of another version, has left no graph", Tone.DIM))])
        edges = {edge.name: edge for edge in snapshot.edges}
        names = [row.stage if row.edge is None else _receiver(row.edge) for row in self._rows]
        beside = BESIDE + (POLICY_WIDTH + 1 if width >= WIDE else 0)
        name_width = min(max(len(name) for name in names), max(width - beside, 12))
        is_found = [wanted in (row.stage if row.edge is None else row.edge.name) for row in self._rows]
        if not any(is_found):
            return Page([line((f"no stage and no edge has {wanted} in its name", Tone.DIM))])
        lines: list[Line] = []
        for row, is_wanted in zip(self._rows, is_found, strict=True):
            if row.edge is None:
                drawn = _stage_line(row, snapshot.stage(row.stage), name_width, width)
            else:
                drawn = _edge_line(row, edges.get(row.edge.name), name_width, width)
            lines.append(drawn if is_wanted else line(("".join(text for text, _ in drawn), Tone.DIM)))
        return Page([cut_line(one, width) for one in lines])


def _stage_line(row: Row, stage: Stage | None, name_width: int, width: int) -> Line:
    name: Span = (fit(row.stage, name_width), Tone.STRONG)
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
        (f"{cut(edge.policy, POLICY_WIDTH):<{POLICY_WIDTH}}" if width >= WIDE else "", Tone.DIM),
    ]
    told = given_up(edge.dropped, edge.lost)
    if told and line_width(tuple(spans)) + 1 + len(told) > width:
        dropped, lost = sum(edge.dropped.values()), edge.lost
        parts = (f"dropped {short(dropped)}" if dropped else "", f"lost {short(lost)}" if lost else "")
        told = ", ".join(filter(None, parts))
    return (*spans, (f" {told}" if told else "", Tone.BAD))


def _receiver(edge: EdgeDef) -> str:
    back = "↩" if edge.loop is not None else "→"
    return f"  .{edge.output} {back} {edge.target}.{edge.input}"
