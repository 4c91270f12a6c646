"""CUDA C compiled as C++ for the host: what a kernel computes, where there is no GPU (`cuda_on_host.h`)."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

COMPILER = shutil.which("g++") or shutil.which("c++")
HEADER = Path(__file__).with_name("cuda_on_host.h")
LAUNCH = """
extern "C" void launch_{name}(unsigned across, unsigned down, unsigned threads, {parameters}) {{
    emulation::launch({{across, down, 1}}, {{threads, 1, 1}}, [&] {{ {name}({arguments}); }});
}}
"""


def parameters_of(source: Path, name: str) -> str:
    """As its kernel declares them."""
    found = re.search(rf"\b{name}\(([^)]*)\)\s*\{{", source.read_text())
    assert found is not None
    return " ".join(found[1].split())


class HostKernel:
    """Called as `Device.kernel`'s are, with NumPy arrays."""

    def __init__(self, source: Path, name: str, constants: Mapping[str, int], parameters: str, folder: Path) -> None:
        """`parameters`: as the kernel declares them."""
        arguments = ", ".join(one.split()[-1].lstrip("*") for one in parameters.split(","))
        defined = "".join(f"#define {constant} {value}\n" for constant, value in constants.items())
        launch = LAUNCH.format(name=name, parameters=parameters, arguments=arguments)
        program, library = folder / f"{name}.cpp", folder / f"{name}.so"
        program.write_text(f'#include "{HEADER}"\n{defined}#include "{source}"\n{launch}')
        assert COMPILER is not None
        command = [COMPILER, "-std=c++17", "-O1", "-shared", "-fPIC", str(program), "-o", str(library)]
        made = subprocess.run(command, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        self._launch = getattr(ctypes.CDLL(str(library)), f"launch_{name}")

    def __call__(self, grid: tuple[int, int], block: int, *arguments: np.ndarray[Any, Any] | int) -> None:
        given = [
            ctypes.c_int(one) if isinstance(one, int) else one.ctypes.data_as(ctypes.c_void_p) for one in arguments
        ]
        self._launch(*grid, block, *given)
