"""Commands that installed distributions register in the entry-point group `streamflow.commands`, by name.

Read from the files that installers write (`*.dist-info/entry_points.txt`), so that `streamflow --help` takes half as
long as with `importlib.metadata`, which imports a mail parser first. Distributions in zip files are not looked at.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from operator import attrgetter
from typing import NamedTuple

GROUP = "streamflow.commands"
_FOLDERS = (".dist-info", ".egg-info")


class EntryPoint(NamedTuple):
    """`name = module:attribute`, as it is written there."""

    name: str
    value: str

    def load(self) -> object:
        """Import what it names; raises whatever that raises."""
        module, _, attribute = self.value.partition(":")
        found = importlib.import_module(module)
        return attrgetter(attribute)(found) if attribute else found


def find_entry_points() -> dict[str, EntryPoint]:
    """Of two with the same name that counts which is found first on the search path."""
    found: dict[str, EntryPoint] = {}
    for text in _texts():
        for entry in _in_group(text):
            found.setdefault(entry.name, entry)
    return found


def _texts() -> Iterator[str]:
    for folder in dict.fromkeys(path or os.curdir for path in sys.path):
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(_FOLDERS))
        except OSError:
            continue  # no folder
        for name in names:
            try:
                with open(os.path.join(folder, name, "entry_points.txt"), encoding="utf-8") as file:
                    text = file.read()
            except (OSError, UnicodeDecodeError):
                continue  # most have none
            if GROUP in text:
                yield text


def _in_group(text: str) -> Iterator[EntryPoint]:
    is_ours = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            is_ours = line == f"[{GROUP}]"
        elif is_ours and not line.startswith(("#", ";")):
            name, equals, value = line.partition("=")
            if equals:
                yield EntryPoint(name.strip(), value.partition("[")[0].strip())  # extras in brackets are of old times
