"""What a node or a pipeline of the catalogue says of itself, read from its file without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import indent

from streamflow.runtime.loading.catalogue import Found

WIDTH = 100  # a signature that is longer has a line for each parameter
PORT_KINDS = ("In", "Out")

Classes = Mapping[str, ast.ClassDef]


def describe_node(found: Found, classes: Classes) -> str:
    """Docstring, signature with defaults, and ports; `classes` are those it may derive from, by their bare names."""
    if found.fault:
        return f"{_heading(found)}\n\n[{found.fault}]"
    name = found.name.rpartition(".")[2]
    own = {one.name: one for one in ast.parse(Path(found.file).read_bytes()).body if isinstance(one, ast.ClassDef)}
    lineage = list(_lineage(name, {**classes, **own}))
    init = next((method for cls in lineage for method in _methods(cls) if method.name == "__init__"), None)
    parts = [_heading(found), _signature(name, init), ast.get_docstring(own[name])]
    parts.append(ast.get_docstring(init) if init else None)
    parts.append(_ports_text(lineage))
    return "\n\n".join(part for part in parts if part)


def describe_pipeline(found: Found) -> str:
    """Docstring and parameters."""
    if found.fault:
        return f"{_heading(found)}\n\n[{found.fault}]"
    module = ast.parse(Path(found.file).read_bytes())
    function = found.name.partition(":")[2] or "build"
    builder = next((one for one in module.body if isinstance(one, ast.FunctionDef) and one.name == function), None)
    of_builder = ast.get_docstring(builder) if builder else None
    docstrings = [of_builder] if ":" in found.name else [ast.get_docstring(module), of_builder]
    parameters = [f"  --set {one if '=' in one else f'{one}=...  (required)'}" for one in found.parameters]
    listed = "\n".join(["Parameters:", *parameters]) if parameters else "Parameters: none"
    return "\n\n".join(part for part in [_heading(found), *docstrings, listed] if part)


def _heading(found: Found) -> str:
    file, here = Path(found.file), Path.cwd()
    return f"{found.name}  ({file.relative_to(here) if file.is_relative_to(here) else file})"


def _lineage(name: str, classes: Classes) -> Iterator[ast.ClassDef]:
    """The class and those it derives from, nearest first, as far as the catalogue has them."""
    waiting, seen = [name], set()
    while waiting:
        current = waiting.pop(0)
        if current in seen or current not in classes:
            continue
        seen.add(current)
        yield classes[current]
        waiting += [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in classes[current].bases]


def _methods(cls: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    return (statement for statement in cls.body if isinstance(statement, ast.FunctionDef))


# -------------------------------------------------------------------------------------------- signatures


def _signature(name: str, init: ast.FunctionDef | None) -> str:
    parameters = list(_parameters(init.args))[1:] if init else []
    line = f"{name}({', '.join(parameters)})"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), ")"])


def _parameters(arguments: ast.arguments) -> Iterator[str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    for index, (argument, default) in enumerate(zip(positional, defaults, strict=True), 1):
        yield _parameter(argument, default)
        if index == len(arguments.posonlyargs):
            yield "/"
    if arguments.vararg:
        yield f"*{_parameter(arguments.vararg, None)}"
    elif arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _parameter(argument, default)
    if arguments.kwarg:
        yield f"**{_parameter(arguments.kwarg, None)}"


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    text = f"{argument.arg}: {ast.unparse(argument.annotation)}" if argument.annotation else argument.arg
    if default is None:
        return text
    return f"{text} = {ast.unparse(default)}" if argument.annotation else f"{text}={ast.unparse(default)}"


# ------------------------------------------------------------------------------------------------- ports


def _ports_text(lineage: Sequence[ast.ClassDef]) -> str:
    """Ports of the class as they are written; those that only methods set depend on what the node is told."""
    ports: dict[str, str] = {}
    for cls in reversed(lineage):
        for target, call in _port_assignments(cls.body):
            if isinstance(target, ast.Name):
                ports[target.id] = ast.unparse(call)
    for cls in reversed(lineage):
        for method in _methods(cls):
            for target, call in _port_assignments(ast.walk(method)):
                if isinstance(target, ast.Attribute):
                    ports.setdefault(target.attr, f"{_last_name(call.func)}, its type depends on the settings")
    if not ports:
        return "Ports: they depend on the settings"
    return "Ports:\n" + indent("\n".join(f"{name}: {text}" for name, text in ports.items()), "  ")


def _port_assignments(statements: Iterable[ast.AST]) -> Iterator[tuple[ast.expr, ast.Call]]:
    """What is assigned an `In(...)` or `Out(...)` by one of the statements."""
    for statement in statements:
        match statement:
            case ast.Assign(targets=[target], value=ast.Call() as call) if _last_name(call.func) in PORT_KINDS:
                yield target, call
            case ast.AnnAssign(target=target, value=ast.Call() as call) if _last_name(call.func) in PORT_KINDS:
                yield target, call


def _last_name(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]
