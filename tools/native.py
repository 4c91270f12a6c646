"""Lets mypyc make machine code of sources, in place: `python tools/native.py LEVEL GROUP HEADER SOURCES...`.

tools/compile.py runs it, as a process of its own, since setuptools and mypyc set what others in the same one rely on.
What `streamflow.memory.words` offers becomes the functions of `words.h`, by the table that mypyc keeps its own in.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence

from mypyc.build import mypycify
from mypyc.ir.ops import ERR_MAGIC
from mypyc.ir.rtypes import RType, c_int_rprimitive, int_rprimitive, object_rprimitive
from mypyc.primitives.registry import ERR_NEG_INT, function_op
from setuptools import Distribution, Extension

WORDS = "streamflow.memory.words"
QUIETLY = "-Wno-all"  # the analyses for warnings cost gcc more than its work does; `-w` only hides what they say
_WORDS, _NUMBER = object_rprimitive, int_rprimitive


def _replace(name: str, *arguments: RType, returns: RType = c_int_rprimitive) -> None:
    error_kind = ERR_MAGIC if returns is _NUMBER else ERR_NEG_INT
    function_op(f"{WORDS}.{name}", list(arguments), returns, f"sf_{name}", error_kind)


def replace_words() -> None:
    """From now on."""
    _replace("load", _WORDS, _NUMBER, returns=_NUMBER)
    _replace("store", _WORDS, _NUMBER, _NUMBER)
    _replace("add", _WORDS, _NUMBER, _NUMBER)
    _replace("copy", _WORDS, _NUMBER, _NUMBER, _NUMBER)
    for count in (4, 5, 7):
        _replace(f"put{count}", _WORDS, _NUMBER, *[_NUMBER] * count)
    _replace("settle")


def build(optimization: str, group: str, header: str, sources: Sequence[str]) -> None:
    """Beside the sources, and the library of the group in the working directory."""
    replace_words()
    with tempfile.TemporaryDirectory() as folder:
        modules: list[Extension] = mypycify(
            [f"--cache-dir={folder}/mypy", *sources],  # its own: the mypy that checks types may run at the same time
            opt_level=optimization,
            debug_level="0",
            group_name=group,
            target_dir=folder,
        )
        for module in modules:
            if module.include_dirs:  # those without only load the library of the group
                module.extra_compile_args = [*module.extra_compile_args, QUIETLY, "-include", header]
        build_ext = Distribution({"name": group, "ext_modules": modules}).get_command_obj("build_ext")
        build_ext.inplace, build_ext.build_temp, build_ext.build_lib = 1, folder, folder
        build_ext.ensure_finalized()
        build_ext.run()


if __name__ == "__main__":
    build(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
