"""What a stage asks of the machine so that it works without jitter, and what of that holds; asks nothing itself.

All of it is optional, and what this user may not have is refused by the kernel, told, and done without: a stage that
is slower on one machine than on another is still a stage. Only what no machine could give is a fault of the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from streamflow.core.timebase import s, us
from streamflow.errors import Fault

Policy = Literal["fifo", "rr"]
Collects = Literal["always", "in_slack"]
CPUS, THREADS, PRIORITY, LOCKED_MEMORY = "cpus", "threads", "priority", "locked memory"
SWITCH_INTERVAL, TIMER_SLACK, COLLECTION = "switch interval", "timer slack", "collection"
PRIORITY_MIN, PRIORITY_MAX = 1, 99  # of SCHED_FIFO and SCHED_RR on Linux, sched(7)
SWITCH_INTERVAL_MIN = us  # the interpreter keeps whole microseconds
DURATION_MAX = s  # a longer interval or slack is a unit mistaken


@dataclass(frozen=True, slots=True)
class RealTime:
    """What a stage's process is to have; what is left out stays as it is.

    Stages that share a process share it: it gets all the cpus that any of them asks for, the highest priority, the
    most threads, the shortest intervals.
    """

    cpus: Collection[int] | None = None
    """Processors that it may run on, by the numbers that Linux gives them."""
    priority: int | None = None
    """1 to 99: all its threads come before whatever is not real time, and whatever has a lower one, until they wait.
    From 2 on that is so for the supervisor too, which has 1. Threads and programs started after `open` have it not."""
    policy: Policy = "fifo"
    """"rr": threads of one priority take turns on a processor."""
    lock_memory: bool = False
    """What it has touched is never paged out."""
    collects: Collects = "always"
    """"in_slack": the garbage collector runs while nothing waits, or when it must. Either way it no longer looks at
    what was there when the stage was ready."""
    threads: int | None = None
    """In which BLAS, OpenMP and ONNX Runtime compute; as many as it has cpus, where `cpus` is set."""
    switch_interval: int | None = None
    """In ns: for so long a thread of Python may compute while another waits for its turn; 5 ms by default."""
    timer_slack: int | None = None
    """In ns: so late may the kernel wake `time.sleep` and the like, to wake others with it; 50 us by default."""

    def __post_init__(self) -> None:
        if isinstance(self.cpus, set | list | tuple | range):
            object.__setattr__(self, "cpus", frozenset(self.cpus))

    @property
    def thread_count(self) -> int | None:
        """In how many threads its libraries compute; None leaves that to them."""
        return self.threads if self.threads is not None or self.cpus is None else len(self.cpus)


def wishes(settings: RealTime) -> dict[str, str]:
    """What is asked for, for people, by the name of the thing; that of collection always is."""
    found = {}
    if settings.cpus is not None:
        found[CPUS] = cpu_list(settings.cpus)
    if settings.thread_count is not None:
        found[THREADS] = f"{settings.thread_count}"
    if settings.priority is not None:
        found[PRIORITY] = f"SCHED_{settings.policy.upper()} {settings.priority}"
    if settings.lock_memory:
        found[LOCKED_MEMORY] = "all"
    if settings.switch_interval is not None:
        found[SWITCH_INTERVAL] = f"{settings.switch_interval / us:g} us"
    if settings.timer_slack is not None:
        found[TIMER_SLACK] = f"{settings.timer_slack / us:g} us"
    return found | {COLLECTION: settings.collects.replace("_", " ")}


def faults(subject: str, settings: object, cpu_count: int) -> list[Fault]:
    """What of it no machine could give, or not this one, which has cpus 0 to `cpu_count` - 1."""
    if not isinstance(settings, RealTime):
        return [Fault(subject, f"realtime {settings!r}", "a RealTime", "realtime=RealTime(cpus={1}, priority=20)")]
    found = [*_cpu_faults(subject, settings.cpus, cpu_count)]

    def require(what: str, value: object, *, is_well: bool, expected: str) -> None:
        if not is_well:
            found.append(Fault(subject, f"realtime {what} {value!r}", expected))

    highest = f"{PRIORITY_MIN} to {PRIORITY_MAX}, or None"
    is_priority = _is_within(settings.priority, PRIORITY_MIN, PRIORITY_MAX)
    require("priority", settings.priority, is_well=is_priority, expected=highest)
    for what, choices in (("policy", get_args(Policy)), ("collects", get_args(Collects))):
        value = getattr(settings, what)
        require(what, value, is_well=value in choices, expected=" or ".join(f'"{choice}"' for choice in choices))
    is_bool = isinstance(settings.lock_memory, bool)
    require("lock_memory", settings.lock_memory, is_well=is_bool, expected="True or False")
    are_threads = _is_within(settings.threads, 1, None)
    require("threads", settings.threads, is_well=are_threads, expected="a whole number, at least 1, or None")
    for what, least, example in (("switch_interval", SWITCH_INTERVAL_MIN, "500 * us"), ("timer_slack", 1, "1 * us")):
        value = getattr(settings, what)
        expected = f"whole nanoseconds, {least:,} to {DURATION_MAX:,}, as in {what}={example}"
        require(what, value, is_well=_is_within(value, least, DURATION_MAX), expected=expected)
    return found


def _cpu_faults(subject: str, cpus: object, cpu_count: int) -> list[Fault]:
    if cpus is None:
        return []
    present = f"some of cpus {cpu_list(range(cpu_count))}, which this machine has"
    if not isinstance(cpus, frozenset) or not all(type(cpu) is int for cpu in cpus):
        return [Fault(subject, f"realtime cpus {cpus!r}", "a set of numbers", "cpus={1}")]
    strange = sorted(cpu for cpu in cpus if not 0 <= cpu < cpu_count)
    if strange or not cpus:
        return [Fault(subject, f"realtime cpus {', '.join(map(str, strange)) or 'without any'}", present)]
    return []


def _is_within(value: object, least: int, most: int | None) -> bool:
    return value is None or (type(value) is int and value >= least and (most is None or value <= most))


def merged(asked: Iterable[RealTime | None]) -> RealTime | None:
    """What a process gets that has all these stages; None where none asks for anything."""
    several = [settings for settings in asked if settings is not None]
    if len(several) < 2:
        return several[0] if several else None
    cpus = [settings.cpus for settings in several if settings.cpus is not None]
    first = max(several, key=lambda settings: (settings.priority or 0, settings.policy == "fifo"))
    slack = any(settings.collects == "in_slack" for settings in several)
    return RealTime(
        cpus=frozenset().union(*cpus) if cpus else None,
        priority=first.priority,
        policy=first.policy,
        lock_memory=any(settings.lock_memory for settings in several),
        collects="in_slack" if slack else "always",
        threads=_extreme(max, (settings.threads for settings in several)),
        switch_interval=_extreme(min, (settings.switch_interval for settings in several)),
        timer_slack=_extreme(min, (settings.timer_slack for settings in several)),
    )


def _extreme(choose: Callable[[list[int]], int], values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return choose(known) if known else None


@dataclass(frozen=True, slots=True)
class Effect:
    """What became of one thing that was asked for: what holds now, and why that is not what was asked."""

    knob: str
    asked: str
    got: str
    why_not: str = ""
    """Empty where it holds as it was asked for."""

    @property
    def sentence(self) -> str:
        if not self.why_not:
            return f"{self.knob} {self.asked} is in effect: {self.got}"
        return f"{self.knob} {self.asked} is not in effect, it has {self.got}: {self.why_not}"

    def told(self) -> dict[str, Any]:
        """As telegrams, events and the report have it."""
        return asdict(self) | {"took_effect": not self.why_not, "sentence": self.sentence}


def cpu_list(cpus: Iterable[int]) -> str:
    """As Linux writes it: 0-2,5."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and runs[-1][-1] == cpu - 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
