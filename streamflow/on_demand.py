"""Packages whose names are imported when they are first asked for (PEP 562), so that nobody waits for what he does not
use: of a pipeline's start, and of each stage's that starts cold, the nodes that others use were a fifth."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from sys import modules
from typing import Any


def on_demand(package: str, names: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`. `names`: what each of its modules has that is also the package's."""
    module_of = {name: module for module, its_names in names.items() for name in its_names}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(modules[package], name, value)
        return value

    def names_of() -> list[str]:
        return sorted({*vars(modules[package]), *module_of})

    return get, names_of
