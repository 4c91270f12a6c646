"""What of CuPy's errors means that work cannot be captured, by CuPy's own classes: no GPU is needed, but CuPy."""

from __future__ import annotations

from typing import Any

import pytest

from streamflow.device.contract import Refusal
from streamflow.device.cuda import CAPTURE_STATUS, LOST_STATUS, refused

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")


def cuda_error(status: int) -> Any:
    return cupy.cuda.runtime.CUDARuntimeError(status)


@pytest.mark.parametrize("status", CAPTURE_STATUS)
def test_what_the_driver_does_not_let_be_captured_is_refused_with_its_words(status: int) -> None:
    assert "apture" in refused(cupy, cuda_error(status)).reason


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("calling cuBLAS API during stream capture is currently unsupported"),
        RuntimeError("the current stream is capturing, so H2D transfers are disallowed"),
        RuntimeError("the current stream is capturing, so synchronous API calls are disallowed"),
        RuntimeError("the stream was capturing, but an error has invalidated the capture sequence"),
    ],
)
def test_what_cupy_does_not_let_be_captured_is_refused(error: Exception) -> None:
    assert refused(cupy, error) == Refusal(str(error))


@pytest.mark.parametrize(
    "error", [RuntimeError("mine"), NotImplementedError("mine"), ValueError("capturing"), *map(cuda_error, LOST_STATUS)]
)
def test_any_other_error_comes_out_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        refused(cupy, error)
    assert caught.value is error
