"""`streamflow doctor`: what this machine offers, and the remedy for what is missing."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import trio

from streamflow.core import fitness
from streamflow.core.fitness import Finding, State
from streamflow.errors import UsageError
from streamflow.runtime.clock import Timer, now_ns
from streamflow.runtime.extras import extras, install_command
from streamflow.runtime.priority import obtainable
from streamflow.runtime.rundir import abandoned_runs, base_path, live_runs, longest_socket
from streamflow.transport.zmq_socket import capabilities

CAP_IPC_LOCK, CAP_SYS_NICE = 14, 23  # linux/capability.h
SLEEPS, SLEEP_NS = 15, 2_000_000  # the median of so many sleeps says how late this machine wakes a process
# A library that pip does not bring, for one that it does.
SYSTEM_LIBRARIES = {"sounddevice": ("libportaudio.so.2", "apt install libportaudio2")}


@click.command(short_help="Say what this machine offers and lacks.")
@click.option("--json", "as_json", is_flag=True, help="For scripts: item, found, state and remedy of each.")
def command(as_json: bool) -> int:
    """Look at what this machine offers, and say how to get what is missing.

    Exit 0 when runs are possible, though something may be lacking; 1 when something required is missing.
    """
    findings = list(examine())
    click.echo(json.dumps([_plain(finding) for finding in findings], indent=2) if as_json else table(findings))
    return 1 if any(finding.state is State.MISSING for finding in findings) else 0


def table(findings: Sequence[Finding]) -> str:
    """One line for each finding, under a head."""
    rows = [("item", "found", "state", "remedy")]
    rows += [(one.item, one.found, one.state.value, one.remedy) for one in findings]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for *cells, remedy in rows:
        aligned = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join([*aligned, remedy]).rstrip())
    return "\n".join(lines)


def _plain(finding: Finding) -> dict[str, Any]:
    return asdict(finding) | {"state": finding.state.value}


def examine() -> Iterator[Finding]:
    """Everything there is to know, read now."""
    yield Finding("Python", f"{platform.python_implementation()} {platform.python_version()}", State.OK)
    yield fitness.cores(len(os.sched_getaffinity(0)), os.cpu_count() or 1, _processor_quota())
    yield fitness.clock(time.clock_getres(time.CLOCK_MONOTONIC) * 1e9, _clock_source())
    yield fitness.timer(_wake_late_us())
    yield fitness.process_handles(_has_pidfd(), os.access("/bin/sh", os.X_OK))
    yield fitness.realtime_priority(_soft_limit(resource.RLIMIT_RTPRIO), _is_capable(CAP_SYS_NICE), obtainable())
    yield fitness.locked_memory(_soft_limit(resource.RLIMIT_MEMLOCK), _is_capable(CAP_IPC_LOCK))
    yield fitness.shared_memory(_free("/dev/shm"))
    yield _temporary_folder()
    yield fitness.pressure([path.name for path in sorted(Path("/proc/pressure").glob("*")) if _is_readable(path)])
    zeromq = capabilities()
    yield fitness.zeromq(str(zeromq["libzmq"]), str(zeromq["pyzmq"]), has_ipc=bool(zeromq["ipc"]))
    yield fitness.curve(bool(zeromq["curve"]))
    gpus = _gpu_names()
    yield fitness.gpu(gpus)
    yield fitness.cupy(_cupy_version(), bool(gpus))
    for name, libraries in extras().items():
        yield _extra(name, libraries)
    yield _runs()


def _processor_quota() -> float | None:
    """What a container of cgroup v2 may use of the processors, in processors; None is all of them."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):  # no container, or cgroup v1, which keeps it elsewhere
        return None


def _clock_source() -> str:
    try:
        return Path("/sys/devices/system/clocksource/clocksource0/current_clocksource").read_text().strip()
    except OSError:
        return ""


def _wake_late_us() -> float | None:
    async def measure() -> float:
        timer = Timer()
        try:
            late_ns = []
            for _ in range(SLEEPS):
                due_ns = now_ns() + SLEEP_NS
                await timer.sleep_until(due_ns)
                late_ns.append(now_ns() - due_ns)
            return statistics.median(late_ns) / 1e3
        finally:
            timer.close()

    try:
        return trio.run(measure)
    except OSError:
        return None


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _soft_limit(which: int) -> int:
    soft = resource.getrlimit(which)[0]
    return fitness.UNLIMITED if soft == resource.RLIM_INFINITY else soft


def _is_capable(capability: int) -> bool:
    """Whether this process may, as proc(5) tells its effective capabilities."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return False
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> capability & 1)


def _free(folder: str | Path) -> int | None:
    """Bytes that this user may still write there; None where it may not write at all."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return None
    return shutil.disk_usage(folder).free


def _temporary_folder() -> Finding:
    try:
        folder = base_path().parent
    except UsageError as error:
        return Finding("temporary folder", error.found, State.MISSING, error.hint)
    return fitness.temporary_folder(str(folder), _free(folder), len(os.fsencode(longest_socket())))


def _is_readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:  # pressure that is switched off is listed, but not to be read
        return False
    return True


def _gpu_names() -> list[str]:
    """As the driver's own tool tells; where it is not there, the device files."""
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            return []  # the driver hangs: no run could use it
        return done.stdout.strip().splitlines() if done.returncode == 0 else []
    return [str(path) for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def _cupy_version() -> str | None:
    """Without importing it: CuPy is one module that several distributions (`cupy-cuda12x`, ...) bring."""
    if importlib.util.find_spec("cupy") is None:
        return None
    names = importlib.metadata.packages_distributions().get("cupy", ["cupy"])
    return _version(names[0]) or "of unknown version"


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extra(name: str, libraries: Sequence[str]) -> Finding:
    finding = fitness.extra(name, {library: _version(library) for library in libraries}, install_command(name))
    if finding.state is State.OK:
        for library in libraries:
            system_library, remedy = SYSTEM_LIBRARIES.get(library, ("", ""))
            if system_library and not _can_be_loaded(system_library):
                found = f"{finding.found}, without {system_library}"
                return Finding(finding.item, found, State.LACKING, remedy)
    return finding


def _can_be_loaded(system_library: str) -> bool:
    try:
        ctypes.CDLL(system_library)
    except OSError:
        return False
    return True


def _runs() -> Finding:
    try:
        return fitness.runs(len(list(live_runs())), len(list(abandoned_runs())))
    except UsageError as error:
        return Finding("runs", error.found, State.MISSING, error.hint)
