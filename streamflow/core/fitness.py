"""What a reading of the machine means for a run: well, lacking or missing, and the remedy; reads nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

RESOLUTION_NS_LIMIT = 1_000  # a coarser clock, a tick of 1 ms or more, cannot tell one deadline from the next
WAKE_LATE_US_LIMIT = 1_000  # a timer that is later than this is no better than epoll's whole milliseconds
LOCKED_SIZE_WANTED = 64 << 20  # bytes: a Python process with NumPy and its buffers, kept from being paged out
SHARED_SIZE_WANTED = 256 << 20  # bytes: a few dozen 1080p frames; Docker gives 64 MiB unless told
TEMPORARY_SIZE_WANTED = 16 << 20  # bytes: sockets and a description need next to nothing, but a full disk has none
UNLIMITED = -1
REAL_TIME_REMEDY = (
    "echo '@realtime - rtprio 80' into /etc/security/limits.d/ and join that group, until ulimit -r says 80; "
    "docker --ulimit rtprio=80 or --cap-add SYS_NICE"
)
SOCKET_PATH_LIMIT = 107  # bytes; sockaddr_un.sun_path less its terminator


class State(Enum):
    """`LACKING`: runs are possible, not as well or not with everything; `MISSING`: no run is possible."""

    OK = "ok"
    LACKING = "lacking"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; the remedy is empty where all is well."""

    item: str
    found: str
    state: State
    remedy: str = ""


def _verdict(item: str, found: str, is_well: bool, remedy: str, otherwise: State = State.LACKING) -> Finding:
    return Finding(item, found, State.OK) if is_well else Finding(item, found, otherwise, remedy)


def hot_path(why_interpreted: str) -> Finding:
    """`why_interpreted`: empty where what handles every datum is compiled."""
    found = f"interpreted: {why_interpreted}" if why_interpreted else "compiled"
    remedy = "a datum costs twice as much: with gcc and Python's headers, install again (or python -m tools.compile)"
    return _verdict("hot path", found, not why_interpreted, remedy)


def cores(usable: int, present: int, quota: float | None) -> Finding:
    """`quota`: the processors' worth of time that the container grants; None is no bound."""
    found = f"{usable} of {present} usable"
    if quota is not None:
        found += f", time for {quota:g}"
    is_well = usable >= 2 and (quota is None or quota >= 2)
    return _verdict("cores", found, is_well, "stages take turns on one: widen taskset or docker --cpus to 2 or more")


def clock(resolution_ns: float, source: str) -> Finding:
    found = f"CLOCK_MONOTONIC, {resolution_ns:g} ns" + (f", {source}" if source else "")
    remedy = "boot a kernel with CONFIG_HIGH_RES_TIMERS, without highres=off"
    return _verdict("clock", found, resolution_ns <= RESOLUTION_NS_LIMIT, remedy)


def timer(late_us: float | None) -> Finding:
    """`late_us`: how late the median of some short sleeps ended; None where there is no timerfd."""
    if late_us is None:
        return Finding("timer", "no timerfd", State.MISSING, "run on Linux; a sandbox may forbid timerfd_create")
    found = f"timerfd, wakes {late_us:.0f} µs late (median)"
    return _verdict("timer", found, late_us <= WAKE_LATE_US_LIMIT, "something else holds the processors: see top")


def process_handles(has_pidfd: bool, has_shell: bool) -> Finding:
    lacks = [name for name, has in (("pidfd_open", has_pidfd), ("/bin/sh", has_shell)) if not has]
    found = "no " + " and no ".join(lacks) if lacks else "pidfd, /bin/sh"
    remedy = "Linux 5.3 or newer with a shell; a sandbox may forbid pidfd_open"
    return _verdict("processes", found, not lacks, remedy, State.MISSING)


def realtime_priority(limit: int, is_privileged: bool, obtained: str) -> Finding:
    """`obtained`: what a supervisor gets when it asks, which a container may refuse whatever the limit says."""
    right = "any (CAP_SYS_NICE)" if is_privileged else f"RLIMIT_RTPRIO {_limit(limit)}"
    remedy = f"misses are seen late where stages compute: {REAL_TIME_REMEDY}"
    return _verdict("real-time priority", f"{right}, supervisor: {obtained}", obtained.startswith("SCHED_"), remedy)


def stage_priority(highest: int, share: float | None) -> Finding:
    """`highest`: of SCHED_FIFO that a stage of this user gets, 0 is none.

    `share`: of the time that all of real time may take; negative is without a bound, None is not known.
    """
    if not highest:
        return Finding("stage priority", "none", State.LACKING, REAL_TIME_REMEDY)
    found = f"SCHED_FIFO up to {highest}"
    if share is not None:
        found += f", {share:.0%} of the time" if share >= 0 else ", without a bound"
    remedy = "a stage that never waits would stop this machine: sysctl kernel.sched_rt_runtime_us=950000"
    return _verdict("stage priority", found, share is None or share >= 0, remedy)


def affinity(cpus: str) -> Finding:
    """`cpus`: to which a stage may be bound, as Linux lists them; empty where it may not."""
    remedy = "a sandbox may forbid sched_setaffinity; processors are widened by docker --cpuset-cpus"
    return _verdict("affinity", f"cpus {cpus}" if cpus else "refused", bool(cpus), remedy)


