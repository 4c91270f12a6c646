"""Latencies as bars on a logarithmic scale, an SVG document: the bar ends at p50, the line behind it at p99."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

LABEL_WIDTH, PLOT_WIDTH, ROW_HEIGHT, HEAD_HEIGHT = 300, 560, 20, 44
COLOURS = {"raw pyzmq": "#8c959f", "memcpy": "#8c959f", "direct": "#1a7f37", "ipc": "#0969da"}
_OTHER = "#b4540a"
_STYLE = 'font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1b1f24;'


def as_svg(cases: Sequence[Mapping[str, Any]], title: str) -> str:
    """`cases` as `table.plain` makes them; every figure with a p50 is a row."""
    rows = [(case["case"], figure) for case in cases for figure in case["figures"] if figure.get("p50")]
    heads = len({name for name, _ in rows})
    edges = [float(figure[name]) for _, figure in rows for name in ("p50", "p99") if figure.get(name)]
    low, high = math.floor(math.log10(min(edges, default=1.0))), math.ceil(math.log10(max(edges, default=10.0)))
    high = max(high, low + 1)
    width, height = LABEL_WIDTH + PLOT_WIDTH + 100, HEAD_HEIGHT + (len(rows) + heads) * ROW_HEIGHT + 16

    def x(value_us: float) -> float:
        return LABEL_WIDTH + PLOT_WIDTH * (math.log10(value_us) - low) / (high - low)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<title>{escape(title)}</title>",
        f"<style>text {{ {_STYLE} }} .end {{ text-anchor: end; }} .head {{ font-weight: bold; }}</style>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_scale(range(low, high + 1), x, height),
    ]
    y, last = HEAD_HEIGHT, None
    for case, figure in rows:
        if case != last:
            lines.append(f'<text class="head" x="8" y="{y + 14}">{escape(case)}</text>')
            y, last = y + ROW_HEIGHT, case
        lines += _row(figure, x, y)
        y += ROW_HEIGHT
    return "\n".join([*lines, "</svg>"]) + "\n"


def _scale(powers: Sequence[int], x: Any, height: int) -> Iterator[str]:
    for power in powers:
        at = x(10.0**power)
        yield f'<path d="M{at:.1f} {HEAD_HEIGHT - 8} V{height - 8}" stroke="#d0d7de"/>'
        yield f'<text x="{at:.1f}" y="{HEAD_HEIGHT - 14}" text-anchor="middle">{10.0**power:,g} µs</text>'


def _row(figure: Mapping[str, Any], x: Any, y: int) -> Iterator[str]:
    p50, p99 = float(figure["p50"]), float(figure.get("p99") or figure["p50"])
    colour = next((own for name, own in COLOURS.items() if figure["way"].startswith(name)), _OTHER)
    label = escape(f"{figure['line']}, {figure['way']}")
    middle = y + ROW_HEIGHT / 2
    yield f'<text class="end" x="{LABEL_WIDTH - 8}" y="{y + 14}">{label}</text>'
    yield f'<path d="M{LABEL_WIDTH} {middle} H{x(p99):.1f}" stroke="{colour}" stroke-width="2"/>'
    yield f'<rect x="{LABEL_WIDTH}" y="{y + 4}" width="{x(p50) - LABEL_WIDTH:.1f}" height="12" fill="{colour}"/>'
    yield f'<text x="{x(p99) + 6:.1f}" y="{y + 14}">{p50:,.0f} / {p99:,.0f}</text>'
