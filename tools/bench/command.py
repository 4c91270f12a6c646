"""`streamflow bench`: streamflow beside bare mechanisms, and beside peers where somebody has measured them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from streamflow.errors import UsageError

REPEAT_COUNT = 5
SECONDS = 3.0


@click.command(short_help="Measure streamflow beside bare mechanisms.")
@click.argument("cases", nargs=-1, metavar="[CASE]...")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=SECONDS,
    show_default=True,
    help="Of each way of sending, in each repeat.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=REPEAT_COUNT,
    show_default=True,
    help="Figures are medians of so many; the ways take turns.",
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON instead of a table.")
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE.svg",
    help="Draw the latencies there.",
)
@click.option(
    "--peers",
    "peers_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.json",
    help="Figures of other libraries that `make bench-peers` wrote on this machine, to print beside.",
)
def command(
    cases: tuple[str, ...],
    seconds: float,
    repeats: int,
    as_json: bool,
    plot_file: Path | None,
    peers_file: Path | None,
) -> None:
    """Latency from just before a source emits to when the sink's turn comes, and processor time per message.

    CASE is one of hop, frame, throughput, fanout, mix, cpu, wake; all without one. Bare ZeroMQ has a header and a
    buffer frame, and blocks; of streamflow all is on: types, deadlines, recorder, accounts.
    """
    # Only now: `streamflow --help` asks every command for its first line, and these bring NumPy and ZeroMQ.
    from tools.bench.speed import costs, plot, table
    from tools.bench.speed.cases import chosen
    from tools.bench.speed.peers_file import read_peers
    from tools.bench.speed.runner import measure
    from tools.claims.framework import HostShare, environment

    if plot_file is not None and plot_file.suffix != ".svg":
        raise UsageError("--plot", f"'{plot_file.name}'", "a name that ends in .svg")
    asked, peers, host = chosen(cases), read_peers(peers_file), HostShare()
    if not as_json:
        click.echo(f"{environment()}\n{repeats} repeats of {seconds:g} s, medians; ratios are medians within repeats")
    found: list[dict[str, Any]] = []
    for case in asked:
        outcome = measure(case, seconds=seconds, repeat_count=repeats, tell=lambda line: click.echo(line, err=True))
        found.append(table.plain(outcome, peers))
        if not as_json:
            click.echo("\n".join(table.text(outcome, peers)))
        if case.name == "cpu":
            found[-1]["costs_us"] = spent = costs.measure()
            if not as_json:
                click.echo("\n".join(costs.text(spent)))
    if as_json:
        click.echo(json.dumps({"environment": environment(), "host": str(host), "cases": found}, indent=2))
    else:
        click.echo(f"\n{host}")
    if plot_file is not None:
        plot_file.write_text(plot.as_svg(found, f"streamflow bench: {', '.join(case.name for case in asked)}"))
