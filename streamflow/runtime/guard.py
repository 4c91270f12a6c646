"""Calls of user code: whatever it raises comes out as the one error that a user should see."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from streamflow.errors import ClosedOutputError, DamagedFileError, LinkError, NodeError, PortError, StreamflowError
from streamflow.runtime.usercode import user_traceback

VARIANT_NOTE = "variant "  # how a note begins that says whose error it is
RAISED = (Exception, SystemExit)  # what user code may raise: sys.exit() in a node is a failure like any other


async def guarded(stage: str, function: Callable[[], Any], where: str) -> Any:
    """What `function`, a method of the stage's node called `where`, returns; awaited if it is a coroutine's."""
    try:
        result = function()
        return await result if inspect.isawaitable(result) else result
    except RAISED as error:
        raise blamed(stage, error, where) from error


def blamed(stage: str, error: BaseException, where: str) -> StreamflowError:
    """The error as the user should see it: named by its stage, a traceback only for a bug in user code."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return blamed(stage, error.exceptions[0], where)
    if isinstance(error, LinkError | NodeError | PortError | ClosedOutputError):
        return error
    if isinstance(error, StreamflowError):
        sentence = str(error).removeprefix(f"stage {stage}: ").removeprefix(f"stage {stage}, ")
        return NodeError(stage, sentence, is_final=isinstance(error, DamagedFileError))
    kind = type(error).__name__
    raised = f"{kind}: {str(error).splitlines()[0]}" if str(error).strip() else kind
    variant = next((f" of {note}" for note in getattr(error, "__notes__", ()) if note.startswith(VARIANT_NOTE)), "")
    return NodeError(stage, f"{where}{variant} raised {raised}", user_traceback(error))
