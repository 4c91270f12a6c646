"""The report's table, for people; its keys are made in `runtime.state`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamflow.core.joins.contract import Reason


def table(report: Mapping[str, Any]) -> str:
    """The report as a few aligned tables: stages, edges, and from each source to each sink."""
    lines = [f"{report['pipeline']}: {report['duration_s']:.1f} s, {_verdict(report)}"]
    stages = report["stages"]
    rare = [
        what
        for what in ("shed", "rejected", "left_out", "lost", "restarts")
        if any(_total(stage[what]) for stage in stages.values())
    ]
    has_batches = any(_mean_batch(stage["batch"]) > 1 for stage in stages.values())
    rows = [
        [
            name,
            f"{stage['processed']:,}",
            f"{stage['emitted']:,}",
            f"{stage['absorbed']:,}",
            *(f"{_total(stage[what]):,}" for what in rare),
            *([f"{_mean_batch(stage['batch']):.1f}"] if has_batches else []),
            "-" if stage["busy"] is None else f"{stage['busy']:.1%}",
            *(_ms(stage["service_ms"], key) for key in ("p50", "p99", "max")),
        ]
        for name, stage in stages.items()
    ]
    lines += _aligned(
        [
            "stage",
            "data",
            "out",
            "absorbed",
            *(what.replace("_", " ") for what in rare),
            *(["batch"] if has_batches else []),
            "busy",
            "p50 ms",
            "p99 ms",
            "max ms",
        ],
        rows,
    )
    rare = ["lost"] if any(edge["lost"] for edge in report["edges"].values()) else []
    edges = [
        [
            name,
            f"{edge['sent']:,}",
            f"{edge['delivered']:,}",
            " ".join(f"{reason}:{count:,}" for reason, count in edge["dropped"].items()) or "0",
            *(f"{edge[what]:,}" for what in rare),
            f"{edge['in_flight']:,}",
            str(edge["depth_peak"]),
        ]
        for name, edge in report["edges"].items()
    ]
    lines += _aligned(["edge", "sent", "delivered", "dropped", *rare, "in flight", "peak"], edges)
    ways = [[name, edge["on_device"]] for name, edge in report["edges"].items() if edge.get("on_device")]
    lines += _aligned(["edge", "on the device"], ways)
    lines += _paths(report["paths"])
    lines += _culprits(report["paths"])
    lines += _promises(report)
    lines += _effects(stages)
    rest = [line for name, stage in stages.items() for line in (*_join(name, stage), *variants_told(name, stage))]
    return "\n".join([*lines, *([""] if rest else []), *rest])


def variants_told(name: str, stage: Mapping[str, Any]) -> list[str]:
    """How much each variant of a stage has done, and how often it went over to another."""
    if not stage.get("variants"):
        return []
    switches = stage.get("variant_switches", 0)
    return [f"{name}: {_each(stage['variants'])}; {switches:,} switch{'es' if switches != 1 else ''}"]


def _mean_batch(sizes: Mapping[str, int]) -> float:
    """Data that were worked on at once; 0 of a stage that has not begun."""
    count = sum(sizes.values())
    return sum(int(size) * each for size, each in sizes.items()) / count if count else 0.0


def _join(name: str, stage: Mapping[str, Any]) -> list[str]:
    """What a join left out, why, and which of its inputs fell silent or had a clock that was set back."""
    left_out = [f"{port} {_each(reasons)}" for port, reasons in stage["left_out"].items()]
    lines = []
    if left_out:
        nothing = "nothing matched; " if not stage["processed"] else ""
        lines.append(f"{name}: {nothing}left out: {'; '.join(left_out)}")
    if stage["silent"]:
        lines.append(f"{name}: fell silent, so that nobody waited for it: {_each(stage['silent'])}")
    if stage["clock_steps"]:
        lines.append(f"{name}: its clock was set back: {_each(stage['clock_steps'])}")
    return lines


def _paths(paths: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Deadlines with what became of every datum; ways without one with their latency."""
    ends = ("met", "missed", "absorbed", "shed", "dropped", "rejected", "lost", "in_flight")
    shown = {name: path for name, path in paths.items() if path["within_ms"] is not None}
    used = [end for end in ends if end in ("met", "missed") or any(path[end] for path in shown.values())]
    rows = [
        [
            name,
            f"{path['within_ms']:g}",
            f"{path['produced']:,}",
            *(f"{path[end]:,}" for end in used),
            *(_ms(path["latency_ms"], key) for key in ("p50", "p99", "max")),
        ]
        for name, path in shown.items()
    ]
    lines = _aligned(
        ["deadline", "ms", "produced", *(end.replace("_", " ") for end in used), "p50 ms", "p99 ms", "max ms"], rows
    )
    rest = [
        [
            name,
            f"{path['produced']:,}",
            f"{path['arrived']:,}",
            *(_ms(path["latency_ms"], key) for key in ("p50", "p99", "p999", "max")),
        ]
        for name, path in paths.items()
        if name not in shown and path["arrived"]
    ]
    return lines + _aligned(["source->sink", "produced", "arrived", "p50 ms", "p99 ms", "p99.9 ms", "max ms"], rest)


