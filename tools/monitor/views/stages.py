"""The view of stages: a row for each, as many columns as there is room for, and all of the one that is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tools.monitor.snapshot import Condition, Snapshot, Stage, mapping
from tools.monitor.text import (
    Item,
    Line,
    Page,
    Span,
    Tone,
    cut_line,
    each,
    fit,
    given_up,
    line,
    milliseconds,
    rate,
    short,
    wrapped,
)

TONES: Mapping[Condition, Tone] = {
    Condition.STARTING: Tone.DIM,
    Condition.READY: Tone.GOOD,
    Condition.BUSY: Tone.LIVE,
    Condition.BLOCKED: Tone.WARN,
    Condition.DEGRADED: Tone.WARN,
    Condition.HUNG: Tone.BAD,
    Condition.RESTARTING: Tone.BAD,
    Condition.FAILED: Tone.BAD,
    Condition.DRAINING: Tone.DIM,
    Condition.STOPPED: Tone.DIM,
}
NAME_WIDTH_MAX = 24
TITLE = "stage"


@dataclass(frozen=True, slots=True)
class Column:
    """`rank`: those of a low one are shown first, where there is not room for all."""

    title: str
    width: int
    rank: int
    cell: Callable[[Stage], Span]
    is_left: bool = False


def _plain(text: str) -> Span:
    return text, Tone.PLAIN


def _count(count: int, tone: Tone) -> Span:
    return short(count), tone if count else Tone.DIM


def _busy(stage: Stage) -> Span:
    if stage.busy is None:
        return "-", Tone.DIM
    return f"{stage.busy:.0%}", Tone.BAD if stage.busy > 0.9 else Tone.WARN if stage.busy > 0.7 else Tone.PLAIN


COLUMNS = (
    Column("state", 10, 0, lambda one: (one.condition.value, TONES[one.condition]), is_left=True),
    Column("rate", 8, 0, lambda one: _plain(rate(one.rate_hz))),
    Column("p50", 7, 7, lambda one: _plain(milliseconds(one.service_ms.get("p50")))),
    Column("p99", 7, 0, lambda one: _plain(milliseconds(one.service_ms.get("p99")))),
    Column("p99.9", 7, 8, lambda one: _plain(milliseconds(one.service_ms.get("p999")))),
    Column("busy", 4, 0, _busy),
    Column("depth", 5, 0, lambda one: _count(one.depth, Tone.WARN)),
    Column("drop", 5, 0, lambda one: _count(sum(one.dropped.values()), Tone.BAD)),
    Column("rest", 4, 1, lambda one: _count(one.restarts, Tone.BAD)),
    Column("MB", 4, 1, lambda one: _plain("-" if one.memory_mb is None else f"{one.memory_mb:.0f}")),
    Column("stall", 7, 2, lambda one: _stalled(one)),
    Column("batch", 5, 3, lambda one: _plain("-" if one.batch is None else f"{one.batch:.1f}")),
    Column("device", 6, 4, lambda one: _plain(one.device or "-"), is_left=True),
    Column("pid", 7, 5, lambda one: _plain(str(one.pid or "-"))),
    Column("process", 12, 6, lambda one: _plain(one.process), is_left=True),
    Column("node", 16, 9, lambda one: (one.node, Tone.DIM), is_left=True),
)


def _stalled(stage: Stage) -> Span:
    if stage.stalled_ms is None:
        return "-", Tone.DIM
    return milliseconds(stage.stalled_ms) if stage.stalled_ms else "0", Tone.WARN if stage.stalled_ms else Tone.DIM


def view(snapshot: Snapshot, width: int, wanted: str, opened: str = "") -> Page:
    """`opened`: the stage about which everything is told below it."""
    stages = [one for one in snapshot.stages if wanted in one.name or wanted in one.process]
    if not stages:
        told = f"no stage has {wanted} in its name" if snapshot.stages else "the run has told nothing of its stages yet"
        return Page([line((told, Tone.DIM))])
    name_width = min(max(len(TITLE), *(len(one.name) for one in stages)), NAME_WIDTH_MAX)
    columns = _chosen_columns(width - name_width)
    head = line((fit(TITLE, name_width), Tone.HEAD), *((f"  {fit(c.title, c.width, right=not c.is_left)}", Tone.HEAD)
                for c in columns))  # fmt: skip
    lines: list[Line] = []
    items: list[Item] = []
    for stage in stages:
        first = len(lines)
        lines.append(_row(stage, name_width, columns))
        if stage.name == opened:
            lines += _everything(stage, snapshot, width)
        items.append(Item(stage.name, first, len(lines) - 1))
    return Page([cut_line(one, width) for one in lines], items, [cut_line(head, width)])


def _chosen_columns(room: int) -> list[Column]:
    kept: set[str] = set()
    for column in sorted(COLUMNS, key=lambda one: one.rank):
        if room < column.width + 2:
            if column.rank:
                break
            continue
        room -= column.width + 2
        kept.add(column.title)
    return [column for column in COLUMNS if column.title in kept]


def _row(stage: Stage, name_width: int, columns: list[Column]) -> Line:
    spans: list[Span] = [(fit(stage.name, name_width), Tone.STRONG)]
    for column in columns:
        text, tone = column.cell(stage)
        spans.append((f"  {fit(text, column.width, right=not column.is_left)}", tone))
    return tuple(spans)


def _everything(stage: Stage, snapshot: Snapshot, width: int) -> list[Line]:
    told = stage.told
    quantiles = {key.replace("p999", "p99.9"): milliseconds(value) for key, value in stage.service_ms.items()}
    service = "  ".join(f"{name} {told}" for name, told in quantiles.items())
    left_out = {port: each(reasons.items()) for port, reasons in mapping(told, "left_out").items()}
    on_device = f", device {stage.device}" if stage.device else ""
    facts = [
        ("node", f"{stage.node}, process {stage.process}, pid {stage.pid or '-'}{on_device}"),
        ("why", stage.why),
        ("works on", "" if stage.in_service_ms is None else f"its datum for {milliseconds(stage.in_service_ms)} now"),
        ("service", service),
        ("counts", each((key.replace("_", " "), int(told.get(key) or 0)) for key in
                        ("processed", "emitted", "absorbed", "shed", "degraded", "rejected", "lost", "restarts"))),
        ("batches of", each((str(size), count) for size, count in mapping(told, "batch").items())
         if stage.batch is not None else ""),
        ("variants", each(mapping(told, "variants").items()) + (f"; now {stage.variant}" if stage.variant else "")),
        ("left out", "; ".join(f"{port} {reasons}" for port, reasons in left_out.items())),
        ("fell silent", each(mapping(told, "silent").items())),
        ("clock set back", each(mapping(told, "clock_steps").items())),
        ("loop", "" if not stage.stalled_ms else f"stood still {milliseconds(stage.stalled_ms)} in the last minute"),
        ("real time", "; ".join(str(one.get("sentence") or one.get("knob")) for one in told.get("realtime") or ())),
    ]  # fmt: skip
    lines: list[Line] = []
    for name, fact in facts:
        if fact:
            texts = wrapped(fact, width - 20, "")
            lines += [line((f"    {name if i == 0 else '':<15}", Tone.DIM), text) for i, text in enumerate(texts)]
    for edge in snapshot.edges:
        if edge.name.partition("->")[2].partition(".")[0] == stage.name:
            gone = given_up(edge.dropped, edge.lost) or "none dropped"
            waiting = f"waiting {edge.depth} of {edge.capacity} (peak {edge.depth_peak})"
            text = f"{edge.name}: {rate(edge.rate_hz)}, {waiting}, {edge.policy}, {gone}"
            lines += [line((f"    {'gets' if i == 0 else '':<15}", Tone.DIM), part)
                      for i, part in enumerate(wrapped(text, width - 20, "  "))]  # fmt: skip
    return lines
