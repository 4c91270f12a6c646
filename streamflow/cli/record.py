"""`streamflow record`: a run with one stage more, which keeps what chosen outputs send in an MCAP file."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamflow.cli.options import complete
from streamflow.cli.run_pipeline import start, with_run_options
from streamflow.core.happenings import Level
from streamflow.errors import InputError, UsageError

if TYPE_CHECKING:
    from streamflow.cli.running import Concluded
    from streamflow.core.graph import Graph

AMENDMENT = "nodes.mcap_files.recording:record"  # by name: nodes are above this layer, as a pipeline is
GUARD = "nodes.mcap_files.writer:require_free"
CONCLUSION = "nodes.mcap_files.ending:conclude"
VIEWS = ("image", "audio", "imu", "tensor", "bgr8", "rgb8", "mono8", "mono16")
COMPRESSIONS = ("none", "lz4", "zstd")


@with_run_options
@click.command
@click.argument("pipeline", metavar="PIPELINE", shell_complete=complete)
@click.argument("path", metavar="OUT.mcap", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--edges",
    multiple=True,
    metavar="NAMES",
    help="What to record: stages (all of their outputs), ports (mic.samples) or edges (mic->vad), with commas between "
    "them; may be repeated. By default all outputs of all sources.",
)
@click.option(
    "--view",
    "views",
    multiple=True,
    metavar="PORT=VIEW",
    help="Show an output as image, audio, imu or tensor, where the guess by its type is wrong, or as an image of these "
    "colours: bgr8, rgb8, mono8, mono16. What is kept is one. The guess: uint8[height, width], with 1, 3 or 4 colours "
    "last where it has any, is an image, three colours bgr8; float32, float64 or int16 of two dimensions at most at "
    "4,000 Hz or more is sound; six columns of them from what is called imu are motion; all else is a tensor.",
)
@click.option(
    "--mailbox",
    type=click.IntRange(1, 65_536),
    metavar="DATA",
    help="Data of one output that may wait for the recorder, beyond which the newest is dropped and counted; by "
    "default as many as are 64 MB, at most 1,024.",
)
@click.option(
    "--compression", type=click.Choice(COMPRESSIONS), default="none", show_default=True, help="Of the file's chunks."
)
@click.option("--overwrite", is_flag=True, help="Also where OUT.mcap is there already.")
@click.pass_context
def command(
    context: click.Context, /, pipeline: str, path: Path, edges: tuple[str, ...], views: tuple[str, ...],
    mailbox: int | None, compression: str, overwrite: bool, **asked: Any,
) -> int:  # fmt: skip
    """Run PIPELINE and keep what it sends in OUT.mcap, for `streamflow replay` and for Foxglove.

    The recorder never holds a stage up: what it cannot keep is dropped at its mailbox, counted, and written into the
    file; that is exit code 0, and 3 with --strict. With --offline everything is kept, and a replay gives the same
    outputs bit for bit.

    A recording that fails (the disk is full, the recorder is killed or hangs) is exit code 1 at the end, and the
    pipeline goes on meanwhile. The recorder is not started again: its next life would have to write over its file.

    What a full disk or a killed run leaves is a file without an index: `streamflow replay` reads it, other programs
    do after `mcap recover`.
    """
    from streamflow.runtime.loading.amendments import Amendment

    if path.exists() and path.is_file() and not overwrite:
        raise UsageError(str(path), "is there already", "a new file", "--overwrite takes its place")
    try:
        _by_name(GUARD)(path)
    except InputError as error:
        raise UsageError(error.subject, error.found, error.expected) from None
    arguments = {
        "path": str(path.resolve()),
        "outputs": names_of(edges),
        "views": dict(map(_view, views)),
        "mailbox": mailbox,
        "compression": compression,
    }

    def conclude(graph: Graph, report: dict[str, Any]) -> Concluded:
        from streamflow.cli.running import Concluded

        told = _by_name(CONCLUSION)(path, graph, report)
        report["recording"] = told
        level = Level.ERROR if told["failure"] else Level.WARNING if told["not_kept"] else Level.INFO
        return Concluded(told["sentence"], level)

    return start(context, pipeline, amendments=(Amendment(AMENDMENT, arguments),), conclude=conclude, **asked)


def _by_name(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def names_of(edges: Sequence[str]) -> list[str]:
    """What was named, with commas or again and again."""
    return [name.strip() for each in edges for name in each.split(",") if name.strip()]


def _view(text: str) -> tuple[str, str]:
    name, equals, view = text.partition("=")
    if not equals or view not in VIEWS:
        raise UsageError(f"--view {text}", "no view of an output", f"PORT=VIEW, one of {', '.join(VIEWS)}")
    return name.strip(), view
