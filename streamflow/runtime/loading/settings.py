"""`--set` texts into what the parameters of a pipeline's `build` are annotated with, all faults at once."""

from __future__ import annotations

import collections.abc
import difflib
import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from streamflow.errors import Fault, PipelineError, StreamflowError, UsageError

_Parameter = inspect.Parameter
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NUMBERS = {int: "a whole number", float: "a number"}
_SEQUENCES = {
    list: list,
    set: set,
    frozenset: frozenset,
    tuple: tuple,
    collections.abc.Sequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
}


def convert_settings(build: Callable[..., Any], settings: Mapping[str, str], pipeline: str) -> dict[str, Any]:
    """Arguments for `build`. Raises PipelineError with everything that is wrong, missing values included."""
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(build).parameters.items()
        if parameter.kind is not _Parameter.VAR_POSITIONAL
    }
    annotations = _annotations(build, parameters, pipeline)
    rest = next((name for name, p in parameters.items() if p.kind is _Parameter.VAR_KEYWORD), None)
    named = [name for name in parameters if name != rest]
    faults: list[StreamflowError] = []
    values: dict[str, Any] = {}
    for name, text in settings.items():
        if name not in named and rest is None:
            close = difflib.get_close_matches(name, named, 1)
            expected = f"one of {', '.join(named)}" if named else "none: it has no parameters"
            hint = f"did you mean {close[0]}?" if close else ""
            faults.append(Fault(f"--set {name}", f"{pipeline} has no such parameter", expected, hint))
            continue
        try:
            values[name] = convert(text, annotations[name if name in named else str(rest)])
        except ValueError as error:
            faults.append(Fault(f"--set {name}", f"{text!r}", str(error)))
    for name in named:
        if parameters[name].default is _Parameter.empty and name not in settings:
            faults.append(Fault(pipeline, f"no value for {name}", described(annotations[name]), f"--set {name}=..."))
    if faults:
        raise PipelineError(faults)
    return values


def _annotations(build: Callable[..., Any], parameters: Mapping[str, _Parameter], pipeline: str) -> dict[str, Any]:
    """What each parameter is annotated with; one without an annotation is what its default is, else a text."""
    try:
        hints = typing.get_type_hints(build)
    except Exception as error:  # annotations are the user's own expressions
        raise UsageError(pipeline, f"annotations that cannot be read, {type(error).__name__}: {error}") from error
    found = {}
    for name, parameter in parameters.items():
        default = parameter.default
        inferred = str if default is _Parameter.empty or default is None else type(default)
        found[name] = hints.get(name, inferred)
    return found


def convert(text: str, annotation: Any) -> Any:
    """`text` as a value of `annotation`. Raises ValueError whose text says what was expected."""
    annotation = _unwrapped(annotation)
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(text, arguments)
    if origin is typing.Literal:
        return _choice(text, {str(value): value for value in arguments}, annotation)
    if origin in _SEQUENCES:
        return _convert_sequence(text, origin, arguments, annotation)
    if annotation is bool:
        return _choice(text.lower(), dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False), bool)
    if annotation in _NUMBERS:
        try:
            return annotation(text)
        except ValueError:
            raise ValueError(_NUMBERS[annotation]) from None
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            values = {str(member.value).lower(): member for member in annotation}
            return _choice(text.lower(), values | {member.name.lower(): member for member in annotation}, annotation)
        if issubclass(annotation, PurePath):
            return annotation(text)
    if annotation in (str, Any, object):
        return text
    raise ValueError(f"{described(annotation)}, which cannot be written with --set")


def _unwrapped(annotation: Any) -> Any:
    """A NewType or a `type` alias as what it stands for."""
    while (inner := getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)) is not None:
        annotation = inner
    return annotation


def _choice(text: str, choices: Mapping[str, Any], annotation: Any) -> Any:
    if text not in choices:
        raise ValueError(described(annotation))
    return choices[text]


def _convert_union(text: str, alternatives: tuple[Any, ...]) -> Any:
    if type(None) in alternatives and text.lower() in ("none", ""):
        return None
    failed: list[str] = []
    for alternative in alternatives:
        if alternative is type(None):
            continue
        try:
            return convert(text, alternative)
        except ValueError as error:
            failed.append(str(error))
    raise ValueError(" or ".join(failed))


def _convert_sequence(text: str, origin: Any, arguments: tuple[Any, ...], annotation: Any) -> Any:
    """Values with commas between them; `tuple[int, float]` has one type for each place."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    inner = [arguments[0] if arguments else str] * len(parts)
    if origin is tuple and arguments and Ellipsis not in arguments:
        if len(parts) != len(arguments):
            raise ValueError(described(annotation))
        inner = list(arguments)
    return _SEQUENCES[origin](convert(part, of) for part, of in zip(parts, inner, strict=True))


def described(annotation: Any) -> str:
    """What an annotation asks for, in words."""
    annotation = _unwrapped(annotation)
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if one is type(None) else described(one) for one in arguments)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and arguments and Ellipsis not in arguments:
        return ", ".join(map(described, arguments)) + ", with commas between them"
    if origin in _SEQUENCES:
        return f"{described(arguments[0]) if arguments else 'a text'} or several, with commas between them"
    if annotation is bool:
        return "true or false"
    if annotation in _NUMBERS:
        return _NUMBERS[annotation]
    if annotation in (str, Any, object):
        return "a text"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(member.name.lower() for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, PurePath):
        return "a path"
    return annotation.__name__ if isinstance(annotation, type) and not arguments else str(annotation)
