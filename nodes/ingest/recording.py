"""What every recording has in common: a file that is there, settings that make sense, instants, a padded end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamflow import InputError
from streamflow.core.timebase import nanoseconds

Array = npt.NDArray[Any]


def readable_file(path: str | os.PathLike[str], expected: str) -> Path:
    """`path` as a file that exists, is not empty and may be read; `expected` says what kind. Raises InputError."""
    file = Path(path)
    try:
        size = file.stat().st_size
    except OSError as error:
        raise InputError(str(file), error.strerror or "cannot be found", expected) from None
    if file.is_dir():
        raise InputError(str(file), "is a folder", expected)
    if file.is_file() and size == 0:
        raise InputError(str(file), "is empty", expected)
    if not os.access(file, os.R_OK):
        raise InputError(str(file), "may not be read", expected, "look at its permissions")
    return file


def require_positive(node: str, **settings: float | None) -> None:
    """Every setting that is given is above 0 (and no NaN). Raises InputError naming node and setting."""
    for name, value in settings.items():
        if value is not None and not value > 0:
            raise InputError(f"{node} {name}", f"is {value:g}", "a number above 0")


def require_rate(subject: str, found_hz: float, expected_hz: float | None) -> None:
    """The recording has the sampling rate that was asked for, if one was. Raises InputError."""
    if expected_hz is not None and not np.isclose(found_hz, expected_hz, rtol=1e-9, atol=0):
        hint = "put a Resample stage behind it, or leave rate_hz out"
        raise InputError(subject, f"has {found_hz:g} Hz", f"{expected_hz:g} Hz", hint)


def instant_ns(index: int, rate_hz: float) -> int:
    """When sample `index` of a regular recording was taken, counted from sample 0."""
    return nanoseconds(index / rate_hz)


def padded(part: Array, size: int, axis: int = 0) -> Array:
    """`part` with zeros behind it up to `size` along `axis`; itself where nothing is missing."""
    missing = size - part.shape[axis]
    if missing <= 0:
        return part
    shape = list(part.shape)
    shape[axis] = missing
    return np.concatenate([part, np.zeros(shape, part.dtype)], axis)


@contextmanager
def faults_of(subject: str, expected: str, *errors: type[BaseException]) -> Iterator[None]:
    """A reading library's own exceptions, as an InputError about `subject` with the library's words in it."""
    try:
        yield
    except InputError:
        raise
    except errors as error:
        words = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise InputError(subject, f"cannot be read ({words})", expected) from None
