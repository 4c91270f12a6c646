"""Devices by the names that pipelines use: `host`, `cuda`, `cuda:1`; the first of several that can be used is."""

from __future__ import annotations

from typing import Final

from streamflow.errors import Fault

HOST: Final = "host"
EXPECTED: Final = "host, cuda or cuda:1, or a list of them in the order of preference"


def devices_named(subject: str, asked: object) -> tuple[str, ...]:
    """By their full names; none asked for is none. Raises Fault."""
    if asked is None:
        return ()
    names = [asked] if isinstance(asked, str) else list(asked) if isinstance(asked, list | tuple) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise Fault(subject, f"device {asked!r}", EXPECTED)
    return tuple(dict.fromkeys(_full_name(subject, name) for name in names))


def devices_of(text: str) -> list[str] | None:
    """What a pipeline's setting says, names with commas between them, as `p.add(device=)` takes it; None of none."""
    return [name.strip() for name in text.split(",")] if text.strip() else None


def index_of(name: str) -> int:
    """Of a GPU, among those that are visible."""
    return int(name.partition(":")[2])


def is_gpu(name: str) -> bool:
    return name != HOST


def _full_name(subject: str, name: str) -> str:
    kind, colon, index = name.partition(":")
    if kind == "cuda" and (not colon or index.isdecimal()):
        return f"cuda:{int(index or 0)}"
    if name == HOST:
        return name
    raise Fault(subject, f"device {name!r}", EXPECTED)
