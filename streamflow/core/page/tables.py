"""Tables of a report's page: stages, edges, misses, events, and on what it all took place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from streamflow.core.happenings import tell
from streamflow.core.page.plots import bars, number

Told = Mapping[str, Any]

NOTHING = '<span class="faint">-</span>'


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    text_columns: frozenset[int] = frozenset({0}),
    wide: int | None = None,
) -> str:
    """Of cells that are HTML already; `text_columns` stand at the left, and the text of the `wide` one is wrapped."""
    if not rows:
        return ""
    classes = [
        " ".join([*(["text"] if i in text_columns else []), *(["wide"] if i == wide else [])]) for i in range(len(head))
    ]
    kinds = [f'class="{one}"' if one else "" for one in classes]
    top = "".join(f"<th {kind}>{escape(title)}</th>" for title, kind in zip(head, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td {kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def stages(report: Told) -> str:
    """What each did, how long it took, and whether it was well."""
    told = report["stages"]
    rare = [
        key
        for key in ("shed", "degraded", "rejected", "lost", "restarts")
        if any(one.get(key) for one in told.values())
    ]
    head = ["stage", "node", "process", "device", "data", "out", "absorbed", *rare, "busy", "p50 ms", "p99 ms",
            "p99.9 ms", "max ms", "stalled ms"]  # fmt: skip
    nodes = {stage["name"]: stage["node"] for stage in report.get("graph", {}).get("stages", ())}
    rows = [
        [
            f"<b>{escape(name)}</b>",
            escape(nodes.get(name, "")),
            escape(str(one["process"])),
            escape(one["device"]) if one["device"] else NOTHING,
            *(f"{one[key]:,}" for key in ("processed", "emitted", "absorbed")),
            *(_bad(one.get(key, 0)) for key in rare),
            NOTHING if one["busy"] is None else f"{one['busy']:.1%}",
            *(_ms(one["service_ms"], key) for key in ("p50", "p99", "p999", "max")),
            number(one.get("stalled_ms", 0.0)),
        ]
        for name, one in told.items()
    ]
    return table(head, rows, frozenset({0, 1, 2, 3})) + "".join(_more(name, one) for name, one in told.items())


def figure(caption: str, content: str) -> str:
    """Of HTML, both."""
    return f"<figure><figcaption>{caption}</figcaption>{content}</figure>"


def _more(name: str, stage: Told) -> str:
    """What only some stages have: batches, variants, a device, a join, what the machine answered."""
    parts = []
    sizes = {int(size): count for size, count in stage.get("batch", {}).items()}
    if any(size > 1 for size in sizes):
        rows = [(f"{size} at once", count) for size, count in sorted(sizes.items())]
        waited = f"<p class='faint'>waited for theirs: {_quantiles(stage.get('batch_wait_ms', {}))}</p>"
        parts.append(figure("batches by size", bars(rows, "batches") + waited))
    if stage.get("variants"):
        switches = f"<p class='faint'>{stage.get('variant_switches', 0):,} switches</p>"
        parts.append(figure("data by variant", bars(stage["variants"].items(), "variants") + switches))
    if stage.get("launches"):
        parts.append(figure("tried on its device", _ways(stage)))
    if join := stage.get("join"):
        measured = {"skew of a row": join["skew_ms"], **join["age_ms"]}
        ages = [[escape(port), *(_ms(summary, key) for key in ("p50", "p99", "max"))]
                for port, summary in measured.items()]  # fmt: skip
        parts.append(figure("ages and skew of rows, ms", table(["input", "p50", "p99", "max"], ages)))
    left_out = [
        (f"{port}: {reason.replace('_', ' ')}", count)
        for port, reasons in stage.get("left_out", {}).items()
        for reason, count in reasons.items()
    ]
    if left_out:
        parts.append(figure("left out by the join", bars(left_out, "dropped")))
    silent = [(f"{port} fell silent", count) for port, count in stage.get("silent", {}).items()]
    silent += [(f"{port}: clock set back", count) for port, count in stage.get("clock_steps", {}).items()]
    if silent:
        parts.append(figure("its sensors", bars(silent, "dropped")))
    machine = [
        [escape(str(one[key])) for key in ("knob", "asked", "got")] + ["yes" if one["took_effect"] else _word("no")]
        for one in stage.get("realtime", ())
    ]
    if machine:
        answers = table(["what", "asked", "got", "as asked"], machine, frozenset({0, 1, 2}))
        parts.append(figure("asked of the machine", answers))
    return f'<h3>{escape(name)}</h3><div class="plots">{"".join(parts)}</div>' if parts else ""


def _ways(stage: Told) -> str:
    """How work is given to the device and large tensors get there, for each size of batches."""
    copies = stage.get("copies", {})
    rows = [
        [what, NOTHING if one["rows"] is None else f"{one['rows']:,}", escape(one["way"]), escape(_tried(one))]
        for what, choices in (("work", stage["launches"]), ("copy in", copies.get("ways", ())))
        for one in choices
    ]
    counts = [f"{copies.get(key, 0):,} {key}" for key in ("straight", "staged", "refused") if copies.get(key)]
    told = f"<p class='faint'>large tensors: {', '.join(counts)}</p>" if counts else ""
    return table(["", "rows", "way", "µs"], rows, frozenset({0, 2, 3}), 3) + told


def _tried(choice: Told) -> str:
    """What each way took, or why they were not tried."""
    times = [f"{key.removesuffix('_us')} {value:,.1f}" for key, value in choice.items() if key.endswith("_us")]
    return ", ".join(times) or str(choice.get("reason", ""))


def edges(report: Told) -> str:
    """What was sent, and what became of it, with the reasons for what was dropped."""
    capacities = {edge["name"]: edge["capacity"] for edge in report.get("graph", {}).get("edges", ())}
    rows = [
        [
            f"<b>{escape(name)}</b>",
            *(f"{one[key]:,}" for key in ("sent", "delivered")),
            ", ".join(_word(f"{escape(reason)} {count:,}") for reason, count in one["dropped"].items()) or "0",
            *(_bad(one.get(key, 0)) for key in ("lost", "redone")),
            f"{one['in_flight']:,}",
            f"{one['depth_peak']:,} of {capacities.get(name, '?')}",
        ]
        for name, one in report["edges"].items()
    ]
    head = ["edge", "sent", "delivered", "dropped", "lost", "done again", "in flight", "depth at most"]
    return table(head, rows)


def rates(report: Told) -> str:
    rows = [
        [escape(name), number(one["within_ms"]), _bad(one["gaps"]), number(one["longest_ms"])]
        for name, one in report.get("rates", {}).items()
    ]
    return table(["rate deadline", "gap at most, ms", "times silent", "longest, ms"], rows)


def recording(told: Told | None) -> str:
    """What became of the file that the run was kept in."""
    if not told:
        return ""
    rows = [["file", f"<code>{escape(str(told['file']))}</code>"]]
    if told["size"] is not None:
        rows.append(["size", f"{told['size'] / 1e6:,.1f} MB"])
    if told["kept"] is not None:
        rows.append(["data kept", f"{told['kept']:,} of {told['offered']:,}"])
    rows += [[f"of {escape(output)}", f"{count:,}"] for output, count in told["outputs"].items()]
    if told["not_kept"]:
        reasons = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in told["reasons"].items())
        rows.append(["not kept", _word(f"{told['not_kept']:,}{escape(f': {reasons}' if reasons else '')}")])
    if told["failure"]:
        rows.append(["failed", f'<b class="bad">{escape(told["failure"])}</b>'])
    return table(["", ""], rows, frozenset({0, 1}))


def misses(told: Sequence[Told]) -> str:
    """The latest, with where their time went."""
    rows = [
        [
            escape(_time(one)),
            escape(str(one.get("path", "?"))),
            escape(f"{one.get('stream', '?')}#{one.get('seq', '?')}"),
            _lateness(float(one.get("late_ms") or 0.0)),
            f"<b>{escape(' '.join(str(one[key]) for key in ('culprit', 'stage') if one.get(key)))}</b>",
            escape(str(one.get("timeline") or one.get("sentence") or "")),
        ]
        for one in told
    ]
    head = ["at", "deadline", "datum", "late so far, ms", "culprit", "where its time went, ms"]
    return table(head, rows, frozenset({0, 1, 2, 4, 5}), wide=5)


def events(told: Sequence[Told]) -> str:
    """What happened, with the traceback of an exception in user code."""
    rows = []
    for one in told:
        happening = tell(one)
        sentence = escape(happening.sentence)
        if happening.traceback:
            sentence += f"<details><summary>traceback</summary><pre>{escape(happening.traceback)}</pre></details>"
        rows.append([escape(_time(one)), escape(happening.level.name.lower()), escape(str(one["event"])), sentence])
    return table(["at", "level", "event", ""], rows, frozenset({0, 1, 2, 3}), wide=3)


def environment(told: Told) -> str:
    rows = [
        [escape(key), f"<code>{escape(' '.join(map(str, value)) if isinstance(value, list) else str(value))}</code>"]
        for key, value in told.items()
    ]
    return table(["", ""], rows, frozenset({0, 1}))


def _time(event: Told) -> str:
    """Of the day, in UTC, as the log has it: a page is read anywhere."""
    return str(event.get("at", "?")).partition("T")[2][:12] or "?"


def _lateness(late_ms: float) -> str:
    return number(late_ms) if late_ms >= 0 else f"given up {number(-late_ms)} before"


def _ms(summary: Told, key: str) -> str:
    return number(summary[key]) if summary and summary.get("max") else NOTHING


def _quantiles(summary: Told) -> str:
    return ", ".join(f"{key} {_ms(summary, key)}" for key in ("p50", "p99", "max")) + " ms"


def _bad(count: int) -> str:
    return f'<b class="bad">{count:,}</b>' if count else "0"


def _word(text: str) -> str:
    return f'<b class="warn">{text}</b>'
