"""What a user sees of an error: the stage named once, and a traceback that begins where their own code does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nodes.infer import CupyFunction
from streamflow.errors import MissingInputError, NodeError
from streamflow.runtime.guard import blamed
from streamflow.testing import drive


@pytest.mark.parametrize("subject", ["stage fuse: input left", "stage fuse, states", "left"])
def test_a_stage_is_named_once(subject: str) -> None:
    told = str(blamed("fuse", MissingInputError(subject, "it is gone"), "process"))
    assert told.startswith("stage fuse: ")
    assert told.count("stage") == 1


def test_frames_of_a_shipped_node_that_called_the_users_function_are_left_out() -> None:
    def own(x: Any, xp: Any) -> Any:
        raise ZeroDivisionError("in user code")

    text = _traceback(own)
    assert text.count("File ") == 1
    assert __file__ in text
    assert text.endswith("ZeroDivisionError: in user code")


def test_where_no_frame_is_the_users_those_of_the_shipped_node_are_there() -> None:
    assert "cupy_function.py" in _traceback(lambda: None)


def _traceback(f: Any) -> str:
    with pytest.raises((ZeroDivisionError, TypeError)) as caught:
        drive(CupyFunction(f, input="float32[4]", output="float32[4]"), [np.zeros(4, np.float32)])
    error = caught.value
    assert error.__traceback__ is not None
    error.__traceback__ = (
        error.__traceback__.tb_next
    )  # as the runtime catches it: the call that is in this file is not there
    found = blamed("own", error, "open")
    assert isinstance(found, NodeError)
    return found.traceback_text
