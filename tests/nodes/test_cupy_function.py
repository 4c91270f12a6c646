"""A function of arrays on a device: the same results as by NumPy, in batches, whatever goes wrong in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nodes.infer import CupyFunction
from streamflow import InputError
from streamflow.testing import drive


def spectrum(x: Any, xp: Any) -> Any:
    return xp.abs(xp.fft.rfft(x, axis=-1)).astype(xp.float32)


def node(**settings: Any) -> CupyFunction:
    return CupyFunction(spectrum, **{"input": "float32[64]", "output": "float32[33]"} | settings)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_each_datum_has_its_own_result_in_batches_of_any_size(batch: int) -> None:
    given = np.random.default_rng(1).standard_normal((20, 64)).astype(np.float32)
    arrays = drive(node(), list(given), batch=batch).arrays
    assert len(arrays) == 20
    for x, y in zip(given, arrays, strict=True):
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, np.abs(np.fft.rfft(x)), rtol=1e-4, atol=1e-4)


def test_dimensions_may_have_names_whose_sizes_are_said() -> None:
    named = node(input="float32[time]", output="float32[bins]", sizes={"time": 64, "bins": 33})
    assert drive(named, [np.ones(64, np.float32)]).arrays[0].shape == (33,)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"input": "float32[time]"}, r"CupyFunction\(input\): float32\[time\]"),
        ({"output": "any[33]"}, r"CupyFunction\(output\): any\[33\]"),
        ({"output": "float32[...]"}, r"CupyFunction\(output\)"),
    ],
)
def test_sizes_that_are_not_known_are_told(settings: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError, match=found):
        node(**settings)


def test_what_the_function_raises_comes_out_as_it_is() -> None:
    def broken(x: Any, xp: Any) -> Any:
        raise ZeroDivisionError("in user code")

    with pytest.raises(ZeroDivisionError, match="in user code"):
        drive(CupyFunction(broken, input="float32[4]", output="float32[4]"), [np.zeros(4, np.float32)])


def test_a_result_of_another_shape_is_a_fault_of_the_function() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        drive(CupyFunction(lambda x, xp: x[:, :2], input="float32[4]", output="float32[4]"), [np.zeros(4, np.float32)])
