"""Plots of a run's figures as SVG, drawn here: axes with round ticks, bars, steps and lines; no script, no library.

Each is as wide as its column makes it. What a mark stands for is told by a `<title>`, where the pointer rests, and a
line or an area that matters is named in the plot, so that none is told by its colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from streamflow.core.course import edge_before
from streamflow.core.page.marks import RESTART, Mark
from streamflow.core.timebase import ms

WIDTH, HEIGHT = 390, 190  # about the pixels of a column of a page of 1300, so that letters are as large as they say
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 30, 34
STRIP = 4  # what holds for a while is a strip of that height, on top of a plot
ABOVE = TOP - STRIP - 6  # where texts above a plot stand
TICKS = 5
LABEL_ROOM = 52  # pixels between two labels of a logarithmic axis

Point = tuple[float, float]


def ticks(greatest: float, count: int = TICKS) -> list[float]:
    """From 0 to at least `greatest`, in steps of 1, 2 or 5 times a power of ten; at least 0 and 1."""
    if not greatest > 0 or not math.isfinite(greatest):
        return [0.0, 1.0]
    raw = greatest / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return [round(step * i, 12) for i in range(math.ceil(greatest / step - 1e-9) + 1)]


def decades(least: float, greatest: float, factors: Sequence[int] = (1, 2, 5)) -> list[float]:
    """These multiples of powers of ten between the two, for a logarithmic axis."""
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(greatest))
    found = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    return [value for value in found if least * (1 - 1e-9) <= value <= greatest * (1 + 1e-9)]


def number(value: float) -> str:
    """Three figures, without an exponent where there need not be one: `0.25`, `12.5`, `1,200`."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.{max(2 - math.floor(math.log10(abs(value))), 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True, slots=True)
class _Frame:
    """The room inside the axes, and where values go in it."""

    x_least: float
    x_greatest: float
    y_greatest: float
    is_log: bool = False

    def x(self, value: float) -> float:
        share = _share(value, self.x_least, self.x_greatest, is_log=self.is_log)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - min(value / self.y_greatest, 1.0) * (HEIGHT - TOP - BOTTOM)


def _share(value: float, least: float, greatest: float, *, is_log: bool) -> float:
    if greatest <= least:
        return 0.0
    value = min(max(value, least), greatest)
    if is_log:
        return math.log(value / least) / math.log(greatest / least)
    return (value - least) / (greatest - least)


def latencies(le_ms: Sequence[float], counts: Sequence[int], bound_ms: float | None) -> str:
    """How many data took how long, on a logarithmic axis; `le_ms`: upper edges of buckets, an eighth of an octave each.

    The bound, where there is one, is a line, and buckets beyond it are of another kind.
    """
    least = le_ms[0] * 2**-0.25
    greatest = max(le_ms[-1], bound_ms or 0.0) * 2**0.25
    y_ticks = ticks(max(counts))
    frame = _Frame(least, greatest, y_ticks[-1], is_log=True)
    total = sum(counts)
    marks = []
    for edge, count in zip(le_ms, counts, strict=True):
        begin_ms = edge_before(round(edge * ms)) / ms
        begin, end = frame.x(begin_ms), frame.x(edge)
        kind = "bad" if bound_ms is not None and begin_ms >= bound_ms else "good"
        told = f"up to {number(edge)} ms: {count:,} ({count / total:.1%})"
        y = frame.y(count)
        marks.append(_rect(kind, begin + 0.5, y, max(end - begin - 1, 1), frame.y(0) - y, told))
    axis = _log_labels(frame, least, greatest)
    line = _bound_line(frame, bound_ms) if bound_ms is not None else ""
    return _plot("latency, ms", "data", frame, y_ticks, axis, [*marks, line])


def shares(end_s: Sequence[float], parts: Mapping[str, Sequence[float]], happened: Sequence[Mark] = ()) -> str:
    """What became of the data second by second: areas one above the other, `parts` from below, by their names."""
    totals = [sum(values) for values in zip(*parts.values(), strict=True)]
    y_ticks = ticks(max(totals))
    frame = _Frame(0.0, end_s[-1], y_ticks[-1])
    marks = []
    base = [0.0] * len(end_s)
    for name, values in parts.items():
        top = [low + value for low, value in zip(base, values, strict=True)]
        if any(values):
            told = f"{name}: {sum(values):,.0f} of {sum(totals):,.0f}"
            title = f"<title>{escape(told)}</title>"
            marks.append(f'<path class="{_css(name)}" d="{_area(frame, end_s, base, top)}">{title}</path>')
        base = top
    marks += _marked(frame, happened)
    return _plot("s", "data", frame, y_ticks, _labels(frame, ticks(end_s[-1]), end_s[-1]), marks)


