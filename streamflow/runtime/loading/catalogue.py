"""Which pipelines and nodes can be found, read from the files without importing them.

A module that is broken, or whose optional library is missing, is listed all the same. Folders named
`pipelines` and `nodes` merge along the search path as Python merges namespace packages: a module of the
user's hides a shipped one of the same name.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

PIPELINES, NODES = "pipelines", "nodes"
SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


@dataclass(frozen=True, slots=True)
class Found:
    """A pipeline (`pipelines.speech`, `pipelines.speech:build_long`) or a node's class (`nodes.ingest.WavFile`).

    `summary` is the first line of its docstring, or the sentence that begins there, if it is longer; `parameters` are
    those of a pipeline's function, the ones without a default first named bare, the others as `name=default`; `fault`
    says why the file cannot be read.
    """

    name: str
    file: str
    summary: str = ""
    parameters: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class _Module:
    name: str
    file: Path
    tree: ast.Module | None
    fault: str = ""


def find_pipelines(search_path: Sequence[str]) -> list[Found]:
    """Every function in a pipeline's module that makes a pipeline, by the name that `run` takes."""
    found: list[Found] = []
    for module in _modules(PIPELINES, search_path):
        if module.tree is None:
            found.append(Found(module.name, str(module.file), fault=module.fault))
            continue
        builders = list(_builders(module.tree))
        found += [_pipeline(module, builder) for builder in builders]
        if not builders:
            found.append(Found(module.name, str(module.file), _summary(module.tree), fault="no function build"))
    return found


def find_nodes(search_path: Sequence[str]) -> list[Found]:
    """Every public class that derives from `Node`, by the shortest name it is imported by."""
    modules = list(_modules(NODES, search_path))
    exports = {module.name: public for module in modules if (public := _exports(module))}
    node_classes = _node_classes(modules)
    found: list[Found] = []
    for module in modules:
        if module.tree is None:
            found.append(Found(module.name, str(module.file), fault=module.fault))
            continue
        package = module.name.rpartition(".")[0]
        for definition in _classes(module.tree):
            if definition.name not in node_classes or definition.name.startswith("_"):
                continue
            if package in exports and definition.name not in exports[package]:
                continue
            home = package if package in exports else module.name
            found.append(Found(f"{home}.{definition.name}", str(module.file), _summary(definition)))
    return sorted(found, key=lambda one: one.name)


def find_classes(search_path: Sequence[str]) -> dict[str, ast.ClassDef]:
    """Every class in the modules of nodes, by its bare name; of several the one that is found first."""
    found: dict[str, ast.ClassDef] = {}
    for module in _modules(NODES, search_path):
        for definition in _classes(module.tree) if module.tree else ():
            found.setdefault(definition.name, definition)
    return found


def runnable_name(name: str, file: Path) -> str:
    """How `run` takes a pipeline from here: in this folder by its file, which a shell completes, else by module."""
    here = Path.cwd()
    if not file.is_relative_to(here / PIPELINES):
        return name
    _, colon, function = name.partition(":")
    return f"{file.relative_to(here)}{colon}{function}"


def folders(package: str, search_path: Sequence[str]) -> list[Path]:
    """Where Python looks for the modules of a package, in its order; none where there is no such package."""
    importlib.invalidate_caches()
    spec = PathFinder.find_spec(package, list(search_path))
    locations = spec.submodule_search_locations if spec is not None else None
    return list(dict.fromkeys(Path(folder).resolve() for folder in locations or ()))


def _modules(package: str, search_path: Sequence[str]) -> Iterator[_Module]:
    seen: set[str] = set()
    for folder in folders(package, search_path):
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            name = ".".join((package, *parts))
            if name in seen or any(part.startswith(("_", ".")) for part in parts):
                continue
            seen.add(name)
            yield _parse(name, file)


def _parse(name: str, file: Path) -> _Module:
    try:
        return _Module(name, file, ast.parse(file.read_bytes()))
    except SyntaxError as error:
        line = f" in line {error.lineno}" if error.lineno else ""
        return _Module(name, file, None, f"a syntax error{line}: {error.msg}")
    except (OSError, ValueError) as error:
        return _Module(name, file, None, f"cannot be read: {getattr(error, 'strerror', None) or error}")


# -------------------------------------------------------------------------------------------- pipelines


def _builders(tree: ast.Module) -> Iterator[ast.stmt]:
    """What defines `build`, and the other functions that say they return a Pipeline."""
    for statement in tree.body:
        match statement:
            case ast.FunctionDef(name="build"):
                yield statement
            case ast.FunctionDef(returns=ast.expr() as returns):
                if ast.unparse(returns).strip("'\"").rpartition(".")[2] == "Pipeline":
                    yield statement
            case ast.Assign(targets=targets) if any(isinstance(t, ast.Name) and t.id == "build" for t in targets):
                yield statement
            case ast.ImportFrom(names=names) if any((alias.asname or alias.name) == "build" for alias in names):
                yield statement


def _pipeline(module: _Module, builder: ast.stmt) -> Found:
    assert module.tree is not None
    if not isinstance(builder, ast.FunctionDef):
        return Found(module.name, str(module.file), _summary(module.tree))
    parameters = tuple(_parameters(builder.args))
    if builder.name == "build":
        return Found(module.name, str(module.file), _summary(module.tree) or _summary(builder), parameters)
    return Found(f"{module.name}:{builder.name}", str(module.file), _summary(builder), parameters)


def _parameters(arguments: ast.arguments) -> Iterator[str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = len(positional) - len(arguments.defaults)
    defaults = [None] * missing + list(arguments.defaults)
    pairs = [*zip(positional, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    yield from (argument.arg for argument, default in pairs if default is None)
    yield from (f"{argument.arg}={ast.unparse(default)}" for argument, default in pairs if default is not None)


# ------------------------------------------------------------------------------------------------ nodes


def _classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [statement for statement in tree.body if isinstance(statement, ast.ClassDef)]


def _node_classes(modules: Iterable[_Module]) -> set[str]:
    """Names of the classes that derive from `Node`, directly or through each other."""
    bases: dict[str, set[str]] = {}
    for module in modules:
        for definition in _classes(module.tree) if module.tree else ():
            names = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in definition.bases}
            bases.setdefault(definition.name, set()).update(names)
    found = {"Node"}
    while more := {name for name, of in bases.items() if name not in found and of & found}:
        found |= more
    return found


def _exports(module: _Module) -> set[str]:
    """The names in a package's `__all__`; empty for a plain module, or where it is not a plain list."""
    if module.file.name != "__init__.py" or module.tree is None:
        return set()
    for statement in module.tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=names) | ast.Tuple(elts=names)):
                return {name.value for name in names if isinstance(name, ast.Constant) and isinstance(name.value, str)}
    return set()


def _summary(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    lines = (ast.get_docstring(node) or "").partition("\n\n")[0].splitlines()
    whole = " ".join(lines)
    end = SENTENCE_END.search(whole, len(lines[0]) - 1) if lines else None
    return whole if end is None else whole[: end.start() + 1]
