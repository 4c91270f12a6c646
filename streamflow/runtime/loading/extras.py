"""The libraries that only some nodes need: which extra of `streamflow` brings each."""

from __future__ import annotations

import re
from collections.abc import Iterable

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)[^;]*;.*\bextra\s*==\s*['\"]([^'\"]+)['\"]")
EVERYTHING = "all"


def extras() -> dict[str, list[str]]:
    """Libraries by extra, as the installed distribution declares them; the extra `all` is left out."""
    from importlib.metadata import requires  # brings a mail parser: a twentieth of a start, and hardly ever needed

    return extras_of(requires("streamflow") or [])


def extras_of(requirements: Iterable[str]) -> dict[str, list[str]]:
    """The same from lines such as `soundfile>=0.12; extra == 'audio'`."""
    found: dict[str, list[str]] = {}
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match and match[2] != EVERYTHING:
            found.setdefault(match[2], []).append(match[1])
    return dict(sorted(found.items()))


def install_command(extra: str) -> str:
    return f"pip install 'streamflow[{extra}]'"


def remedy_for(module: str) -> str:
    """The command that brings an optional library, or nothing when no extra does."""
    for extra, libraries in extras().items():
        if module.partition(".")[0] in libraries:
            return f"{install_command(extra)} brings it"
    return ""