def over_time(
    end_s: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    bound_ms: float | None,
    happened: Sequence[Mark] = (),
) -> str:
    """Quantiles in milliseconds second by second; where nothing arrived, which is a 0, there is a gap."""
    greatest = max([*(value for values in lines.values() for value in values), (bound_ms or 0.0) * 1.1])
    y_ticks = ticks(greatest)
    frame = _Frame(0.0, end_s[-1], y_ticks[-1])
    marks = _marked(frame, happened)
    for name, values in lines.items():
        points = [(frame.x(at), frame.y(value)) if value > 0 else None for at, value in zip(end_s, values, strict=True)]
        marks.append(f'<path class="line {_css(name)}" d="{_line(points)}"><title>{escape(name)}</title></path>')
    if bound_ms is not None:
        y = frame.y(bound_ms)
        marks.append(f'<line class="bound" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        told = f"deadline {number(bound_ms)} ms"  # above the plot: in it there are curves
        marks.append(_text("bound-name", WIDTH - RIGHT, ABOVE, told, anchor="end"))
    return _plot("s", "ms", frame, y_ticks, _labels(frame, ticks(end_s[-1]), end_s[-1]), marks)


def bars(counts: Iterable[tuple[str, int]], kind: str) -> str:
    """Horizontal bars with their names and figures, the order kept; HTML, so that it breaks where there is no room."""
    rows = list(counts)
    greatest = max((count for _, count in rows), default=0) or 1
    told = [
        f'<div class="bar"><span>{escape(name)}</span><span class="track"><i class="{_css(kind)}" '
        f'style="width:{count / greatest:.2%}"></i></span><b>{count:,}</b></div>'
        for name, count in rows
    ]
    return f'<div class="bars">{"".join(told)}</div>'


def against(value: float, bound: float) -> str:
    """A quantile as a bar whose bound is at three quarters; HTML."""
    share = min(value / bound * 0.75, 1.0) if bound else 0.0
    kind = "bad" if value > bound else "good"
    return f'<span class="against"><i class="{kind}" style="width:{share:.2%}"></i><u></u></span>'


# ------------------------------------------------------------------------------------------- what is drawn


def _plot(x_name: str, y_name: str, frame: _Frame, y_ticks: Sequence[float], x_axis: str, marks: Sequence[str]) -> str:
    grid = []
    for value in y_ticks:
        y = frame.y(value)
        grid.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        grid.append(_text("tick", LEFT - 6, y + 4, number(value), anchor="end"))
    names = _text("axis", WIDTH - RIGHT, HEIGHT - 3, x_name, anchor="end") + _text("axis", 4, ABOVE, y_name)
    return (f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(grid)}{x_axis}{"".join(marks)}'
            f"{names}</svg>")  # fmt: skip


def _marked(frame: _Frame, happened: Sequence[Mark]) -> list[str]:
    """A restart is a line, however short it was; what was broken is a strip."""
    found = []
    for mark in happened:
        x, end = frame.x(mark.begin_s), frame.x(mark.end_s)
        if mark.kind == RESTART:
            title = f"<title>{escape(mark.told)}</title>"
            found.append(f'<path class="mark restart" d="M{x:.1f} {TOP - STRIP}V{HEIGHT - BOTTOM}">{title}</path>')
        else:
            found.append(_rect("mark broken", x, TOP - STRIP - 1, max(end - x, 2), STRIP, mark.told))
    return found


def _labels(frame: _Frame, values: Sequence[float], greatest: float) -> str:
    return "".join(
        _text("tick", frame.x(value), HEIGHT - BOTTOM + 15, number(value), anchor="middle")
        for value in values
        if value <= greatest
    )


def _log_labels(frame: _Frame, least: float, greatest: float) -> str:
    """As many as there is room for."""
    values = decades(least, greatest)
    if len(values) < TICKS - 2:
        values = decades(least, greatest, range(1, 10))
    shown: list[float] = []
    for value in values:
        if not shown or frame.x(value) - frame.x(shown[-1]) >= LABEL_ROOM:
            shown.append(value)
    if not shown:
        shown = [math.sqrt(least * greatest)]
    return _labels(frame, shown, greatest)


def _bound_line(frame: _Frame, bound_ms: float) -> str:
    x = frame.x(bound_ms)
    anchor = "end" if x > WIDTH / 2 else "start"
    beside = min(max(x - 5 if anchor == "end" else x + 5, LEFT), WIDTH - RIGHT)
    return (f'<line class="bound" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            + _text("bound-name", beside, ABOVE, f"deadline {number(bound_ms)} ms", anchor=anchor))  # fmt: skip


def _rect(kind: str, x: float, y: float, width: float, height: float, told: str) -> str:
    return (f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">'
            f"<title>{escape(told)}</title></rect>")  # fmt: skip


def _area(frame: _Frame, end_s: Sequence[float], base: Sequence[float], top: Sequence[float]) -> str:
    """A stair from left to right along the top, and back along the base."""
    begins = [0.0, *end_s[:-1]]
    there = [(frame.x(at), frame.y(y)) for begin, end, y in zip(begins, end_s, top, strict=True) for at in (begin, end)]
    back = [(frame.x(at), frame.y(y)) for begin, end, y in zip(begins, end_s, base, strict=True) for at in (begin, end)]
    return _line([*there, *reversed(back)]) + "Z"


def _line(points: Sequence[Point | None]) -> str:
    """A path, broken where there is no point; one that stands alone is a dot."""
    parts = []
    before: Point | None = None
    for point, after in pairwise([*points, None]):
        if point is not None:
            is_alone = before is None and after is None
            step = f"{'M' if before is None else 'L'}{point[0]:.1f} {point[1]:.1f}"
            parts.append(step + ("h0.1" if is_alone else ""))
        before = point
    return "".join(parts)


def _text(kind: str, x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _css(name: str) -> str:
    """A class of the style sheet."""
    return "".join(one if one.isalnum() else "-" for one in name.lower())
