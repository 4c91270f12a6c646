"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from streamflow.errors import UsageError
from streamflow.runtime.loader import Reference

Decorated = Callable[..., Any]


def pipeline_argument(function: Decorated) -> Decorated:
    """PIPELINE and `--set`."""
    function = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="A parameter of the pipeline's build function; may be repeated.",
    )(function)
    return click.argument("pipeline", metavar="PIPELINE")(function)


def reference(pipeline: str, settings: tuple[str, ...]) -> Reference:
    """The pipeline that was named. Raises UsageError for a setting that is none."""
    values: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {setting}", "no value", "NAME=VALUE")
        values[name.strip()] = value
    return Reference(pipeline, values)
