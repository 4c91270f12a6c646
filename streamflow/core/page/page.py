"""A run's report as a page: first whether it went well, then each deadline, then who did what.

From the report alone, as JSON holds it, so that a page can be made at any time, anywhere. The same report gives the
same page. There are no scripts in it, and it asks for nothing from any network.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from typing import Any

from streamflow.core.course import FAILED, share_on_time
from streamflow.core.page import plots, tables
from streamflow.core.page.plots import number
from streamflow.core.page.style import STYLE
from streamflow.core.page.tables import figure
from streamflow.core.portrait import from_values
from streamflow.core.svg import as_svg

Told = Mapping[str, Any]

QUANTILES = (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"), ("max", "max"))
LEGEND = (
    '<i class="on-time"></i>on time<i class="missed"></i>missed<i class="given-up"></i>shed, dropped, rejected, lost'
)
LINES = '<i class="p50"></i>p50<i class="p99"></i>p99<i class="max"></i>max'


def page(report: Told) -> str:
    """The whole document. Raises LookupError, TypeError or ValueError for what is no report of this version."""
    with_bound = {name: path for name, path in report["paths"].items() if path["within_ms"] is not None}
    others = {name: path for name, path in report["paths"].items() if name not in with_bound and path["produced"]}
    parts = [
        _head(report),
        f"<h2>Deadlines</h2>{_deadlines(with_bound)}" if with_bound else "",
        *(_path(name, path) for name, path in with_bound.items()),
        _others(others),
        _part("Recording", tables.recording(report.get("recording"))),
        _part("Rate deadlines", tables.rates(report)),
        _part("Graph", _graph(report)),
        _part("Stages", tables.stages(report)),
        _part("Edges", tables.edges(report)),
        _part("Missed deadlines, the latest", tables.misses(report.get("misses", ()))),
        _part("What happened", tables.events(report.get("events", ()))),
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
    return tables.table(head, rows, frozenset({0, 1, len(head) - 1}))


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
        return f'{terms} <b class="bad">broken, level {firm["level"]}</b>'
    if firm["breaches"]:
        return f'{terms} <span class="warn">holds; was broken {firm["breaches"]:,} times</span>'
    return f'{terms} <span class="good">held</span>'


def _path(name: str, path: Told) -> str:
    figures = _plots(path)
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


def _plots(path: Told) -> list[str]:
    """Latencies, shares and quantiles over the run, as far as there is something to be seen."""
    bound_ms, figures = path["within_ms"], []
    histogram = path.get("histogram") or {}
    if histogram.get("count"):
        figures.append(
            figure("latency", plots.latencies(histogram["le_ms"], histogram["count"], bound_ms))
        )  # fmt: skip
    course = path.get("course") or (path.get("recent") or {}).get("steps") or {}
    if course.get("end_s") and any(any(course[key]) for key in ("on_time", "missed", "failed")):
        parts = {"on time": course["on_time"], "missed": course["missed"], "given up": course["failed"]}
        caption = f'what became of them <small class="legend">{LEGEND}</small>'
        figures.append(figure(caption, plots.shares(course["end_s"], parts)))
    if course.get("end_s") and any(course["max_ms"]) and histogram:
        lines = {"max": course["max_ms"], "p99": course["p99_ms"], "p50": course["p50_ms"]}
        caption = f'latency over the run <small class="legend">{LINES}</small>'
        figures.append(figure(caption, plots.over_time(course["end_s"], lines, bound_ms)))
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


def _graph(report: Told) -> str:
    """As `streamflow graph --format svg` draws it; a picture, whose style is its own."""
    if not report.get("graph"):
        return ""
    picture = b64encode(as_svg(from_values(report["graph"])).encode()).decode()
    name = escape(str(report["pipeline"]))
    source = f"data:image/svg+xml;base64,{picture}"
    return f'<div class="scroll"><img class="graph" alt="graph of {name}" src="{source}"></div>'


def _percent(share: float | None) -> str:
    """Never rounded up to all."""
    return "-" if share is None else "100 %" if share == 1 else f"{min(share, 0.9999) * 100:.2f} %"


def _anchor(name: str) -> str:
    return "path-" + "".join(one if one.isalnum() else "-" for one in name)