def _culprits(paths: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [
        [name, culprit, f"{count:,}"] for name, path in paths.items() for culprit, count in path["culprits"].items()
    ]
    return _aligned(["missed on", "culprit", "times"], rows)


def _promises(report: Mapping[str, Any]) -> list[str]:
    """What a table of counts does not say: what became of data after they had missed, contracts, silent inputs."""
    lines = []
    for name, path in report["paths"].items():
        then = {what: count for what, count in path["missed_then"].items() if count}
        if then:
            lines.append(f"deadline {name}: of {path['missed']:,} missed, {_each(then)} in the end")
        firm = path["firm"]
        if firm is not None and firm["breaches"]:
            state = "is broken" if firm["state"] == "broken" else "holds again"
            contract = f"{firm['m']} of any {firm['k']} on time"
            lines.append(f"deadline {name}: contract ({contract}) broken {firm['breaches']:,} times; it {state}")
    for name, rate in report["rates"].items():
        if rate["gaps"]:
            lines.append(f"deadline {name}: silent {rate['gaps']:,} times, {rate['longest_ms']:.0f} ms at most")
    return ["", *lines] if lines else []


def _effects(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What stages had of the machine because they asked for it."""
    rows = [
        [name, effect["knob"], effect["asked"], effect["got"], "yes" if effect["took_effect"] else "no"]
        for name, stage in stages.items()
        for effect in stage["realtime"]
    ]
    return _aligned(["real time", "what", "asked", "got", "as asked"], rows)


def _total(count: int | Mapping[str, Mapping[str, int]]) -> int:
    """Of what a join left out, without that which no row needed."""
    if isinstance(count, int):
        return count
    return sum(n for reasons in count.values() for reason, n in reasons.items() if reason != Reason.PASSED_OVER.value)


def _each(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())


def _verdict(report: Mapping[str, Any]) -> str:
    conserved = report["conserved"]
    lost = sum(part["lost"] for kind in ("edges", "stages") for part in report[kind].values())
    accounted = f"every datum accounted for{f'; {lost:,} messages lost on edges and in stages' if lost else ''}"
    sums = accounted if conserved is True else "; ".join(conserved)
    if report["ending"] == "done":
        return sums if conserved is True else f"NOT CONSERVED: {sums}"
    return f"{report['ending']}, {sums}"


def _ms(summary: Mapping[str, float], key: str) -> str:
    return f"{summary[key]:.3f}" if summary and summary["max"] else "-"


def _aligned(head: list[str], rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    out = [""]
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        out.append("  ".join(cells).rstrip())
    return out
