"""Where a saturated relay's processor time goes: shares from the profile of one, of what an unprofiled one used.

A profiler makes small functions dearer than they are, so its shares are rough: they are scaled to what the stage's own
thread used without it. What the process used beyond that thread is ZeroMQ's. *Not taken*: the profiler on the thread's
own clock, which would leave out what is waited for, and costs more than most functions do.
"""

from __future__ import annotations

import cProfile
import json
import pstats
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.bench.speed.programme import WARM_COUNT, Noted, Origin, Phase, Programme
from tools.claims.command import a_run
from tools.claims.framework import ROOT

MESSAGE_COUNT = 6000
PIPELINE = "tools.bench.speed.pipeline"
PROFILE = "profile.json"
OTHER_THREADS = "ZeroMQ's own threads"
LINK = "link, and ZeroMQ's calls"
WAKE = "wait and wake (trio)"
REST = "else"
# By the first part that the path of a function's file has; "~" is what is written in C.
GROUPS = {
    "tools/bench/speed": "the node itself",
    "streamflow/wire/data.py": "encode and decode",
    "streamflow/wire/arrays.py": "encode and decode",
    "streamflow/wire/session.py": "credits and session",
    "streamflow/core/inbox": "credits and session",
    "streamflow/core/outbox": "credits and session",
    "streamflow/core/": "decide",
    "streamflow/runtime/stage/enforcer": "decide",
    "streamflow/runtime/accounts/logbook": "record",
    "streamflow/runtime/accounts/edge_traces": "record",
    "streamflow/runtime/tracing": "record",
    "streamflow/recorder": "record",
    "streamflow/transport": LINK,
    "zmq/": LINK,
    "streamflow/": "dispatch",
    "trio/": WAKE,
    "outcome/": WAKE,
}


class Profiled:
    """A profiler of the process it is in, from the first message that counts to the last one."""

    def __init__(self, programme: Programme) -> None:
        ((self._first, self._last),) = programme.spans()
        self._profiler = cProfile.Profile()

    def note(self, number: int) -> None:
        if number == self._first:
            self._profiler.enable()
        elif number == self._last:
            self._profiler.disable()

    def save(self, folder: Path) -> None:
        """The µs of each group, per message."""
        spent: Counter[str] = Counter()
        found = pstats.Stats(self._profiler)
        for (path, _, function), (_, _, own_s, _, _) in found.stats.items():  # type: ignore[attr-defined]
            if "poll" not in function:  # there it waits
                spent[_group(path)] += own_s
        count = self._last - self._first
        (folder / PROFILE).write_text(json.dumps({name: own_s * 1e6 / count for name, own_s in spent.items()}))


def _group(path: str) -> str:
    if path == "~":
        return "built-in functions"
    path = path.removeprefix(f"{ROOT}/")
    return next((name for part, name in GROUPS.items() if part in path), REST)


def measure() -> dict[str, float]:
    """µs of processor time per 4 KiB message in the middle of three stages, by what it went into, most first."""
    programme = Programme((Phase(4096, 0.0, WARM_COUNT + MESSAGE_COUNT, Origin.FRESH),))
    settings = {"folder": "{}", "programme": programme, "hops": 2, "capacity": 256}
    with a_run(PIPELINE, (), settings) as run:
        run.succeed()
        plain = Noted.load(run.folder, "relay1")
    with a_run(PIPELINE, (), settings | {"is_profiled": True}) as run:
        run.succeed()
        profiled: Mapping[str, float] = json.loads((run.folder / PROFILE).read_text())
    own_us = plain.thread_cpu_us[0]
    scale = own_us / sum(profiled.values())
    spent = {name: value * scale for name, value in profiled.items()}
    spent[OTHER_THREADS] = plain.cpu_us[0] - own_us
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


def text(spent: Mapping[str, float]) -> Iterator[str]:
    """Lines of a table."""
    yield f"where a saturated relay's {sum(spent.values()):.1f} µs of processor time per message go (roughly):"
    for name, value in spent.items():
        yield f"  {name:34}{value:8.1f}"
