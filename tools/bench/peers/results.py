"""From what the scripts printed to figures: each round's own, their medians, and ratios to the yardstick's same round.

A ratio is of two figures taken moments apart and the median of all rounds' ratios, so that what else the machine does
falls on both. The figures themselves are medians of the rounds' quantiles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
LATENCY_KEYS = (*QUANTILES, "cpu_us")

Figures = Mapping[str, float]


class ResultError(ValueError):
    """A script's result cannot be used; its text is the reason, one sentence."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case of one round: `figures` in microseconds or messages per second, and how many messages were lost."""

    version: str
    figures: Figures
    lost_count: int


def parse(output: str) -> Outcome:
    """The last line of what a script of a hop printed, a JSON object with both ends' halves."""
    result = _last_line(output)
    try:
        sent, received, version = result["sent"], result["received"], str(result["version"])
        count, sent_count = int(received["count"]), int(sent["count"])
        latencies_ns = np.array(received["latencies_ns"], np.int64)
        cpu_ns = sent["cpu_ns"] / max(sent_count, 1) + received["cpu_ns"] / max(count, 1)
        span_ns = int(received["span_ns"])
    except (KeyError, TypeError, ValueError) as error:
        raise _no_result(output) from error
    if not count:
        raise ResultError(f"of {sent_count} messages none arrived")
    if len(latencies_ns):
        figures = _quantiles_us(latencies_ns)
    elif span_ns <= 0:
        raise ResultError(f"{count} message arrived where a rate needs two")
    else:
        figures = {"per_s": (count - 1) / span_ns * 1e9}
    return Outcome(version, {**figures, "cpu_us": cpu_ns / 1e3}, max(sent_count - count, 0))


def parse_chain(output: str) -> dict[str, Outcome]:
    """The last line of what a script of a chain printed: an outcome for each signal. One that loses any has failed."""
    result = _last_line(output)
    try:
        cpu_us, version = float(result["cpu_us"]), str(result["version"])
        lines = {line: np.array(each["latencies_ns"], np.int64) for line, each in result["lines"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _no_result(output) from error
    if not lines or not all(map(len, lines.values())):
        raise ResultError("a signal of which no message arrived")
    return {line: Outcome(version, {**_quantiles_us(each), "cpu_us": cpu_us}, 0) for line, each in lines.items()}


def _last_line(output: str) -> Any:
    lines = output.strip().splitlines()
    try:
        return json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError as error:
        raise _no_result(output) from error


def _no_result(output: str) -> ResultError:
    last = output.strip().splitlines()[-1:] or [""]
    return ResultError(f"no result in the last line of its output: {last[0][:120]!r}")


def _quantiles_us(latencies_ns: npt.NDArray[np.int64]) -> dict[str, float]:
    return {name: float(np.quantile(latencies_ns, share)) / 1e3 for name, share in QUANTILES.items()}


@dataclass(slots=True)
class Record:
    """One case of one peer over the rounds, each beside the yardstick's figures of the same round."""

    way: str
    outcomes: list[Outcome] = field(default_factory=list)
    raw: list[Figures] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Medians, ratios to raw where both were measured, messages lost in all, and the way."""
        keys = self.outcomes[0].figures
        figures: dict[str, Any] = {key: median(o.figures[key] for o in self.outcomes) for key in keys}
        pairs = [(o.figures, raw) for o, raw in zip(self.outcomes, self.raw, strict=True) if raw]
        ratios = {key: median(own[key] / raw[key] for own, raw in pairs) for key in keys} if pairs else {}
        lost_count = sum(o.lost_count for o in self.outcomes)
        return {**figures, "way": self.way, "lost": lost_count, "rounds": len(self.outcomes), "ratio_to_raw": ratios}


HEADINGS = ("p50", "p99", "p99.9", "cpu", "way", "to raw: p50", "p99", "cpu", "lost")


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """For people: one line a case, microseconds and ratios to raw; who is absent, and why."""
    lines = [f"{'peer, case':36}{HEADINGS[0]:>9}" + "".join(f"{text:>12}" for text in HEADINGS[1:])]
    for name, result in results.items():
        lines.append(f"{name} {result.get('version', '')}".rstrip())
        lines += [_line(case, figures) for case, figures in result.get("cases", {}).items()]
        lines += [f"  {reason}" for reason in _reasons(result)]
    return "\n".join(lines)


def _reasons(result: Mapping[str, Any]) -> Sequence[str]:
    absent = [f"absent: {result['absent']}"] if "absent" in result else []
    return absent + [f"{case}: not measured, {reason}" for case, reason in result.get("failed", {}).items()]


def _line(case: str, figures: Mapping[str, Any]) -> str:
    ratios = figures["ratio_to_raw"]
    if "per_s" in figures:
        values = [f"{figures['per_s']:,.0f}/s", "", "", f"{figures['cpu_us']:,.1f}", figures["way"]]
        values += [_ratio(ratios, "per_s"), "", _ratio(ratios, "cpu_us")]
    else:
        values = [f"{figures[key]:,.1f}" for key in LATENCY_KEYS]
        values += [figures["way"], *(_ratio(ratios, key) for key in ("p50", "p99", "cpu_us"))]
    first, *others = [*values, str(figures["lost"] or "")]
    return f"  {case:34}{first:>9}" + "".join(f"{value:>12}" for value in others)


def _ratio(ratios: Mapping[str, float], key: str) -> str:
    return f"{ratios[key]:.2f}" if key in ratios else "-"
