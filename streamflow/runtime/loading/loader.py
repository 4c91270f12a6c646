"""From a pipeline's name and settings to its definition: import the module, convert the settings, call `build`.

Every process of a run does this for itself: what travels between them is the name and the texts of the
settings, never code. What is wrong with the module or the settings is a UsageError or a PipelineError with
the line of the user's file; nothing has been started then.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from streamflow.core.graph import Resolved
from streamflow.errors import PipelineError, StreamflowError, UsageError
from streamflow.runtime.loading.amendments import Amendment, amended
from streamflow.runtime.loading.catalogue import PIPELINES, folders, runnable_name
from streamflow.runtime.loading.definition import Definition
from streamflow.runtime.loading.extras import remedy_for
from streamflow.runtime.loading.settings import convert_settings
from streamflow.runtime.usercode import shown, user_line


@dataclass(frozen=True, slots=True)
class Reference:
    """How a pipeline is named: `pipelines/speech.py`, `pipelines.speech`, either with `:function`.

    `amendments`: what is made of it once it is built.
    """

    text: str
    settings: Mapping[str, str]
    amendments: tuple[Amendment, ...] = ()

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
        parts += [json.dumps(amendment.told(), sort_keys=True) for amendment in self.reference.amendments]
        parts += [self.resolved.schema(edge) for edge in self.resolved.graph.edges]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def load(reference: Reference, *, offline: bool = False) -> Loaded:
    """Import, build and resolve. Raises UsageError or PipelineError; `offline`: every edge blocks, nothing is due."""
    build = find_build(reference)
    arguments = convert_settings(build, reference.settings, reference.text)
    try:
        pipeline = build(**arguments)
    except StreamflowError as error:
        raise PipelineError([error]) from error
    except (Exception, SystemExit) as error:
        raise UsageError(reference.text, f"{_raised(error)} while it built the pipeline", hint=_at(error)) from error
    make_definition = getattr(pipeline, "definition", None)
    if not callable(make_definition):
        found = "nothing" if pipeline is None else f"a {type(pipeline).__name__}"
        raise UsageError(reference.text, f"{reference.function} returned {found}", "a Pipeline")
    definition: Definition = amended(make_definition(), reference, reference.amendments)
    if offline:
        definition = replace(definition, graph=definition.graph.offline())
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
        if not all(part.isidentifier() for part in target.split(".")):
            raise _no_pipeline(target, "no file and no module")
        _make_importable(Path.cwd())
        return importlib.import_module(target)
    except UsageError:
        raise
    except SyntaxError as error:
        where = f"{shown(error.filename)}:{error.lineno or 1}" if error.filename else target
        raise UsageError(target, f"a syntax error, {error.msg}", hint=f"at {where}") from error
    except ModuleNotFoundError as error:
        if error.name and f"{target}.".startswith(f"{error.name}."):
            raise _no_pipeline(target, "no such module") from None
        line = user_line(error)
        found = f"an import failed{f' at {line}' if line else ''}, {error}"
        raise UsageError(target, found, hint=remedy_for(error.name or "")) from error
    except (Exception, SystemExit) as error:
        raise UsageError(target, f"{_raised(error)} when it was imported", hint=_at(error)) from error


def _no_pipeline(target: str, found: str) -> UsageError:
    hint = f"did you mean {nearest}?" if (nearest := _nearest(target)) else "streamflow list shows them"
    return UsageError(target, found, "a pipeline's file or module", hint)


def _nearest(target: str) -> str:
    """How `run` takes the pipeline that is called most like the target, or nothing."""
    wanted = Path(target).stem if "/" in target or target.endswith(".py") else target.rpartition(".")[2]
    files: dict[str, Path] = {}
    for folder in folders(PIPELINES, [str(Path.cwd()), *sys.path]):
        for file in folder.glob("*.py"):
            files.setdefault(file.stem, file)
    close = difflib.get_close_matches(wanted, files, 1)
    return runnable_name(f"{PIPELINES}.{close[0]}", files[close[0]]) if close else ""


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


def _raised(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _at(error: BaseException) -> str:
    line = user_line(error)
    return f"at {line}" if line else ""
