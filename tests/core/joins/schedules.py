"""Data that arrive at a join in some order, drawn by Hypothesis."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from streamflow.core.joins.contract import OnMissing
from tools.claims.join_runs import Arrival, Datum, Outcome, run

__all__ = [
    "NAMES",
    "Arrival",
    "Datum",
    "Outcome",
    "bounds",
    "clocked",
    "disorderly_schedules",
    "run",
    "schedules",
]

NAMES = ("a", "b", "c")


@st.composite
def schedules(draw: st.DrawFn, *, names: Sequence[str] = NAMES, jitter: int = 6) -> list[Arrival]:
    """Each input at its own pace and in order, with jitter, losses and twins; one may come before another."""
    arrivals = []
    for name in names:
        time_ns, at_ns = draw(st.integers(0, 20)), 0
        for number in range(draw(st.integers(0, 12))):
            time_ns += draw(st.integers(0, 2 * jitter))
            at_ns = max(at_ns, time_ns + draw(st.integers(0, jitter)))
            arrivals.append(Arrival(at_ns, Datum(name, time_ns, number)))
    order = draw(st.permutations(range(len(names))))
    return sorted(arrivals, key=lambda arrival: (arrival.at_ns, order[names.index(arrival.datum.input)]))


@st.composite
def disorderly_schedules(draw: st.DrawFn, *, names: Sequence[str] = NAMES) -> list[Arrival]:
    """Any event times in any order: clocks that are set forward and back, twins, silence."""
    count = draw(st.integers(0, 30))
    at_ns = 0
    arrivals = []
    for number in range(count):
        at_ns += draw(st.integers(0, 20))
        arrivals.append(Arrival(at_ns, Datum(draw(st.sampled_from(names)), draw(st.integers(0, 200)), number)))
    return arrivals


def bounds() -> st.SearchStrategy[dict[str, object]]:
    """What all joins have in common, drawn."""
    duration = st.none() | st.integers(1, 40)
    return st.fixed_dictionaries(
        {
            "max_wait": duration,
            "max_skew": duration,
            "max_age": duration,
            "on_missing": st.sampled_from([OnMissing.SKIP, OnMissing.PARTIAL, OnMissing.HOLD]),
            "queue_size": st.integers(2, 30),
        }
    )


def clocked() -> st.SearchStrategy[dict[str, object]]:
    """And for joins that take them, how data are put in order and who is silent."""
    return st.fixed_dictionaries({"disorder": st.integers(0, 15), "idle_timeout": st.none() | st.integers(1, 60)})
