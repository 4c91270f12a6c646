"""Whether the hot path runs compiled, or from its sources.

`tools/compile.py` lets mypyc make machine code of the modules that handle every datum (pyproject lists them): of the
very same sources, which say all that there is to know. What it has made lies beside them, with the checksums of what it
was made of. It is used while these hold, and as a whole or not at all: such modules know each other's memory.

    STREAMFLOW_COMPILED=no    from sources, for a debugger or a tracer of lines; an installation then compiles nothing

*Not taken*: the age of the files, which installing changes; an error where it is stale, for sources always work.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

VARIABLE = "STREAMFLOW_COMPILED"
ROOT = Path(__file__).parent.parent
MANIFEST = Path(__file__).with_name("compiled.json")
"""The checksum of each source that was compiled, and of what was included; not there where nothing was."""
NOTHING = "nothing was compiled"

reason = ""
"""Why the hot path does not run compiled; empty where it does."""


def checksum(source: Path) -> int:
    return zlib.crc32(source.read_bytes())


def why_not(manifest: Path = MANIFEST, root: Path = ROOT) -> str:
    """Why what was compiled cannot be used; empty where it can."""
    if os.environ.get(VARIABLE, "").lower() in ("no", "0", "off", "false"):
        return f"{VARIABLE} says no"
    try:
        made_of: dict[str, int] = json.loads(manifest.read_bytes())["sources"]
        modules = [name for name in made_of if name.endswith(".py")]
        if not all((root / name).with_suffix(EXTENSION_SUFFIXES[0]).exists() for name in modules):
            return "it was compiled for another Python"
        stale = [name for name, expected in made_of.items() if checksum(root / name) != expected]
    except FileNotFoundError:
        return NOTHING
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "what was compiled cannot be read"
    return f"{stale[0]} has changed since it was compiled" if stale else ""


class _Sources:
    """Finds modules of streamflow as sources, whatever lies beside them."""

    def __init__(self) -> None:
        self._finders: dict[str, FileFinder] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is None or not name.startswith("streamflow."):
            return None
        for folder in path:
            finder = self._finders.get(folder)
            if finder is None:
                finder = self._finders[folder] = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES))
            spec = finder.find_spec(name)
            if spec is not None:
                return spec
        return None


def choose() -> None:
    """To be called once, before any of these modules is imported."""
    global reason
    reason = why_not()
    if reason:
        sys.meta_path.insert(0, _Sources())
