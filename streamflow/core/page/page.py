"""A run's report as a page: first whether it went well, then each deadline, then who did what.

From the report alone, as JSON holds it, so that a page can be made at any time, anywhere. The same report gives the
same page. There are no scripts in it, and it asks for nothing from any network.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from streamflow.core.course import FAILED, share_on_time
from streamflow.core.graph import Resolved
from streamflow.core.overflow import Overflow
from streamflow.core.page import plots, tables
from streamflow.core.page.marks import BROKEN, RESTART, Mark, marks
from streamflow.core.page.plots import number
from streamflow.core.page.style import STYLE
from streamflow.core.page.tables import figure
from streamflow.core.portrait import from_values
from streamflow.core.svg import as_svg

Told = Mapping[str, Any]

QUANTILES = (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"), ("max", "max"))
ENDS = (("on-time", "on time"), ("missed", "missed"), ("given-up", "given up or gone"))
LINES = (("p50", "p50"), ("p99", "p99"), ("max", "max"))
MARKS = ((RESTART, "a stage on the way was started again"), (BROKEN, "contract broken"))
DROPPING = (("dropping", "an edge that drops what has no room; the others make the sender wait"),)


def page(report: Told) -> str:
    """The whole document. Raises LookupError, TypeError or ValueError for what is no report of this version."""
    with_bound = {name: path for name, path in report["paths"].items() if path["within_ms"] is not None}
    others = {name: path for name, path in report["paths"].items() if name not in with_bound and path["produced"]}
    resolved = from_values(report["graph"]) if report.get("graph") else None
    parts = [
        _head(report),
        f"<h2>Deadlines</h2>{_deadlines(with_bound)}" if with_bound else "",
        *(_path(name, path, _marks(report, resolved, name, path)) for name, path in with_bound.items()),
        _others(others),
        _part("Recording", tables.recording(report.get("recording"))),
        _part("Rate deadlines", tables.rates(report)),
        _part("Graph", _graph(resolved)),
        _part("Stages", tables.stages(report)),
        _part("Edges", tables.edges(report)),
        _part("Missed deadlines, the latest", tables.misses(report.get("misses", ()))),
        _part(_happened(report.get("events", ())), tables.events(report.get("events", ()))),
        _part("Where", tables.environment(report.get("environment", {}))),
    ]
    title = escape(f"{report['pipeline']}: report of a run")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>\n{STYLE}</style></head>\n<body>\n" + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )  # fmt: skip


def _part(title: str, content: str) -> str:
    return f"<h2>{title}</h2>{content}" if content else ""


def _marks(report: Told, resolved: Resolved | None, name: str, path: Told) -> list[Mark]:
    course = _course(path)
    return marks(report, resolved, name, course["end_s"][-1]) if course.get("end_s") else []


def _happened(events: Sequence[Told]) -> str:
    """A log begins with the start of the run, and what a report has of it is the end."""
    is_whole = not events or events[0].get("event") == "started"
    return "What happened" if is_whole else f"What happened, the last {len(events):,} events"


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    told = "".join(f'<span><i class="{kind}"></i>{escape(name)}</span>' for kind, name in entries)
    return f'<p class="legend">{told}</p>' if told else ""


def _head(report: Told) -> str:
    ending = str(report["ending"])
    lines = [f"<h1>{escape(str(report['pipeline']))}</h1>"]
    kind = "good" if ending == "done" else "warn"
    at = f", at {escape(str(report['at']))}" if report.get("at") else ""
    lines.append(f'<p><b class="{kind}">{escape(ending)}</b> after {number(report["duration_s"])} s{at}</p>')
    if replay := report.get("replay"):
        pace = "offline" if replay["offline"] else f"at {number(replay['speed'])} times its pace"
        what = f"{escape(', '.join(replay['edges']))}, {pace}"
        lines.append(f"<p>A replay of <code>{escape(str(replay['file']))}</code>: {what}</p>")
    if report.get("failure"):
        lines.append(f'<p class="bad"><b>{escape(str(report["failure"]))}</b></p>')
    conserved = report["conserved"]
    if conserved is True:
        lost = sum(part.get("lost", 0) for kind in ("edges", "stages") for part in report[kind].values())
        told = f"; {lost:,} messages were lost on edges and in stages" if lost else ""
        lines.append(f'<p class="good">Every datum is accounted for{told}.</p>')
    else:
        lines += [f'<p class="bad">{escape(str(sentence))}</p>' for sentence in conserved]
    return "".join(lines)


def _deadlines(paths: Told) -> str:
    """A row for each: is it kept."""
    ends = ("met", "missed", "absorbed", *FAILED, "in_flight")
    used = [end for end in ends if end in ("met", "missed") or any(path[end] for path in paths.values())]
    rows = []
    for name, path in paths.items():
        share = share_on_time(path)
        kind = "good" if share is None or share >= 0.999 else "warn" if share >= 0.95 else "bad"
        rows.append(
            [
                f'<a href="#{_anchor(name)}"><b>{escape(name)}</b></a>',
                escape(f"{path.get('source', '?')} → {path.get('sink', '?')}"),
                number(path["within_ms"]),
                f'<b class="{kind}">{_percent(share)}</b>',
                f"{path['produced']:,}",
                *(f"{path[end]:,}" for end in used),
                *(_against(path, key) for key in ("p50", "p99", "max")),
                _contract(path.get("firm")),
            ]
        )
    head = ["deadline", "way", "within, ms", "on time", "produced", *(end.replace("_", " ") for end in used),
            "p50 ms", "p99 ms", "max ms", "contract"]  # fmt: skip
    return tables.table(head, rows, frozenset({0, 1, len(head) - 1}), wide=len(head) - 1)


def _against(path: Told, key: str) -> str:
    latency = path["latency_ms"]
    if not latency or not latency.get("max"):
        return tables.NOTHING
    return f"{number(latency[key])} {plots.against(latency[key], path['within_ms'])}"


def _contract(firm: Told | None) -> str:
    if not firm:
        return tables.NOTHING
    terms = f"{firm['m']} of {firm['k']}"
    if firm["state"] == "broken":
        level = f", level {firm['level']}" if firm["level"] else ""
        return f'{terms} <b class="bad">broken{level}; {_times(firm["breaches"])} in all</b>'
    if firm["breaches"]:
        return f'{terms} <span class="warn">holds; was broken {_times(firm["breaches"])}</span>'
    return f'{terms} <span class="good">held</span>'


def _times(count: int) -> str:
    return f"{count:,} time{'s' if count != 1 else ''}"


def _path(name: str, path: Told, happened: Sequence[Mark]) -> str:
    figures = _plots(path, happened)
    culprits = path.get("culprits") or {}
    if culprits:
        figures.append(figure("missed, by culprit", plots.bars(culprits.items(), "missed")))
    failed = [(kind, path[kind]) for kind in FAILED if path[kind]]
    if failed:
        figures.append(figure("given up or gone", plots.bars(failed, "dropped")))
    then = [(what.replace("_", " "), count) for what, count in path.get("missed_then", {}).items() if count]
    if then:
        figures.append(figure("what became of those that were missed", plots.bars(then, "missed")))
    quantiles = ", ".join(f"{label} {number(path['latency_ms'][key])}" for key, label in QUANTILES
                          if path["latency_ms"].get("max"))  # fmt: skip
    way = escape(f"{path.get('source', '?')} → {path.get('sink', '?')} within {number(path['within_ms'])} ms")
    told = f'<p class="faint">{way}{f"; latency {quantiles} ms" if quantiles else ""}</p>'
    return (f'<section class="path" id="{_anchor(name)}"><h3>{escape(name)}</h3>{told}'
            f'<div class="plots">{"".join(figures)}</div></section>')  # fmt: skip


def _course(path: Told) -> Told:
    return path.get("course") or (path.get("recent") or {}).get("steps") or {}


def _plots(path: Told, happened: Sequence[Mark] = ()) -> list[str]:
    """Latencies, shares and quantiles over the run, as far as there is something to be seen."""
    bound_ms, figures = path["within_ms"], []
    histogram = path.get("histogram") or {}
    if histogram.get("count"):
        figures.append(
            figure("latency", plots.latencies(histogram["le_ms"], histogram["count"], bound_ms))
        )  # fmt: skip
    course = _course(path)
    marked = _legend((kind, told) for kind, told in MARKS if any(mark.kind == kind for mark in happened))
    if course.get("end_s") and any(any(course[key]) for key in ("on_time", "missed", "failed")):
        parts = {"on time": course["on_time"], "missed": course["missed"], "given up": course["failed"]}
        used = [(kind, end) for (kind, end), values in zip(ENDS, parts.values(), strict=True) if any(values)]
        plot = plots.shares(course["end_s"], parts, happened)
        figures.append(figure("what became of them", _legend(used) + plot + marked))
    if course.get("end_s") and any(course["max_ms"]) and histogram:
        lines = {"max": course["max_ms"], "p99": course["p99_ms"], "p50": course["p50_ms"]}
        plot = plots.over_time(course["end_s"], lines, bound_ms, happened)
        figures.append(figure("latency over the run", _legend(LINES) + plot + marked))
    if not histogram:
        figures.append(figure("latency", "<p class='faint'>none: offline, data have a time of their own.</p>"))
    elif not histogram.get("count"):
        figures.append(figure("latency", "<p class='faint'>nothing has arrived at its end.</p>"))
    return figures


def _others(paths: Told) -> str:
    """Ways without a deadline, folded away where there are deadlines to look at."""
    if not paths:
        return ""
    sections = "".join(
        f'<section class="path"><h3>{escape(name)}</h3><p class="faint">{path["produced"]:,} produced, '
        f'{path.get("arrived", 0):,} arrived</p><div class="plots">{"".join(_plots(path))}</div></section>'
        for name, path in paths.items()
    )  # fmt: skip
    return f"<details><summary>Ways without a deadline ({len(paths)})</summary>{sections}</details>"


def _graph(resolved: Resolved | None) -> str:
    """As `streamflow graph --format svg` draws it; a picture, whose style is its own."""
    if resolved is None:
        return ""
    picture = b64encode(as_svg(resolved).encode()).decode()
    source = f"data:image/svg+xml;base64,{picture}"
    drops = any(edge.overflow is not Overflow.BLOCK for edge in resolved.graph.edges)
    return (f'<div class="scroll"><img class="graph" alt="graph of {escape(resolved.graph.name)}" src="{source}"></div>'
            + _legend(DROPPING if drops else ()))  # fmt: skip


def _percent(share: float | None) -> str:
    """Never rounded up to all."""
    return "-" if share is None else "100 %" if share == 1 else f"{min(share, 0.9999) * 100:.2f} %"


def _anchor(name: str) -> str:
    return "path-" + "".join(one if one.isalnum() else "-" for one in name)
