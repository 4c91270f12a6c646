"""`streamflow status`: how a run is, on one screen: its deadlines, its stages, its edges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from streamflow.cli.options import run_argument
from streamflow.cli.output import columns, ending_quietly, told
from streamflow.core.course import FAILED, KINDS, share_on_time
from streamflow.runtime.inspection import RunState, read_state
from streamflow.runtime.rundir import find_run
from streamflow.runtime.supervision.report import variants_told

Part = Mapping[str, Any]

WORDS = ("state", "device", "not kept", "contract", "missed by", "working on")  # columns to the left
OPTIONAL = ("not kept", "contract", "missed by", "shed", "left out", "device")  # shown where there is something in them
CULPRIT_LIMIT = 3  # of each path; `misses` and --json tell all


@click.command
@run_argument
@click.option("--json", "as_json", is_flag=True, help="For scripts: the state as the run wrote it, age_s and is_live.")
def command(run: str | None, as_json: bool) -> None:
    """Say how RUN is: what of each path was in time, what each stage does, what each edge dropped.

    RUN is a pipeline's name, or a run's folder; by default the newest run, live ones first. A run tells its state
    once a second, at first twice, and never waits for who reads it; of one that was killed it is what it told last.

    Of what an edge delivered a stage has worked on `data`, and `shed` and `left out` (of a join) the rest, if any.
    """
    folder = find_run(run)
    state = read_state(folder)
    with ending_quietly():
        click.echo(as_text(state) if as_json else screen(folder.path.name, state))


def as_text(state: RunState) -> str:
    """The state as JSON, with how old it is."""
    return json.dumps(state.content | {"age_s": round(state.age_s, 3), "is_live": state.is_live}, indent=2)


def screen(run: str, state: RunState) -> str:
    """One screen for people. What a run does not tell, one of another version say, is a dash."""
    content = state.content
    elapsed_s = _number(content.get("elapsed_s")) or 0.0
    phase = str(content.get("phase", "?"))
    if not state.is_live and "ending" not in content:
        phase = f"was {phase}"
    offline = ", offline" if content.get("offline") else ""
    lines = [f"{content.get('pipeline', '?')}  {run}  {told(state)}, {phase}{offline}, {elapsed_s:.1f} s"]
    conserved = content.get("conserved")
    if isinstance(conserved, list):
        lines += [f"NOT CONSERVED: {sentence}" for sentence in conserved]
    lines += _section(
        ["path", "data/s", "in time", "p99 ms", "within", "in flight", "missed", "not kept", "contract", "missed by"],
        _paths(content, elapsed_s),
    )
    head = [
        "stage",
        "state",
        "pid",
        "device",
        "data",
        "shed",
        "left out",
        "p99 ms",
        "busy",
        "depth",
        "restarts",
        "working on",
    ]
    lines += _section(head, _stages(content))
    lines += _section(["edge", "sent", "delivered", "dropped", "lost", "in flight", "peak"], _edges(content))
    works = [f"{line}; now {stage.get('variant', '?')}"
             for name, stage in _parts(content, "stages").items() for line in variants_told(name, stage)]  # fmt: skip
    lines += ["", *works] if works else []
    rates = _parts(content, "rates")
    silent = [f"{name}: SILENT, longest gap {_ms(rate.get('longest_ms'))} ms" for name, rate in rates.items()
              if rate.get("is_silent")]  # fmt: skip
    return "\n".join([*lines, *([""] if silent else []), *silent])


def _section(head: list[str], rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    used = [i for i, name in enumerate(head) if name not in OPTIONAL or any(row[i] not in ("-", "0") for row in rows)]
    return ["", *columns([head[i] for i in used], [[row[i] for i in used] for row in rows], WORDS)]


def _paths(content: Part, elapsed_s: float) -> list[list[str]]:
    rows = []
    for title, path in _parts(content, "paths").items():
        counts = {key: int(_number(path.get(key)) or 0) for key in KINDS}
        share = share_on_time(counts)
        recent = _mapping(_mapping(path.get("recent")).get("10s"))
        mean_hz = counts["produced"] / elapsed_s if elapsed_s > 0 else None
        rate_hz = _number(recent.get("rate_hz")) if recent else mean_hz
        culprits = sorted(_mapping(path.get("culprits")).items(), key=lambda pair: -(_number(pair[1]) or 0))
        firm = _mapping(path.get("firm"))
        failed = [f"{kind} {counts[kind]:,}" for kind in FAILED if counts[kind]]
        blamed = [f"{name}: {_count(count)}" for name, count in culprits[:CULPRIT_LIMIT]]
        if len(culprits) > CULPRIT_LIMIT:
            blamed.append(f"… {len(culprits) - CULPRIT_LIMIT} more")
        within_ms = path.get("within_ms")
        rows.append(
            [
                title,
                "-" if rate_hz is None else f"{rate_hz:.1f}",
                f"{share:.2%}" if within_ms is not None and share is not None else "-",
                _ms(_mapping(path.get("latency_ms")).get("p99")),
                "-" if within_ms is None else f"{within_ms:g}",
                _count(path.get("in_flight")),
                _count(path.get("missed")),
                ", ".join(failed) or "-",
                _contract(firm) if firm else "-",
                ", ".join(blamed) or "-",
            ]
        )
    return rows


def _contract(firm: Part) -> str:
    """As in `9 of 10 BROKEN (level 1), 2 times so far`."""
    terms, breaches = f"{firm.get('m', '?')} of {firm.get('k', '?')}", int(_number(firm.get("breaches")) or 0)
    times = f"{breaches:,} time{'s' if breaches != 1 else ''}"
    if firm.get("state") == "broken":
        level = f" (level {firm['level']})" if firm.get("level") else ""
        return f"{terms} BROKEN{level}, {times} so far"
    return f"{terms} held{f', broken {times} before' if breaches else ''}"


def _stages(content: Part) -> list[list[str]]:
    rows = []
    for name, stage in _parts(content, "stages").items():
        busy, serving_ms = _number(stage.get("busy")), _number(stage.get("in_service_ms"))
        rows.append(
            [
                name,
                str(stage.get("state", "-")),
                str(stage.get("pid") or "-"),
                str(stage.get("device") or "-"),
                _count(stage.get("processed")),
                _count(stage.get("shed")),
                f"{_left_out(stage):,}",
                _ms(_mapping(stage.get("service_ms")).get("p99")),
                "-" if busy is None else f"{busy:.1%}",
                _count(stage.get("depth")),
                _count(stage.get("restarts")),
                "-" if serving_ms is None else f"{serving_ms:.1f} ms",
            ]
        )
    return rows


def _left_out(stage: Part) -> int:
    """What a join did not take in, at all of its inputs, for whatever reason."""
    counts = (count for reasons in _parts(stage, "left_out").values() for count in reasons.values())
    return sum(int(_number(count) or 0) for count in counts)


def _edges(content: Part) -> list[list[str]]:
    rows = []
    for name, edge in _parts(content, "edges").items():
        dropped = " ".join(f"{reason}:{_count(count)}" for reason, count in _mapping(edge.get("dropped")).items())
        figures = [_count(edge.get(key)) for key in ("sent", "delivered", "lost", "in_flight", "depth_peak")]
        rows.append([name, *figures[:2], dropped or "0", *figures[2:]])
    return rows


def _parts(content: Part, key: str) -> dict[str, Part]:
    return {name: part for name, part in _mapping(content.get(key)).items() if isinstance(part, Mapping)}


def _mapping(value: object) -> Part:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: object) -> str:
    number = _number(value)
    return "-" if number is None else f"{number:,}"


def _ms(value: object) -> str:
    number = _number(value)
    return "-" if number is None else f"{number:.2f}"
