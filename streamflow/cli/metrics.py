"""`streamflow metrics`: serves how a live run is to Prometheus; the same as a child of `streamflow run --metrics`."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress

import click

from streamflow.cli.options import run_argument
from streamflow.errors import StreamflowError, UsageError
from streamflow.runtime.loading.extras import install_command
from streamflow.runtime.process.background import take_short_slices
from streamflow.runtime.rundir import RunFolder, find_run, live_runs

LOOK_S = 0.2  # how often it is looked whether the run is over, and, before, whether it is there
STARTUP_S = 5.0  # a run that has not begun by then waits for somebody, and is served as one that starts
LIBRARY, EXTRA = "prometheus_client", "metrics"
PORT_MAX = 65535


@click.command
@run_argument
@click.option(
    "--listen", default=":9464", show_default=True, metavar="[HOST]:PORT",
    help="Where to serve; without HOST on all addresses of this machine, and with port 0 on any that is free.",
)  # fmt: skip
def command(run: str | None, listen: str) -> None:
    """Serve how RUN is at http://HOST:PORT/metrics, as Prometheus text or OpenMetrics, until the run is over.

    RUN is a pipeline's name, or a run's folder; by default the newest live run. The run is not disturbed: everything
    is read from its flight recorders and its state, by this process.
    """
    require_library("metrics")
    folder = find_run(run)
    if not folder.is_live():
        raise UsageError(
            f"run {folder.path.name}", "it was killed", "a live one", "streamflow status tells how it ended"
        )
    with listening(listen, "--listen") as door:
        click.echo(f"run {folder.path.name}: metrics at {address(door)}", err=True)
        try:
            _serve(folder, door)
        except KeyboardInterrupt:
            return
    click.echo(f"run {folder.path.name}: it is over", err=True)


def require_library(subject: str) -> None:
    """Raises UsageError where what serves is not installed."""
    if importlib.util.find_spec(LIBRARY) is None:
        raise UsageError(subject, f"{LIBRARY} is not installed", hint=f"{install_command(EXTRA)} brings it")


def listening(text: str, option: str) -> socket.socket:
    """A socket that listens where `[HOST]:PORT` says. Raises UsageError where nobody can."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > PORT_MAX:
        raise UsageError(f"{option} {text}", "no address", "[HOST]:PORT, as in :9464 or localhost:9464")
    host = host.strip("[]")
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(("", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, int(port)), family=family)
    except OSError as error:
        hint = "port 0 takes any that is free" if int(port) else ""
        why = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error.strerror or error)
        raise UsageError(f"{option} {text}", f"cannot be served there: {why}", hint=hint) from None


def address(door: socket.socket) -> str:
    """As a browser takes it."""
    host, port = door.getsockname()[:2]
    shown = "localhost" if host in ("::", "0.0.0.0") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/metrics"


def _serve(folder: RunFolder, door: socket.socket) -> None:
    """Until the run is over."""
    from streamflow.runtime.looking import Lookout
    from streamflow.runtime.metrics_server import MetricsServer

    lookout = Lookout(folder)
    server = MetricsServer(lookout, door)
    try:
        while folder.is_live():
            time.sleep(LOOK_S)
    finally:
        server.close()


# ------------------------------------------------------------------------------------- the child of a run


class MetricsProcess:
    """Serves this process's run, from before it has its folder to its end; it may die without harm.

    To be made before anything is forked: a copy would keep the socket, and with it the port.
    """

    def __init__(self, text: str) -> None:
        """Raises UsageError where it could not be served there, or the library is missing."""
        require_library("--metrics")
        with listening(text, "--metrics") as door:
            self.address = address(door)
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(door.fileno()), str(self._owner)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(door.fileno(),),
                process_group=0,  # Ctrl-C is the run's, which is then still to be seen
            )

    def close(self) -> None:
        """With the run; nothing in a copy of the process that made it."""
        if os.getpid() == self._owner:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """The program of the child: serve the run whose supervisor is the parent.

    What it takes to serve is imported when data flow: before, the stages start, and have more use for the processors.
    """
    door, parent = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    take_short_slices()
    with door:
        folder = None
        serves_at = time.monotonic() + STARTUP_S
        while folder is None or not (folder.state.exists() or time.monotonic() > serves_at):
            time.sleep(LOOK_S)
            if os.getppid() != parent:
                return
            folder = folder or _run_of(parent)
        from streamflow.runtime.process.parent_death import die_with_parent

        die_with_parent(parent)
        _serve(folder, door)


def _run_of(supervisor: int) -> RunFolder | None:
    """The live run of that process, if it is there yet."""
    for folder in reversed(live_runs()):
        with suppress(StreamflowError):  # it is being made
            if folder.description().get("supervisor") == supervisor:
                return folder
    return None


if __name__ == "__main__":
    main()
