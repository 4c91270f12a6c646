"""Options and arguments that several commands share; imports little, since it comes before anything is begun."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamflow.errors import StreamflowError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from streamflow.runtime.loading.loader import Reference

Decorated = Callable[..., Any]


def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: the pipelines that can be found; where none begins like this, files."""
    from click.shell_completion import CompletionItem

    from streamflow.runtime.loading.catalogue import find_pipelines, runnable_name

    found = find_pipelines([str(Path.cwd()), *sys.path])
    names = [runnable_name(one.name, Path(one.file)) for one in found]
    matching = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return matching or [CompletionItem(incomplete, type="file")]


def pipeline_argument(function: Decorated) -> Decorated:
    """PIPELINE and `--set`."""
    function = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="A parameter of the pipeline's build function; may be repeated.",
    )(function)
    return click.argument("pipeline", metavar="PIPELINE", shell_complete=complete)(function)


def _complete_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: the pipelines of the runs that can be read."""
    from click.shell_completion import CompletionItem

    from streamflow.runtime.rundir import dead_runs, live_runs

    with suppress(StreamflowError):
        names = dict.fromkeys(folder.pipeline for folder in [*reversed(live_runs()), *reversed(dead_runs())])
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return []


def run_argument(function: Decorated) -> Decorated:
    """RUN, which may be left out."""
    return click.argument("run", metavar="[RUN]", required=False, shell_complete=_complete_run)(function)


def reference(pipeline: str, settings: tuple[str, ...]) -> Reference:
    """The pipeline that was named. Raises UsageError for a setting that is none."""
    from streamflow.runtime.loading.loader import Reference

    values: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"--set {setting}", "not a setting", "NAME=VALUE")
        if name in values:
            raise UsageError(f"--set {name}", "given twice")
        values[name] = value
    return Reference(pipeline, values)
