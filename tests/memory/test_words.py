"""Words of shared memory do the same from sources and as the C that stands for them in what is compiled."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import compilation
from streamflow.memory import words
from tests.memory import every_word
from tools import compile as compiling
from tools.compile import HEADER

COUNT = 16
LARGEST = (1 << 64) - 1
REFUSED = (IndexError, ValueError, struct.error, TypeError, OverflowError)
places = st.integers(0, COUNT + 1)
unsigned = st.one_of(st.integers(-2, 300), st.integers(0, LARGEST + 1), st.sampled_from([1 << 62, 1 << 63, LARGEST]))
either = st.one_of(unsigned, st.integers(-(1 << 63) - 1, 0))
steps = st.one_of(
    st.tuples(st.just("do_load"), places),
    st.tuples(st.just("do_store"), places, unsigned),
    st.tuples(st.just("do_add"), places, either),
    st.tuples(st.just("do_copy"), st.integers(0, 4), st.integers(5, COUNT), st.integers(0, 5)),
    st.tuples(st.just("do_put4"), places, *[either] * 4),
    st.tuples(st.just("do_put5"), places, *[either] * 5),
    st.tuples(st.just("do_put7"), places, *[either] * 7),
    st.tuples(st.just("do_settle")),
)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """`every_word` as mypyc makes it."""
    if os.environ.get(compilation.VARIABLE):
        pytest.skip("nothing is to be compiled in this run")
    try:
        compiling.require_tools()
    except compiling.CannotCompileError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("compiled")
    shutil.copy(str(every_word.__file__), folder)
    package = folder / "streamflow" / "memory"  # with nothing else in it: who reads all of streamflow takes 20 s
    package.mkdir(parents=True)
    for name in ("streamflow/__init__.py", "streamflow/memory/__init__.py"):
        (folder / name).touch()
    shutil.copy(str(words.__file__), package)
    program = [sys.executable, str(compiling.PROGRAM), "1", "every_word", str(HEADER), "every_word.py"]
    made = subprocess.run(program, cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    spec = spec_from_file_location("every_word", folder / f"every_word{EXTENSION_SUFFIXES[0]}")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outcome(call: Callable[..., Any], words: memoryview, arguments: tuple[int, ...]) -> Any:
    """What it returned, and the words then; or that it was refused, whatever was stored before."""
    try:
        returned = call(words, *arguments) if call.__name__ != "do_settle" else call()
    except REFUSED:
        return "refused"
    return returned, words.tolist()


def memory() -> memoryview:
    return memoryview(bytearray(range(8 * COUNT))).cast("Q")


def test_what_is_compiled_is_not_what_stands_in_the_source(compiled: ModuleType) -> None:
    """Else all of this would hold of nothing."""
    assert type(compiled.do_load) is not type(every_word.do_load)
    assert "sf_load" in HEADER.read_text()
    words = memory()
    with pytest.raises(IndexError, match=r"words 16 to 16 of 16"):
        compiled.do_load(words, COUNT)


@given(st.lists(steps, max_size=20))
def test_each_does_the_same_compiled_and_from_its_source(compiled: ModuleType, done: list[tuple[Any, ...]]) -> None:
    here, there = memory(), memory()
    for name, *arguments in done:
        expected = outcome(getattr(every_word, name), here, tuple(arguments))
        assert outcome(getattr(compiled, name), there, tuple(arguments)) == expected, (name, arguments)
        if expected == "refused":
            there[:] = here


@pytest.mark.parametrize("is_compiled", [False, True], ids=["source", "compiled"])
@pytest.mark.parametrize(
    "damaged", [memory().toreadonly(), memoryview(bytearray(8)), b"12345678"], ids=["read-only", "bytes", "no view"]
)
def test_what_is_no_memory_to_write_is_refused(
    request: pytest.FixtureRequest, damaged: Any, *, is_compiled: bool
) -> None:
    module = request.getfixturevalue("compiled") if is_compiled else every_word
    with pytest.raises(REFUSED):
        module.do_put4(damaged, 0, 1, 2, 3, 4)


@pytest.mark.parametrize("is_compiled", [False, True], ids=["source", "compiled"])
def test_a_view_that_was_released_is_refused(request: pytest.FixtureRequest, *, is_compiled: bool) -> None:
    module = request.getfixturevalue("compiled") if is_compiled else every_word
    words = memory()
    words.release()
    for call in (lambda: module.do_load(words, 0), lambda: module.do_store(words, 0, 1)):
        with pytest.raises(ValueError, match="released"):
            call()
