"""From a pipeline's name and settings to its definition: import the module, convert `--set` values, call `build`.

Every process of a run does this for itself: what travels between them is the name and the texts of the
settings, never code. What is wrong with the module or the settings is a UsageError or a PipelineError with
the line of the user's file; nothing has been started then.
"""

from __future__ import annotations

import difflib
import enum
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamflow.core.graph import Resolved
from streamflow.errors import Fault, PipelineError, StreamflowError, UsageError
from streamflow.runtime.definition import Definition


@dataclass(frozen=True, slots=True)
class Reference:
    """How a pipeline is named: `pipelines/speech.py`, `pipelines.speech`, either with `:function`."""

    text: str
    settings: Mapping[str, str]

    @property
    def target(self) -> str:
        return self.text.rpartition(":")[0] if ":" in self.text else self.text

    @property
    def function(self) -> str:
        return self.text.rpartition(":")[2] if ":" in self.text else "build"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pipeline that was built; `resolved` of it has no faults."""

    reference: Reference
    definition: Definition
    resolved: Resolved

    @property
    def key(self) -> str:
        """The same for every process that built the same pipeline with the same settings."""
        parts = [self.resolved.graph.name, *sorted(f"{k}={v}" for k, v in self.reference.settings.items())]
        parts += [self.resolved.schema(edge) for edge in self.resolved.graph.edges]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def load(reference: Reference, *, lossless: bool = False) -> Loaded:
    """Import, build and resolve. Raises UsageError or PipelineError; `lossless` makes every edge block."""
    build = find_build(reference)
    arguments = convert_settings(build, reference)
    try:
        pipeline = build(**arguments)
    except StreamflowError as error:
        raise PipelineError([error]) from error
    except Exception as error:
        raise UsageError(reference.text, f"{_raised(error)} while it built the pipeline", hint=_where(error)) from error
    make_definition = getattr(pipeline, "definition", None)
    if make_definition is None:
        raise UsageError(reference.text, f"{reference.function} returned {type(pipeline).__name__}", "a Pipeline")
    definition: Definition = make_definition()
    if lossless:
        definition = Definition(definition.graph.lossless(), definition.nodes, definition.faults)
    return Loaded(reference, definition, definition.resolved())


def find_build(reference: Reference) -> Callable[..., Any]:
    """The function that builds the pipeline. Raises UsageError when the module or it cannot be had."""
    module = import_pipeline(reference)
    build: Callable[..., Any] | None = getattr(module, reference.function, None)
    if not callable(build):
        functions = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
        close = difflib.get_close_matches(reference.function, functions, 1)
        hint = f"did you mean :{close[0]}?" if close else "define build(...) -> Pipeline"
        raise UsageError(reference.target, f"no function {reference.function}", hint=hint)
    return build


def import_pipeline(reference: Reference) -> types.ModuleType:
    """The pipeline's module; the folder that holds `pipelines/` and `nodes/` becomes importable."""
    target = reference.target
    try:
        if target.endswith(".py") or "/" in target:
            return _import_file(Path(target))
        _make_importable(Path.cwd())
        return importlib.import_module(target)
    except UsageError:
        raise
    except SyntaxError as error:
        where = f"{error.filename}:{error.lineno}"
        raise UsageError(target, f"a syntax error, {error.msg}", hint=where) from error
    except ModuleNotFoundError as error:
        if error.name and target.startswith(error.name):
            raise _no_pipeline(target, "no such module") from None
        raise UsageError(target, f"an import failed: {error}", hint=_where(error)) from error
    except Exception as error:
        raise UsageError(target, f"{_raised(error)} when it was imported", hint=_where(error)) from error


def _no_pipeline(target: str, found: str) -> UsageError:
    return UsageError(target, found, "a pipeline's file or module", "streamflow list shows them")


def _import_file(path: Path) -> types.ModuleType:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise _no_pipeline(str(path), found)
    path = path.resolve()
    in_pipelines = path.parent.name == "pipelines"
    _make_importable(path.parent.parent if in_pipelines else path.parent)
    name = f"pipelines.{path.stem}" if in_pipelines else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(str(path), "not a Python file", "a pipeline's file, *.py")
    module = importlib.util.module_from_spec(spec)
    previous = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if previous is None:
            del sys.modules[name]
        else:
            sys.modules[name] = previous
        raise
    return module


def _make_importable(folder: Path) -> None:
    """In front of everything: a user's `nodes/` is searched before the shipped one, and merges with it."""
    text = str(folder.resolve())
    if text not in sys.path:
        sys.path.insert(0, text)
        importlib.invalidate_caches()


# ------------------------------------------------------------------------------------------ settings


def convert_settings(build: Callable[..., Any], reference: Reference) -> dict[str, Any]:
    """`--set` texts as `build`'s annotations want them. Raises PipelineError with everything that is wrong."""
    parameters = inspect.signature(build).parameters
    try:
        hints = typing.get_type_hints(build)
    except Exception as error:
        raise UsageError(reference.text, f"annotations that cannot be read: {error}") from error
    faults: list[StreamflowError] = []
    values: dict[str, Any] = {}
    for name, text in reference.settings.items():
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, 1)
            known = ", ".join(parameters) or "none"
            hint = f"did you mean {close[0]}?" if close else ""
            faults.append(Fault(f"--set {name}", f"{reference.text} has no such parameter", f"one of {known}", hint))
            continue
        try:
            values[name] = convert(text, hints.get(name, str))
        except ValueError as error:
            faults.append(Fault(f"--set {name}", f"{text!r}", str(error)))
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in reference.settings:
            kind = _described(hints.get(name, str))
            faults.append(Fault(reference.text, f"no value for {name}", kind, f"--set {name}=..."))
    if faults:
        raise PipelineError(faults)
    return values


_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def convert(text: str, annotation: Any) -> Any:
    """`text` as a value of `annotation`. Raises ValueError whose text says what was expected."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(text, arguments)
    if origin is typing.Literal:
        for value in arguments:
            if text == str(value):
                return value
        raise ValueError(_described(annotation))
    if origin in (list, tuple):
        inner = arguments[0] if arguments else str
        return origin(convert(part.strip(), inner) for part in text.split(",") if part.strip())
    if annotation is bool:
        if text.lower() in _TRUE + _FALSE:
            return text.lower() in _TRUE
        raise ValueError(_described(bool))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        for member in annotation:
            if text.lower() in (member.name.lower(), str(member.value).lower()):
                return member
        raise ValueError(_described(annotation))
    if annotation in (int, float, Path):
        try:
            return annotation(text)
        except ValueError:
            raise ValueError(_described(annotation)) from None
    return text


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


def _described(annotation: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
    if annotation in names:
        return names[annotation]
    if typing.get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(member.name.lower() for member in annotation)
    return str(annotation).replace("typing.", "")


_OWN = (__file__, "<frozen importlib", importlib.__file__)


def _raised(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _where(error: BaseException) -> str:
    """The last line of the user's own code that the error passed."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_OWN)]
    return f"at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
