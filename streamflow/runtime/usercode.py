"""Whose code a traceback runs through: users see their own frames and nothing of the runtime's."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

import outcome
import trio

_RUNTIME_FOLDERS = tuple(
    str(folder) + os.sep
    for folder in (
        Path(__file__).resolve().parent.parent,
        "streamflow",  # where compiled code says that it is
        Path(trio.__file__).resolve().parent,
        Path(outcome.__file__).resolve().parent,  # trio's threads
    )
)

_SHIPPED_FOLDER = str(Path(__file__).resolve().parent.parent.parent / "nodes") + os.sep
_LIBRARY_FOLDERS = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib"))

_FOREIGN = (*_RUNTIME_FOLDERS, *_LIBRARY_FOLDERS, "<")


def user_traceback(error: BaseException) -> str:
    """The traceback of `error` from the user's first frame on, as Python prints it, without the runtime's. Where none
    is the user's the frames of the shipped node, or of a library, are all that tells of it."""
    told = traceback.TracebackException.from_exception(error)
    _strip(told)
    return "".join(told.format()).rstrip()


def user_line(error: BaseException) -> str:
    """`file:line` of the last line of the user's own that the error passed; nothing where it passed none."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_FOREIGN)]
    return f"{shown(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def shown(file: str) -> str:
    """A file's path as people say it: from here, where it is below."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def _strip(told: traceback.TracebackException) -> None:
    frames = [frame for frame in told.stack if not frame.filename.startswith(_RUNTIME_FOLDERS)]
    is_own = [not frame.filename.startswith((*_FOREIGN, _SHIPPED_FOLDER)) for frame in frames]
    told.stack = traceback.StackSummary.from_list(frames[is_own.index(True) if True in is_own else 0 :])
    for cause in (told.__cause__, told.__context__):
        if cause is not None:
            _strip(cause)
    for inner in told.exceptions or ():
        _strip(inner)
