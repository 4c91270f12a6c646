"""In how many threads the numeric libraries of this process compute: OpenBLAS, as NumPy brings it, and OpenMP.

The environment variables that everybody knows are read when such a library is loaded. A stage is a copy of a process
that has NumPy already, so what is loaded is told through its own functions, and the environment is for what is not.
*Not taken*: threadpoolctl, which knows more libraries: a dependency for two calls.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
# Threads that wait leave the processor. OpenBLAS counts in powers of two of processor ticks: some 25 us, about what it
# takes to wake one, in place of 25 ms, in which a thread burned ten times what the work before had taken.
_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "OPENBLAS_THREAD_TIMEOUT": "16"}
_PATH = re.compile(r"/\S*/(?:lib)?(?:\w*openblas|gomp|omp|iomp5)[^/\s]*\.so[^/\s]*$", re.MULTILINE)
# Builds for NumPy and SciPy have names of their own, those for long integers a suffix.
_SYMBOLS = (
    *(
        (f"{prefix}openblas_set_num_threads{suffix}", f"{prefix}openblas_get_num_threads{suffix}")
        for prefix in ("scipy_", "")
        for suffix in ("64_", "")
    ),
    ("omp_set_num_threads", "omp_get_max_threads"),
)
_SPINNING = ("openblas_read_env", "openblas_thread_timeout", "blas_thread_shutdown_")


@dataclass(frozen=True, slots=True)
class Library:
    """One that is loaded."""

    name: str
    thread_count: Callable[[], int]
    set_thread_count: Callable[[int], None]
    _library: ctypes.CDLL

    def read_environment(self) -> None:
        """How long an OpenBLAS lets threads spin is read when they are started: those that it has are ended, as it
        does itself before a fork. No other thread may compute meanwhile."""
        if all(hasattr(self._library, symbol) for symbol in _SPINNING):
            before = self._library.openblas_thread_timeout()
            self._library.openblas_read_env()
            if self._library.openblas_thread_timeout() != before:
                self._library.blas_thread_shutdown_()

    @property
    def spins(self) -> bool:
        """Whether its threads keep the processor for long while they wait, as far as it lets that be known."""
        if not hasattr(self._library, "openblas_thread_timeout"):
            return False
        ticks_log = int(self._library.openblas_thread_timeout())
        return ticks_log == 0 or ticks_log > int(_PASSIVE["OPENBLAS_THREAD_TIMEOUT"])


def loaded() -> Iterator[Library]:
    """Those of this process that can be told."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return
    for path in sorted(set(_PATH.findall(maps))):
        try:
            library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD)
        except OSError:  # its file was replaced since
            continue
        for setter, getter in _SYMBOLS:
            if hasattr(library, setter) and hasattr(library, getter):
                name = "OpenBLAS" if "openblas" in setter else "OpenMP"
                yield Library(name, getattr(library, getter), getattr(library, setter), library)
                break


def set_environment(thread_count: int, *, overrules: bool) -> None:
    """For libraries that are loaded from now on, and programs that are started; else what is set already stays."""
    for variable in _VARIABLES:
        if overrules or variable not in os.environ:
            os.environ[variable] = f"{thread_count}"
    for variable, value in _PASSIVE.items():
        os.environ.setdefault(variable, value)


def set_threads(thread_count: int, *, overrules: bool) -> list[Library]:
    """Tell all that are loaded, and return them; without `overrules` those that have fewer keep them."""
    found = list(loaded())
    for library in found:
        if overrules or library.thread_count() > thread_count:
            library.set_thread_count(thread_count)
    return found


def read_environment() -> None:
    """Have what is loaded already read what is set by now, as far as it can; before any thread computes."""
    for library in loaded():
        library.read_environment()
