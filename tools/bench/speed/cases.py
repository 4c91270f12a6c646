"""What is measured: for each case its programme, and the ways of sending it that take turns within one repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamflow.cli.run_pipeline import command as run_command
from streamflow.errors import UsageError
from tools.bench.speed.floors import COPY, WAKES
from tools.bench.speed.programme import FRAME_SIZE, WARM_COUNT, Origin, Phase, Programme

SMALL = 4096
SIZES_IN_PLACE = (600_000, FRAME_SIZE, 4 * FRAME_SIZE)
SPIN_US, FRAME_SPIN_US = 400, 1000  # for each datum, at most; it takes longer to write a frame, and not always as long
CAPACITY = 64
CAPACITY_SATURATED = 256
LEAST_COUNT = 10  # messages that count, however short a repeat is
FRAME_HZ = 30.0  # nothing bare moves 25 MB sixty times a second
SMALL_HZ, FAST_HZ = 1000.0, 10_000.0  # a short spin bridges the pause of the fast one
SATURATED_PER_S = 10_000  # messages of a saturated phase, per second that is asked for


@dataclass(frozen=True, slots=True)
class Way:
    """One way of sending: `raw`, a floor, or streamflow with these options (`--link direct`)."""

    name: str
    options: tuple[str, ...] = ()
    sink_count: int = 1

    @property
    def is_ours(self) -> bool:
        return self.name not in {RAW.name, COPY, *WAKES}

    def absent(self) -> str:
        """What this version of `streamflow run` has not, in words; empty where it has all."""
        known = {name: option for option in run_command.params for name in option.opts}
        for option, value in zip(self.options[::2], self.options[1::2], strict=True):
            choices = getattr(known[option].type, "choices", ()) if option in known else None
            if choices is None or (choices and value not in choices):
                return f"no {value} link" if option == "--link" else f"no {option}"
        return ""


RAW = Way("raw pyzmq")
IPC = Way("ipc")
DIRECT = Way("direct", ("--link", "direct"))
IPC_SPIN = Way("ipc, spin", ("--spin-us", str(SPIN_US)))
DIRECT_SPIN = Way("direct, spin", ("--link", "direct", "--spin-us", str(SPIN_US)))
FRAME_SPIN = Way("direct, spin 1 ms", ("--link", "direct", "--spin-us", str(FRAME_SPIN_US)))
MEMCPY = Way(COPY)
TO_FOUR = Way("ipc to 4", sink_count=4)
DIRECT_TO_FOUR = Way("direct to 4", ("--link", "direct"), sink_count=4)


@dataclass(frozen=True, slots=True)
class Case:
    """`lines`: what each phase is called in tables, JSON and the files of peers."""

    name: str
    says: str
    lines: tuple[str, ...]
    programme: Callable[[float], Programme]
    """Of so many seconds, as far as that is possible."""
    ways: tuple[Way, ...]
    hop_count: int = 1
    capacity: int = CAPACITY


def _phase(size: int, rate_hz: float, seconds: float, origin: Origin = Origin.FRESH) -> Phase:
    count = round(seconds * (rate_hz or SATURATED_PER_S))
    return Phase(size, rate_hz, WARM_COUNT + max(count, LEAST_COUNT), origin)


def _hop(seconds: float) -> Programme:
    parts = _phase(64, SMALL_HZ, seconds / 3), _phase(SMALL, SMALL_HZ, seconds / 3), _phase(SMALL, FAST_HZ, seconds / 3)
    return Programme(parts)


def _frame(seconds: float) -> Programme:
    small, medium, large = SIZES_IN_PLACE
    return Programme((
        _phase(SMALL, FRAME_HZ, seconds / 5),
        _phase(small, FRAME_HZ, seconds / 5, Origin.IN_PLACE),
        _phase(medium, FRAME_HZ, seconds / 5, Origin.IN_PLACE),
        _phase(large, FRAME_HZ, seconds / 5, Origin.IN_PLACE),
        _phase(medium, FRAME_HZ, seconds / 5, Origin.FIXED),
    ))  # fmt: skip


def _mix(seconds: float) -> Programme:
    frames = _phase(FRAME_SIZE, 30.0, seconds, Origin.IN_PLACE)
    count = round(frames.count * SMALL_HZ / frames.rate_hz)
    return Programme((Phase(SMALL, SMALL_HZ, count), frames), is_together=True)


CASES = {
    case.name: case
    for case in (
        Case("hop", "one hop, small messages", ("64 B", "4 KiB", "4 KiB, 10 kHz"), _hop,
             (RAW, IPC, DIRECT, IPC_SPIN, DIRECT_SPIN)),
        Case("frame", "one hop, frames written in place or copied in",
             ("4 KiB", "600 KB in place", "6.2 MB in place", "25 MB in place", "6.2 MB copied in"), _frame,
             (RAW, MEMCPY, IPC, DIRECT, FRAME_SPIN)),
        Case("throughput", "one hop, as fast as it goes", ("4 KiB",),
             lambda seconds: Programme((_phase(SMALL, 0, seconds),)), (RAW, IPC, DIRECT), capacity=CAPACITY_SATURATED),
        Case("fanout", "one frame to one stage, and to four", ("6.2 MB in place",),
             lambda seconds: Programme((_phase(FRAME_SIZE, 30.0, seconds, Origin.IN_PLACE),)),
             (IPC, TO_FOUR, DIRECT, DIRECT_TO_FOUR)),
        Case("mix", "four stages, 1 kHz x 4 KiB and 30 Hz x 6.2 MB together", ("small", "frames"), _mix,
             (RAW, IPC, DIRECT), hop_count=3),
        Case("cpu", "what a relay costs, paced and as fast as it goes", ("4 KiB", "4 KiB, saturated"),
             lambda seconds: Programme((_phase(SMALL, SMALL_HZ, seconds / 2), _phase(SMALL, 0, seconds / 2))),
             (RAW, IPC, DIRECT), hop_count=2, capacity=CAPACITY_SATURATED),
        Case("wake", "bare wakes between two processes", ("wake",),
             lambda seconds: Programme((_phase(8, SMALL_HZ, seconds),)), tuple(Way(name) for name in WAKES)),
    )
}  # fmt: skip


def chosen(names: Sequence[str]) -> list[Case]:
    """The cases of these names; all where there are none. Raises UsageError."""
    for name in names:
        if name not in CASES:
            raise UsageError(f"case '{name}'", "not known", f"of {', '.join(CASES)}")
    return [case for case in CASES.values() if not names or case.name in names]
