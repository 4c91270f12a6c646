"""Whose code a traceback runs through: users see their own frames and nothing of the runtime's."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import outcome
import trio

_RUNTIME_FOLDERS = tuple(
    str(folder) + os.sep
    for folder in (
        Path(__file__).resolve().parent.parent,
        Path(trio.__file__).resolve().parent,
        Path(outcome.__file__).resolve().parent,  # trio's threads
    )
)


def user_traceback(error: BaseException) -> str:
    """The traceback of `error` from the first frame outside the runtime on, as Python prints it."""
    told = traceback.TracebackException.from_exception(error)
    _strip(told)
    return "".join(told.format()).rstrip()


def _strip(told: traceback.TracebackException) -> None:
    frames = [frame for frame in told.stack if not frame.filename.startswith(_RUNTIME_FOLDERS)]
    told.stack = traceback.StackSummary.from_list(frames)
    for cause in (told.__cause__, told.__context__):
        if cause is not None:
            _strip(cause)
    for inner in told.exceptions or ():
        _strip(inner)
