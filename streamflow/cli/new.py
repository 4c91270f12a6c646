"""`streamflow new`: a project folder of one's own, with a node, a pipeline that runs at once, and a test."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import click

from streamflow.errors import UsageError

SUFFIX = ".template"


@click.command
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Make FOLDER with nodes/, pipelines/ and tests/ of one's own; it must not exist yet, or be empty.

    The pipeline in it runs at once, and its test passes.
    """
    _require_vacant(folder)
    texts = {name: Template(text).substitute(name=folder.resolve().name) for name, text in _templates()}
    try:
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(str(folder), f"cannot be made: {error.strerror}") from None
    for name in texts:
        click.echo(f"made {folder / name}")
    click.echo(f"next:\n  cd {folder}\n  streamflow run pipelines/hello.py\n  python -m pytest")


def _require_vacant(folder: Path) -> None:
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise UsageError(str(folder), "a folder with something in it", "a new or an empty one")
    except PermissionError as error:
        raise UsageError(str(folder), f"cannot be read: {error.strerror}", "a new or an empty folder") from None
    if folder.exists() and not folder.is_dir():
        raise UsageError(str(folder), "a file", "a new or an empty folder")


def _templates() -> Iterator[tuple[str, str]]:
    """Names below the project's folder and texts, `$name` where the project's name goes."""
    return _files(resources.files("streamflow.cli") / "templates" / "project", "")


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name.removesuffix(SUFFIX), entry.read_text(encoding="utf-8")
