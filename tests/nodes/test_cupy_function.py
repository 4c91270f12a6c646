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


@pytest.mark.parametrize(
    ("f", "found"),
    [
        (lambda x, xp: x.mean(axis=0), r"float32\[4\] came of float32\[1, 4\], .*; its first axis is the batch's"),
        (lambda x, xp: x[:1], r"float32\[1, 4\] came of .*, expected float32\[2, 4\], as declared; its first axis"),
        (lambda x, xp: x[:, :1], r"float32\[1, 1\] came of .*, as declared; output= says what is made of a datum"),
        (lambda x, xp: x.astype(xp.float64), r"float64\[1, 4\] came of .*, as declared; add .astype\(xp.float32\)"),
        (lambda x, xp: x > 1, r"bool\[1, 4\] came of .*; add .astype\(xp.float32\)"),
        (lambda x, xp: x + 1j, r"complex64\[1, 4\] came of .*, as declared$"),
        (lambda x, xp: None, "nothing came of .*, expected an array of numpy, .*; does it return what it has made"),
        (lambda x, xp: x.max(), "a numpy.float32 came of .*; make it with xp"),
        (lambda x, xp: "hello", "a str came of"),
    ],
)
def test_a_result_that_is_not_as_declared_is_refused_before_the_first_datum(f: Any, found: str) -> None:
    with pytest.raises(InputError, match=rf"CupyFunction\(.*\): {found}"):
        drive(CupyFunction(f, input="float32[4]", output="float32[4]", rows_max=4), [])


def test_a_result_that_is_not_as_declared_is_refused_when_it_comes() -> None:
    def choosy(x: Any, xp: Any) -> Any:
        return x.astype(xp.float64) if x.any() else x

    refused = CupyFunction(choosy, input="float32[4]", output="float32[4]", rows_max=4)
    with pytest.raises(InputError, match=r"choosy\): float64\[1, 4\] came of float32\[1, 4\]"):
        drive(refused, [np.zeros(4, np.float32), np.ones(4, np.float32)], batch=1)
