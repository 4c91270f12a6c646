"""Compiles the hot path with mypyc, in place: `python -m tools.compile`. What is done already is not done again.

Also a build hook of hatchling, so `pip install` does it, and a wheel holds it. Without a C compiler or Python's headers
there is a sentence about what is missing, and streamflow runs from its sources: nothing depends on this but speed.
`streamflow/compilation.py` says what becomes of it at run time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "streamflow" / "compiled.json"
PROGRAM = ROOT / "tools" / "native.py"
HEADER = ROOT / "streamflow" / "memory" / "words.h"
GROUP = "streamflow"  # of modules that are compiled as one, so that they call each other as C functions do
GROUP_LIBRARY = f"{GROUP}__mypyc"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
OPTIMIZATION = "1"  # of the C compiler: 2 takes half as long again for what is within the noise


class CannotCompileError(Exception):
    """What is missing, and how to get it."""


class CompileHook(BuildHookInterface):  # type: ignore[type-arg]
    """hatchling's: compiles before a wheel, or an editable installation, is made; not where sources are to run."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if os.environ.get("STREAMFLOW_COMPILED") != "no" and compile_all():
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["artifacts"] += [f"/{path.relative_to(ROOT)}" for path in (*made(), MANIFEST)]
            library = ROOT / f"{GROUP_LIBRARY}{SUFFIX}"
            if version != "editable":
                build_data["force_include"][str(library)] = library.name


def sources() -> list[Path]:
    """What pyproject says is to be compiled."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        names: list[str] = tomllib.load(file)["tool"]["streamflow"]["compiled"]
    return [ROOT / f"{name.replace('.', '/')}.py" for name in names]


def made() -> Iterator[Path]:
    """What the compiler makes of each source, beside it."""
    for source in sources():
        yield source.with_suffix(SUFFIX)


def checksums() -> dict[str, int]:
    """As `streamflow.compilation` takes them, which cannot be imported where only a wheel is being built."""
    return {str(source.relative_to(ROOT)): zlib.crc32(source.read_bytes()) for source in (*sources(), HEADER)}


def is_done() -> bool:
    """Whether what is there was made of these sources, for this Python."""
    try:
        found = json.loads(MANIFEST.read_bytes())
    except (OSError, ValueError):
        return False
    is_there = all(path.exists() for path in (*made(), ROOT / f"{GROUP_LIBRARY}{SUFFIX}"))
    return is_there and found == {"sources": checksums()}


def compile_all() -> bool:
    """Compile what is not done yet; False, with a sentence on stderr, where that is not possible here."""
    if is_done():
        return True
    remove()
    try:
        require_tools()
        print(f"compiling {len(sources())} modules of the hot path: about a minute", file=sys.stderr, flush=True)
        _compile()
    except CannotCompileError as error:
        print(f"streamflow will run from its sources, slower: {error}", file=sys.stderr)
        remove()
        return False
    MANIFEST.write_text(json.dumps({"sources": checksums()}, indent=1) + "\n")
    return True


def remove() -> None:
    """What an earlier run has made, for whichever Python."""
    MANIFEST.unlink(missing_ok=True)
    for source in sources():
        for library in source.parent.glob(f"{source.stem}.*.so"):
            library.unlink()
    for library in ROOT.glob(f"{GROUP_LIBRARY}.*.so"):
        library.unlink()


def require_tools() -> None:
    """Raises CannotCompileError."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        raise CannotCompileError(f"there is no C compiler ({compiler}); apt install gcc, then install again")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise CannotCompileError("Python's headers are missing; apt install python3-dev, then install again")


def _compile() -> None:
    program = subprocess.run(
        [
            sys.executable,
            str(PROGRAM),
            OPTIMIZATION,
            GROUP,
            str(HEADER),
            *(str(path.relative_to(ROOT)) for path in sources()),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if program.returncode:
        last = (program.stderr.strip() or program.stdout.strip()).splitlines()[-1:]
        raise CannotCompileError(f"the compiler failed ({last[0] if last else program.returncode})")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.compile", description=__doc__.partition("\n")[0])
    parser.add_argument("--remove", action="store_true", help="remove what was compiled instead")
    if parser.parse_args(arguments).remove:
        remove()
        return 0
    compile_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
