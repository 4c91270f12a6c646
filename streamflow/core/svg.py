"""A pipeline's graph as an SVG picture, drawn here: rectangles, arrows and labels, no program needed."""

from __future__ import annotations

from itertools import pairwise
from xml.sax.saxutils import escape

from streamflow.core.drawing import policy_text, sent_type, summary_text, type_text
from streamflow.core.graph import EdgeDef, Graph, Resolved, StageDef
from streamflow.core.layout import BAND_PADDING, Layout, Point, arrange
from streamflow.core.overflow import Overflow

CHARACTER_WIDTH = 7.3  # of a 12 px monospace font: 0.6 em, and a little for fonts that are wider
PORT_SPACING = 22
LINE_HEIGHT = 16
ARROW_LENGTH = 9

_STYLE = """\
  text { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1b1f24; }
  .name { font-weight: bold; }
  .node, .label, .process { fill: #57606a; }
  .label, .process { stroke: #ffffff; stroke-width: 4px; paint-order: stroke; }
  .label { font-size: 11px; }
  .process { stroke: #f3f4f6; }
  .stage { fill: #ffffff; stroke: #1b1f24; stroke-width: 1.2; }
  .source { fill: #e6f2ea; }
  .shared { fill: #f3f4f6; stroke: #8c959f; stroke-dasharray: 5 4; }
  .edge { fill: none; stroke: #57606a; stroke-width: 1.4; }
  .drops { stroke: #b4540a; }"""


def as_svg(resolved: Resolved) -> str:
    """A whole SVG document; each edge carries its type and policy as a title, shown where the pointer rests."""
    graph = resolved.graph
    layout = arrange(
        graph,
        {stage.name: _size(stage) for stage in graph.stages},
        {name: _label_room(graph, name) for name in (stage.name for stage in graph.stages)},
    )
    width, height = round(layout.width), round(layout.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<title>{escape(summary_text(graph))}</title>",
        f"<style>\n{_STYLE}\n</style>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerUnits="userSpaceOnUse"'
        f' markerWidth="{ARROW_LENGTH}" markerHeight="{ARROW_LENGTH}" orient="auto">'
        '<path d="M0 1 L10 5 L0 9 z" fill="#57606a"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_process_boxes(layout),
    ]
    for edge in graph.edges:
        lines += _edge(resolved, edge, layout.routes[edge.name])
    lines += _process_names(layout)
    for stage in graph.stages:
        lines += _stage(stage, layout)
    return "\n".join([*lines, "</svg>"])


def _size(stage: StageDef) -> tuple[float, float]:
    ports = max(len(stage.inputs), len(stage.outputs), 1)
    width = max(len(stage.name), len(stage.node)) * CHARACTER_WIDTH + 28
    return width, max(3 * LINE_HEIGHT, PORT_SPACING * (ports + 1))


def _label_room(graph: Graph, stage: str) -> float:
    labels = [_label(graph, edge) for edge in graph.edges_into(stage)]
    return max((len(label) * CHARACTER_WIDTH + ARROW_LENGTH + BAND_PADDING for label in labels if label), default=0)


def _label(graph: Graph, edge: EdgeDef) -> str:
    """The input's name where the receiver has several, and the policy unless the sender simply waits."""
    parts = [edge.input] if len(graph.stage(edge.target).inputs) > 1 else []
    if edge.overflow is not Overflow.BLOCK:
        parts.append(policy_text(edge))
    return " · ".join(parts)


def _process_boxes(layout: Layout) -> list[str]:
    lines = []
    for box in layout.processes.values():
        lines.append(f'<rect class="shared" x="{box.x:.1f}" y="{box.y:.1f}" '
                     f'width="{box.width:.1f}" height="{box.height:.1f}" rx="8"/>')  # fmt: skip
    return lines


def _process_names(layout: Layout) -> list[str]:
    return [
        _text("process", box.x + 10, box.y + LINE_HEIGHT, f"process {name}") for name, box in layout.processes.items()
    ]


def _edge(resolved: Resolved, edge: EdgeDef, route: tuple[Point, ...]) -> list[str]:
    kind = "edge" if edge.overflow is Overflow.BLOCK else "edge drops"
    title = f"{edge.name}: {type_text(sent_type(resolved, edge))}, {policy_text(edge)}"
    lines = [f'<path class="{kind}" d="{_curve(route)}" marker-end="url(#head)"><title>{escape(title)}</title></path>']
    label = _label(resolved.graph, edge)
    if label:
        x, y = route[-1]
        lines.append(_text("label", x - ARROW_LENGTH - 2, y - 5, label, anchor="end"))
    return lines


def _curve(route: tuple[Point, ...]) -> str:
    """Level at both ends of every stretch, so that arrows meet boxes squarely."""
    x, y = route[0]
    parts = [f"M{x:.1f} {y:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(route):
        if y0 == y1:
            parts.append(f"L{x1:.1f} {y1:.1f}")
        else:
            bend = x0 + min((x1 - x0) / 2, 44)
            parts.append(f"C{bend:.1f} {y0:.1f} {x0:.1f} {y1:.1f} {bend:.1f} {y1:.1f} L{x1:.1f} {y1:.1f}")
    return " ".join(parts)


def _stage(stage: StageDef, layout: Layout) -> list[str]:
    box = layout.stages[stage.name]
    kind = "stage source" if stage.is_source else "stage"
    middle = box.x + box.width / 2
    line = box.y + box.height / 2
    return [
        f'<rect class="{kind}" x="{box.x:.1f}" y="{box.y:.1f}" '
        f'width="{box.width:.1f}" height="{box.height:.1f}" rx="5"/>',
        _text("name", middle, line - 3, stage.name, anchor="middle"),
        _text("node", middle, line + LINE_HEIGHT - 3, stage.node, anchor="middle"),
    ]


def _text(kind: str, x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