def compute_threads(libraries: Sequence[str]) -> Finding:
    """`libraries`: those that NumPy has loaded and that can still be told their threads, with how many they have."""
    remedy = (
        "RealTime(threads=...) does not reach NumPy's own library: set OMP_NUM_THREADS or MKL_NUM_THREADS for the run"
    )
    return _verdict("compute threads", ", ".join(libraries) or "not known", bool(libraries), remedy)


def interpreter(timer_slack_us: float | None, *, can_freeze: bool) -> Finding:
    """`timer_slack_us`: what it has now, None where it cannot be set; `can_freeze`: the collector knows `gc.freeze`."""
    slack = "timer slack fixed" if timer_slack_us is None else f"timer slack {timer_slack_us:g} µs"
    collector = "collection in slack" if can_freeze else "no collection in slack"
    is_well = timer_slack_us is not None and can_freeze
    remedy = "a sandbox may forbid prctl; collection in slack needs CPython"
    return _verdict("interpreter", f"{collector}, switch interval, {slack}", is_well, remedy)


def locked_memory(limit: int, is_privileged: bool, refusal: str = "") -> Finding:
    """`refusal`: why a process of this user could not lock what it has, for people; empty where it could."""
    found = "any (CAP_IPC_LOCK)" if is_privileged else f"RLIMIT_MEMLOCK {_size(limit)}"
    is_well = (is_privileged or limit == UNLIMITED or limit >= LOCKED_SIZE_WANTED) and not refusal
    if refusal:
        found += f", {refusal}"
    remedy = (
        "echo '@realtime - memlock unlimited' into /etc/security/limits.d/, join that group; docker --ulimit memlock=-1"
    )
    return _verdict("locked memory", found, is_well, remedy)


def shared_memory(free: int | None) -> Finding:
    """`free`: bytes left in /dev/shm; None where it cannot be written."""
    remedy = "mount -o remount,size=1G /dev/shm; docker --shm-size=1g"
    if free is None:
        return Finding("shared memory", "/dev/shm cannot be written", State.LACKING, remedy)
    return _verdict("shared memory", f"/dev/shm, {_size(free)} free", free >= SHARED_SIZE_WANTED, remedy)


def temporary_folder(path: str, free: int | None, longest_socket_size: int) -> Finding:
    """`free`: bytes left, None where it cannot be written; the longest socket path of a run, in bytes."""
    if free is None:
        return Finding(
            "temporary folder", f"{path} cannot be written", State.MISSING, "set TMPDIR to a folder of yours"
        )
    if longest_socket_size > SOCKET_PATH_LIMIT:
        found = f"{path}, sockets of {longest_socket_size} bytes"
        return Finding("temporary folder", found, State.MISSING, "set TMPDIR to a shorter one, such as /tmp")
    found = f"{path}, {_size(free)} free"
    is_well = free >= TEMPORARY_SIZE_WANTED
    return _verdict("temporary folder", found, is_well, "make room, or set TMPDIR to a folder with some", State.MISSING)


def pressure(kept: Sequence[str]) -> Finding:
    """`kept`: for what the kernel counts stalls."""
    found = ", ".join(kept) or "not kept"
    return _verdict("pressure (PSI)", found, bool(kept), "boot with psi=1 to see stalls in pipelines.host")


def zeromq(libzmq: str, pyzmq: str, *, has_ipc: bool) -> Finding:
    remedy = "pip install --force-reinstall pyzmq brings a build that has it"
    return _verdict(
        "ZeroMQ", f"{libzmq} (pyzmq {pyzmq})" + ("" if has_ipc else ", no ipc"), has_ipc, remedy, State.MISSING
    )


def curve(has_curve: bool) -> Finding:
    remedy = "pip install --force-reinstall pyzmq brings a build with libsodium; only links between hosts need it"
    return _verdict("CURVE", "yes" if has_curve else "no", has_curve, remedy)


def gpu(names: Sequence[str]) -> Finding:
    """`names`: of the devices that the driver shows."""
    remedy = "only stages on a GPU need one: install the NVIDIA driver; docker --gpus all"
    return _verdict("GPU", "; ".join(names) or "none", bool(names), remedy)


def cupy(version: str | None, has_gpu: bool) -> Finding:
    remedy = "pip install cupy-cuda12x" if has_gpu else "of use with a GPU only"
    return _verdict("CuPy", version or "not installed", version is not None, remedy)


def extra(name: str, versions: dict[str, str | None], command: str) -> Finding:
    """`versions`: of the extra's libraries, None where one is not installed; `command` brings them."""
    found = ", ".join(f"{library} {version or 'not installed'}" for library, version in versions.items())
    return _verdict(f"extra {name}", found, None not in versions.values(), command)


def runs(living: int, killed: Sequence[str], abandoned: int) -> Finding:
    """`killed`: folders that can be read still. `abandoned`: of those, how many have more than that behind them."""
    readable = f"{len(killed)} killed that can be read{f' (rm -r {killed[0]} …)' if killed else ''}"
    found = f"{living} going, {readable}, {abandoned} not cleared up behind"
    return _verdict("runs", found, not abandoned, "the next streamflow run removes them")


def _limit(value: int) -> str:
    return "unlimited" if value == UNLIMITED else f"{value:,}"


def _size(size: int) -> str:
    if size == UNLIMITED:
        return "unlimited"
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
