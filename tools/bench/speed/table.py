"""What was measured, as text for people and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.bench.speed.cases import RAW
from tools.bench.speed.peers_file import PeerFigures, Peers, of_line
from tools.bench.speed.runner import FIELDS, Outcome

HEADS = ("p50", "p99", "p99.9", "x raw p50", "x raw p99", "messages/s", "send", "cpu source", "relay", "sink")
NAME_WIDTH = 34


def text(outcome: Outcome, peers: Peers) -> Iterator[str]:
    """The lines of one case; times in µs, processor time per message by the kind of stage."""
    case = outcome.case
    yield ""
    yield f"{case.name}: {case.says}"
    yield f"{'µs':{NAME_WIDTH}}" + "".join(f"{head:>11}" for head in HEADS)
    for line in case.lines:
        for way in outcome.repeats:
            yield f"{line + ', ' + way:{NAME_WIDTH}}" + "".join(f"{cell:>11}" for cell in _cells(outcome, way, line))
        for peer, own in of_line(peers, case.name, line).items():
            yield f"{line + ', ' + peer:{NAME_WIDTH}}" + "".join(f"{cell:>11}" for cell in _peer_cells(own))
    for name, reason in outcome.absent.items():
        yield f"{name}: not measured, {reason}"
    yield from (f"BROKEN {sentence}" for sentence in outcome.broken_sums)


def _cells(outcome: Outcome, way: str, line: str) -> list[str]:
    cells = [_number(outcome.value(way, line, name)) for name in ("p50", "p99", "p999")]
    for name in ("p50", "p99"):
        has_raw = RAW.name in outcome.repeats and way != RAW.name
        cells.append(f"{outcome.ratio(way, line, name, RAW.name):.2f}" if has_raw else "")
    cells.append(f"{outcome.value(way, line, 'rate_hz'):,.0f}")
    for name in ("send_us", "source_cpu_us", "relay_cpu_us", "sink_cpu_us"):
        cells.append(_number(outcome.value(way, line, name)))
    return cells


def _peer_cells(own: PeerFigures) -> list[str]:
    cells = [_number(own.values.get(name, 0.0)) for name in ("p50", "p99", "p999")]
    cells += [f"{own.to_raw[name]:.2f}" if name in own.to_raw else "" for name in ("p50", "p99")]
    return [*cells, f"{own.values['rate_hz']:,.0f}" if "rate_hz" in own.values else ""]


def _number(value: float) -> str:
    return "" if not value else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def plain(outcome: Outcome, peers: Peers) -> dict[str, Any]:
    """For JSON: of each way and line the median of every figure, its ratio to raw, and the repeats themselves."""
    case = outcome.case
    figures = []
    for line in case.lines:
        for way in outcome.repeats:
            found: dict[str, Any] = {name: outcome.value(way, line, name) for name in FIELDS}
            if RAW.name in outcome.repeats and way != RAW.name:
                found |= {f"{name}_to_raw": outcome.ratio(way, line, name, RAW.name) for name in ("p50", "p99")}
            repeats = {name: [getattr(one, name) for one in outcome.each(way, line)] for name in ("p50", "p99")}
            figures.append({"line": line, "way": way} | found | {"repeats": repeats})
        for peer, own in of_line(peers, case.name, line).items():
            ratios = {f"{name}_to_raw": value for name, value in own.to_raw.items()}
            figures.append({"line": line, "way": peer} | dict(own.values) | ratios)
    return {
        "case": case.name,
        "figures": figures,
        "absent": outcome.absent,
        "conserved": outcome.broken_sums or True,
    }
