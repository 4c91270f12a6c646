"""`streamflow doctor`: what this machine offers, and the remedy for what is missing."""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from streamflow import compilation
from streamflow.core import fitness
from streamflow.core.fitness import Finding, State
from streamflow.core.realtime import PRIORITY_MAX, cpu_list
from streamflow.errors import UsageError
from streamflow.runtime.clock import Alarm, now_ns
from streamflow.runtime.loading.extras import extras, install_command
from streamflow.runtime.process import blas
from streamflow.runtime.process.hygiene import (
    CAP_IPC_LOCK,
    CAP_SYS_NICE,
    is_capable,
    lock_memory,
    set_timer_slack,
    timer_slack_ns,
    unlock_memory,
)
from streamflow.runtime.process.priority import obtainable
from streamflow.runtime.rundir import abandoned_runs, base_path, dead_runs, live_runs, longest_socket
from streamflow.transport.zmq_socket import capabilities

SLEEPS, SLEEP_NS = 15, 2_000_000  # the median of so many sleeps says how late this machine wakes a process
# A library that pip does not bring, for one that it does.
SYSTEM_LIBRARIES = {"sounddevice": ("libportaudio.so.2", "apt install libportaudio2")}


@click.command
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
    yield fitness.hot_path(compilation.reason)
    yield fitness.cores(len(os.sched_getaffinity(0)), os.cpu_count() or 1, _processor_quota())
    yield fitness.clock(time.clock_getres(time.CLOCK_MONOTONIC) * 1e9, _clock_source())
    yield fitness.timer(_wake_late_us())
    yield fitness.process_handles(_has_pidfd(), os.access("/bin/sh", os.X_OK))
    yield fitness.realtime_priority(_soft_limit(resource.RLIMIT_RTPRIO), is_capable(CAP_SYS_NICE), obtainable())
    yield fitness.stage_priority(_highest_fifo(), _realtime_share())
    yield fitness.affinity(_affinity())
    yield fitness.locked_memory(_soft_limit(resource.RLIMIT_MEMLOCK), is_capable(CAP_IPC_LOCK), _memory_refusal())
    yield fitness.compute_threads(_compute_libraries())
    yield fitness.interpreter(_timer_slack_us(), can_freeze=hasattr(gc, "freeze"))
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
    """Of a bare timerfd: the timer of runs is woken early for just that, and would hide it."""
    late_ns = []
    try:
        with closing(Alarm()) as alarm:
            for _ in range(SLEEPS):
                due_ns = now_ns() + SLEEP_NS
                alarm.set(due_ns)
                os.read(alarm.fd, 8)  # blocks until then
                late_ns.append(now_ns() - due_ns)
    except OSError:
        return None
    return statistics.median(late_ns) / 1e3


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _soft_limit(which: int) -> int:
    soft = resource.getrlimit(which)[0]
    return fitness.UNLIMITED if soft == resource.RLIM_INFINITY else soft


def _affinity() -> str:
    """Where a stage may be bound to, as Linux lists it; tried with what it has."""
    cpus = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except OSError:
        return ""
    return cpu_list(cpus)


def _highest_fifo() -> int:
    """What a stage of this user would get; tried in a thread of its own, which ends at once. 0 is none."""

    def attempt() -> None:
        for priority in dict.fromkeys((PRIORITY_MAX, min(max(limit, 0), PRIORITY_MAX))):
            with suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
                obtained.append(priority)
                return

    limit, obtained = _soft_limit(resource.RLIMIT_RTPRIO), [0]
    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return obtained[-1]


def _realtime_share() -> float | None:
    """Of the time that the kernel lets all of real time have; negative is all, None is not known."""
    folder = Path("/proc/sys/kernel")
    try:
        runtime_us, period_us = (int((folder / f"sched_rt_{name}_us").read_text()) for name in ("runtime", "period"))
    except (OSError, ValueError):
        return None
    return runtime_us / period_us


def _memory_refusal() -> str:
    """In short, why this process may not lock all its memory; '' where it may."""
    try:
        return lock_memory().partition(",")[0]
    finally:
        unlock_memory()


def _compute_libraries() -> list[str]:
    """Those of NumPy that can be told their threads, with how many they have."""
    importlib.import_module("numpy")
    return [f"{library.name} {library.thread_count()}" for library in blas.loaded()]


def _timer_slack_us() -> float | None:
    """What it is, None where it cannot be set."""
    found_ns = timer_slack_ns()
    return found_ns / 1e3 if found_ns > 0 and set_timer_slack(found_ns) == found_ns else None


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
        return fitness.runs(len(live_runs()), [str(run.path) for run in dead_runs()], len(abandoned_runs()))
    except UsageError as error:
        return Finding("runs", error.found, State.MISSING, error.hint)
