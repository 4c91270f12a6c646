"""The view of missed deadlines: whose fault each was, a line that shows where its time went, and all stamps of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from streamflow.core.blame import Culprit
from streamflow.core.verdict import Kind
from tools.monitor.snapshot import Snapshot, Told, number
from tools.monitor.text import Item, Line, Page, Span, Tone, cut_line, fit, line, merged, milliseconds, wrapped

Stamps = Callable[[str, int], Sequence[tuple[str, Any]]]

LETTERS: dict[str, str] = {
    Culprit.SOURCE: "s",
    Culprit.TRANSPORT: "t",
    Culprit.MAILBOX: "m",
    Culprit.BATCH: "b",
    Culprit.SERVICE: "#",
    Culprit.DEVICE: "D",
    Culprit.SINK: "k",
    Culprit.STALL: "!",
    Culprit.RESTART: "R",
    Culprit.DROP: "d",
}
LEGEND = (*(f"{letter} {culprit}," for culprit, letter in LETTERS.items()), "│ deadline,", "- given up")
JOINT = "\u00a0"  # where a line may not be broken
TIME_WIDTH = 12


class MissesView:
    """The lines of each miss are made once: hundreds of them may be new in a second, and thousands are not."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Line, Line]] = {}
        self._widths: tuple[int, int, int] = (0, 0, 0)

    def view(self, snapshot: Snapshot, width: int, wanted: str, opened: str, stamps: Stamps | None) -> Page:
        """`opened`: the key of the miss of which everything is told; `stamps`: what recorders know of a datum."""
        misses = [one for one in snapshot.misses if wanted in _searched(one)] if wanted else snapshot.misses
        missed = snapshot.missed_count
        if not misses:
            told = "no deadline was missed" if not missed else "the log holds none of them any more"
            if snapshot.misses:
                told = f"none of the last {len(snapshot.misses)} misses has {wanted}"
            return Page([line((told, Tone.GOOD if not missed else Tone.DIM))])
        more = f", the last {len(snapshot.misses):,} of them here" if missed > len(snapshot.misses) else ""
        shown = f", {len(misses)} with {wanted}" if wanted else ""
        head = [line((f"{missed:,} missed{more}{shown}", Tone.HEAD))]
        head += [line((text.replace(JOINT, " "), Tone.DIM))
                 for text in wrapped(" ".join(one.replace(" ", JOINT) for one in LEGEND), width)]  # fmt: skip
        path_width = min(max(len(str(one.get("path", "?"))) for one in misses), max(width // 4, 8))
        datum_width = min(max(len(_datum(one)) for one in misses), max(width // 4, 8))
        self._keep_of(snapshot.misses, (width, path_width, datum_width))
        lines: list[Line] = []
        items: list[Item] = []
        for miss in misses:
            key, first = key_of(miss), len(lines)
            lines += self._lines(key, miss)
            if key == opened:
                lines += [cut_line(one, width) for one in _everything(miss, width, stamps)]
            items.append(Item(key, first, len(lines) - 1))
        return Page(lines, items, [cut_line(one, width) for one in head])

    def _keep_of(self, misses: Sequence[Told], widths: tuple[int, int, int]) -> None:
        if widths != self._widths or len(self._known) > 2 * len(misses) + 100:
            self._known.clear()
        self._widths = widths

    def _lines(self, key: str, miss: Told) -> tuple[Line, Line]:
        known = self._known.get(key)
        if known is None:
            width, path_width, datum_width = self._widths
            head = cut_line(_head(miss, path_width, datum_width), width)
            timeline = line(" " * (TIME_WIDTH + 2), *_timeline(miss, width - TIME_WIDTH - 2))
            known = self._known[key] = head, cut_line(timeline, width)
        return known


def key_of(event: Told) -> str:
    return f"{event.get('at_ns')} {event.get('event')} {event.get('path', '')} {event.get('seq', '')}"


def _searched(miss: Told) -> str:
    return " ".join(str(miss.get(key, "")) for key in ("path", "stream", "seq", "culprit", "stage"))


def _datum(miss: Told) -> str:
    return f"{miss.get('stream', '?')}#{miss.get('seq', '?')}"


def _head(miss: Told, path_width: int, datum_width: int) -> Line:
    late = number(miss.get("late_ms"))
    blamed = " ".join(str(miss[key]) for key in ("culprit", "stage") if miss.get(key)) or "?"
    return line(
        (clock_of(miss), Tone.DIM),
        "  ",
        fit(str(miss.get("path", "?")), path_width),
        "  ",
        fit(_datum(miss), datum_width),
        (f" {lateness(late)}".rjust(11), Tone.BAD),
        "  ",
        (blamed, Tone.STRONG),
    )


def lateness(late_ms: float | None) -> str:
    """After the deadline with a plus; with a minus what was given up before it."""
    return milliseconds(late_ms) if late_ms is None or late_ms < 0 else f"+{milliseconds(late_ms)}"


def clock_of(event: Told) -> str:
    """The time of day, here: what logs of other programs say too."""
    try:
        return datetime.fromisoformat(str(event.get("at"))).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return "?".ljust(TIME_WIDTH)


def _timeline(miss: Told, width: int) -> list[Span]:
    """From the event to when the miss was known, each segment as wide as it took; what is to blame stands out."""
    segments = [one for one in miss.get("segments") or () if isinstance(one, dict)]
    total_ns = sum(int(one.get("duration_ns") or 0) for one in segments)
    if not total_ns:
        return [(str(miss.get("sentence") or "(no timeline)"), Tone.DIM)]
    room = max(min(width - 12, 100), 10)
    cells: list[Span] = []
    passed_ns, column = 0, 0
    for one in segments:
        passed_ns += int(one.get("duration_ns") or 0)
        end = round(passed_ns / total_ns * room)
        letter = LETTERS.get(str(one.get("kind")), "?")
        is_culprit = one.get("kind") == miss.get("culprit") and one.get("stage") == miss.get("stage")
        cells += [(letter, Tone.BAD if is_culprit else Tone.PLAIN)] * (end - column)
        column = end
    begin_ns = int(segments[0].get("start_ns") or 0)
    deadline_ns = int(miss.get("deadline_ns") or 0)
    mark = round((deadline_ns - begin_ns) / total_ns * room)
    if 0 <= mark < len(cells):
        cells[mark] = ("│", Tone.STRONG)
    return [*merged(tuple(cells)), (f"  {milliseconds(total_ns / 1e6)}", Tone.DIM)]


def _everything(miss: Told, width: int, stamps: Stamps | None) -> list[Line]:
    lines = [line(("    " if i == 0 else "      ", Tone.PLAIN), text)
             for i, text in enumerate(wrapped(str(miss.get("sentence", "")), width - 6))]  # fmt: skip
    begin_ns = int(miss.get("event_time_ns") or 0)
    lines.append(line((f"    {'at':>10} {'took':>10} {'budget':>10}  segment", Tone.HEAD)))
    for one in miss.get("segments") or ():
        start_ns, took_ns, budget_ns = (int(one.get(key) or 0) for key in ("start_ns", "duration_ns", "budget_ns"))
        is_over = bool(budget_ns) and took_ns > budget_ns
        lines.append(
            line(
                f"    {milliseconds((start_ns - begin_ns) / 1e6):>10}",
                (f" {milliseconds(took_ns / 1e6):>10}", Tone.BAD if is_over else Tone.PLAIN),
                (f" {milliseconds(budget_ns / 1e6) if budget_ns else '-':>10}", Tone.DIM),
                f"  {one.get('kind')} {one.get('stage')}",
                (f"  {one['detail']}" if one.get("detail") else "", Tone.DIM),
            )
        )
    found = stamps(str(miss.get("stream")), int(miss.get("seq") or 0)) if stamps is not None else ()
    if found:
        titles = "".join(f" {title:>10}" for title in ("sent", "enqueued", "started", "ended"))
        lines.append(line((f"   {titles}  stamps, after the event", Tone.HEAD)))
    for stage, record in found:
        cells = [milliseconds((ns - begin_ns) / 1e6) if ns else "-"
                 for ns in (record.sent_ns, record.enqueued_ns, record.started_ns, record.ended_ns)]  # fmt: skip
        figures = "".join(f" {cell:>10}" for cell in cells)
        lines.append(line(f"   {figures}  {stage}", (f"  {_kind(record)}", Tone.DIM)))
    return lines


def _kind(record: Any) -> str:
    try:
        return Kind(record.kind).name.lower()
    except ValueError:
        return "?"
