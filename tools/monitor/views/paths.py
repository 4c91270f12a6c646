"""The view of deadlines: how fast, how late, how often in time, under which contract, and whose fault the misses."""

from __future__ import annotations

from streamflow.core.course import FAILED
from tools.monitor.snapshot import Path, Snapshot, number
from tools.monitor.text import (
    Item,
    Line,
    Page,
    Span,
    Tone,
    against,
    cut_line,
    each,
    line,
    line_width,
    milliseconds,
    percent,
    rate,
    sparkline,
    wrapped,
)

QUANTILES = (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"))
MARGIN = "  "
SPARK_LABEL = "60 s "


def view(snapshot: Snapshot, width: int, wanted: str) -> Page:
    lines: list[Line] = []
    items: list[Item] = []
    shown = [path for path in snapshot.paths if wanted in _searched(path)]
    for path in [one for one in shown if one.within_ms is not None]:
        block = _deadline(path, width)
        items.append(Item(path.name, len(lines), len(lines) + len(block) - 1))
        lines += [*block, ()]
    rest = [one for one in shown if one.within_ms is None]
    if rest:
        title = "ways without a deadline" if items else "no deadline is declared; ways from source to sink"
        lines.append(line((title, Tone.DIM)))
    for path in rest:
        block = _way(path, width, is_offline=snapshot.is_offline)
        items.append(Item(path.name, len(lines), len(lines) + len(block) - 1))
        lines += block
    if not snapshot.paths:
        lines.append(line(("the run has told nothing of its paths yet", Tone.DIM)))
    elif not shown:
        lines.append(line((f"no path has {wanted} in its name, its stages or its culprits", Tone.DIM)))
    return Page([cut_line(one, width) for one in lines], items)


def _searched(path: Path) -> str:
    return "\n".join((path.name, path.source, path.sink, *path.stages, *path.culprits))


def _deadline(path: Path, width: int) -> list[Line]:
    assert path.within_ms is not None
    head = line(
        (path.name, Tone.STRONG),
        f"  {path.source} → {path.sink}  within {milliseconds(path.within_ms)}",
        (f"  {path.on_miss}" if path.on_miss else "", Tone.DIM),
    )
    contract = line(*_contract(path))
    shares = [("in time", Tone.DIM)]
    for label, share in (("10 s", path.share_10s), ("1 min", path.share_60s), ("all", path.share)):
        shares += [(f"  {label} ", Tone.DIM), (percent(share), _share_tone(share))]
    in_flight = (f"  in flight {path.counts['in_flight']}", Tone.DIM)
    figures = line(MARGIN, rate(path.rate_hz).rjust(7), "  ", *shares, in_flight)
    is_roomy = line_width((*head, *contract)) <= width
    lines = [line(*head, *contract), figures] if is_roomy else [head, contract, figures]
    span = "10 s" if path.is_recent else "all"
    bar_width = max(width - len(MARGIN) - 16 - len(span) - 4, 16)
    for row, (key, label) in enumerate(QUANTILES):
        value = path.latency_ms.get(key)
        if value is None:
            absorbed = path.counts["absorbed"]
            told = f"no result has arrived{f', {absorbed:,} were absorbed on the way' if absorbed else ''}"
            lines.append(line(MARGIN, (told, Tone.DIM)))
            break
        aside = f"  {span}" if row == 0 else ""
        tone = Tone.BAD if value > path.within_ms else Tone.PLAIN
        filled = against(value, path.within_ms, bar_width)
        figure = (milliseconds(value).rjust(8), tone)
        lines.append(line(MARGIN, (f"{label:<6}", Tone.DIM), *filled, figure, (aside, Tone.DIM)))
    lines += _minute(path, width)
    failed = each((kind, path.counts[kind]) for kind in FAILED)
    if path.counts["missed"] or failed:
        culprits = each(sorted(path.culprits.items(), key=lambda one: -one[1]))
        told = f"missed {path.counts['missed']:,}{f': {culprits}' if culprits else ''}{f'; {failed}' if failed else ''}"
        lines += [line(MARGIN, (text, Tone.BAD if path.counts["missed"] else Tone.WARN))
                  for text in wrapped(told, width - len(MARGIN), MARGIN)]  # fmt: skip
    return lines


def _minute(path: Path, width: int) -> list[Line]:
    """Second by second: how late 99 % were at most, and below it where something was not kept."""
    if not path.p99_ms or path.within_ms is None:
        return []
    count = min(len(path.p99_ms), width - len(MARGIN) - len(SPARK_LABEL) - 1)
    values, unkept = path.p99_ms[-count:], path.unkept[-count:]
    lines = [line(MARGIN, (SPARK_LABEL, Tone.DIM), (sparkline(values, path.within_ms), Tone.LIVE),
                  ("▏p99, full height is the bound", Tone.DIM))]  # fmt: skip
    if any(unkept):
        marks = "".join("!" if count else " " for count in unkept)
        lines.append(line(" " * (len(MARGIN) + len(SPARK_LABEL)), (marks, Tone.BAD), ("▏not kept", Tone.DIM)))
    return lines


def _contract(path: Path) -> list[Span]:
    firm = path.firm
    if firm is None:
        return []
    terms = f"  {firm.get('m')} of {firm.get('k')} "
    level, breaches = int(number(firm.get("level")) or 0), int(number(firm.get("breaches")) or 0)
    times = f"{breaches:,} time{'s' if breaches != 1 else ''}"
    if firm.get("state") == "broken":
        step = f" (level {level})" if level else ""
        return [(terms, Tone.DIM), (f"BROKEN{step}, {times} so far", Tone.BAD)]
    before = f", broken {times} before" if breaches else ""
    return [(terms, Tone.DIM), (f"held{before}", Tone.WARN if breaches else Tone.GOOD)]


def _share_tone(share: float | None) -> Tone:
    if share is None:
        return Tone.DIM
    return Tone.GOOD if share >= 0.999 else Tone.WARN if share >= 0.95 else Tone.BAD


def _way(path: Path, width: int, *, is_offline: bool) -> list[Line]:
    latency = path.latency_ms
    told = "  ".join(f"{label} {milliseconds(latency.get(key))}" for key, label in QUANTILES if key in latency)
    if is_offline:
        told = "offline: no latency is told"
    in_flight = (f"  in flight {path.counts['in_flight']}", Tone.DIM)
    head = line((path.name, Tone.STRONG), f"  {rate(path.rate_hz)}  ", told, in_flight)
    failed = each((kind, path.counts[kind]) for kind in FAILED)
    aside = line(MARGIN, (failed, Tone.WARN))
    if not failed:
        return [head]
    joined = (*head, *aside)
    return [joined] if line_width(joined) <= width else [head, aside]
