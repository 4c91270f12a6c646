"""What is made of a pipeline after it was built: a recorder added, stages replaced by what they sent in a former run.

An amendment is the name of a function and plain arguments, so that it can be written into the run's description: every
process of a run builds the same pipeline and amends it in the same way. The function is given the definition, and
returns another:

    def record(definition: Definition, reference: Reference, *, path: str) -> Definition: ...

It is found by name, as a pipeline is, and so may be anybody's. *Not taken*: options of `load` for each that there is;
the loader would have to know the nodes that these bring.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streamflow.errors import UsageError

if TYPE_CHECKING:
    from streamflow.runtime.loading.definition import Definition
    from streamflow.runtime.loading.loader import Reference


@dataclass(frozen=True, slots=True)
class Amendment:
    """`function`: `module:name`. `arguments`: what JSON can say, given by name."""

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """For the run's description."""
        return {"function": self.function, "arguments": dict(self.arguments)}

    @classmethod
    def heard(cls, told: Mapping[str, Any]) -> Amendment:
        """What `told` has said."""
        return cls(told["function"], told["arguments"])


def amended(definition: Definition, reference: Reference, amendments: Iterable[Amendment]) -> Definition:
    """The definition with all of them, one after the other. Raises UsageError, or whatever an amendment objects to."""
    for amendment in amendments:
        definition = function_of(amendment)(definition, reference, **amendment.arguments)
    return definition


def function_of(amendment: Amendment) -> Callable[..., Definition]:
    """Raises UsageError where there is no such function."""
    module, _, name = amendment.function.partition(":")
    try:
        function: Callable[..., Definition] | None = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise UsageError(f"amendment {amendment.function}", f"cannot be imported, {error}", "module:function") from None
    if not callable(function):
        raise UsageError(f"amendment {amendment.function}", "no such function", "module:function")
    return function
