"""Warm starts: a process that has imported and built everything, and becomes a stage's process by forking.

A new interpreter spends most of a restart importing. The server imports once, before it is needed; a copy of it goes
straight to work. It must not have what a copy cannot have: no ZeroMQ context, no trio loop, no threads (those of a
BLAS are stopped and started again by the library's own fork handlers). Nodes that cannot keep to that say
`fork_safe = False` and start cold, and so do those that may have a GPU, where there is a driver for one.

How a stage ends is told to its parent only, so the stages must be the supervisor's children, not the server's: the
server forks twice, the one between ends at once, and its child falls to the supervisor, which is a subreaper. That
child waits until the server has told the supervisor its pid. So whoever the supervisor has heard of is its child, and
whoever it has not heard of never starts; a server that dies in between leaves nobody.

    supervisor  --{folder}, when the run has one-->  server
    supervisor  --{process, generation, options}-->  server  --fork-->  (between)  --fork-->  stage
    supervisor  <--------- {pid} -------------------  server  ---------- go ----------------->  stage

The first server of a run may be a copy of the supervisor itself (`early_server`). Else, and when one has died, it is
the program `python -m` this module with PARENT DESCRIPTOR. The first packet names the run's folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from streamflow.core.device_names import is_gpu
from streamflow.device.driver import has_cuda_driver
from streamflow.errors import StreamflowError
from streamflow.runtime.loading.definition import Definition
from streamflow.runtime.loading.loader import Loaded
from streamflow.runtime.process.launch import (
    ChildProcess,
    become_subreaper,
    is_subreaper,
    reap_orphans,
    stage_command,
)
from streamflow.runtime.process.parent_death import die_with_parent
from streamflow.runtime.process.process_title import show_as
from streamflow.runtime.process.stage_process import load_for, options_of, prepare_process, run_stage
from streamflow.runtime.rundir import RunFolder

if TYPE_CHECKING:
    from streamflow.runtime.process.early_server import EarlyServer, ForkedChild

PACKET_SIZE_LIMIT = 65_536  # bytes of a request; the options are a few words
_READY = b"ready"


def starts_warm(definition: Definition, stages: Sequence[str]) -> bool:
    """Whether a process with these stages may be a copy of the warm one. Where they may have a GPU, the pipeline's own
    modules may have used CUDA's driver, which does not outlive a fork."""
    found = [definition.graph.stage(stage) for stage in stages]
    may_use_gpu = any(is_gpu(device) for stage in found for device in stage.devices) and has_cuda_driver()
    return not may_use_gpu and all(stage.is_fork_safe for stage in found)


class ForkServer:
    """The supervisor's hold on the server of its run. Where it cannot help, the caller starts cold."""

    def __init__(self, folder: RunFolder, early: EarlyServer | None = None) -> None:
        """`early`: one that was made already, and is taken over here."""
        self._folder = folder
        self._early = early
        self._server: subprocess.Popen[bytes] | ForkedChild | None = None
        self._channel: trio.socket.SocketType | None = None
        self._turn = trio.Lock()
        self._is_ready = False
        self._is_asked = False
        self._was_subreaper = False

    def start(self) -> None:
        """Start it, from the supervisor's own thread; it loads meanwhile. This process becomes a subreaper."""
        self._was_subreaper = is_subreaper()
        become_subreaper()
        early, self._early = self._early, None
        if early is not None and early.process is not None:
            early.take_over()
            self._server, channel = early.process, early.channel
        else:
            self._server, channel = _begin_program()
        with contextlib.suppress(OSError):  # it has ended: `ready` finds that out
            channel.send(json.dumps({"folder": str(self._folder.path)}).encode())
        self._channel = trio.socket.from_stdlib_socket(channel)

    @property
    def pid(self) -> int | None:
        return self._server.pid if self._server is not None else None

    @property
    def is_alive(self) -> bool:
        return self._server is not None and self._server.poll() is None

    async def ready(self) -> bool:
        """Wait until it has loaded the pipeline; False when it has ended instead (it has said why itself)."""
        async with self._turn:
            return await self._hear_ready()

    async def fork(
        self, process: str, generation: int = 0, options: Mapping[str, Any] | None = None
    ) -> ChildProcess | None:
        """Start `process` as a copy of the server, once that is ready; None when there is no server any more.

        `options`: fields of the worker's options that differ from the run's. Who cancels it ends the server: whether
        the copy was made is not known then.
        """
        async with self._turn:
            if not await self._hear_ready():
                return None
            assert self._channel is not None
            request = {"process": process, "generation": generation, "options": dict(options or {})}
            self._is_asked = True
            try:
                await self._channel.send(json.dumps(request).encode())
                answer = await self._channel.recv(PACKET_SIZE_LIMIT)
            except OSError:
                answer = b""
            except BaseException:
                self._end()
                raise
            finally:
                self._is_asked = False
            if not answer:
                self._end()
                return None
            pid = json.loads(answer)["pid"]
            return ChildProcess(process, pid) if pid else None

    def reap_orphans(self, known_pids: Collection[int]) -> int:
        """Let go of ended children that nobody waits for (see `launch.reap_orphans`), the server's own kept.

        To be called now and then: what stages had started falls to this process when they end.
        """
        if self._is_asked:
            return 0  # a child of whom we have not heard yet must not be taken for an orphan
        own = [self._server.pid] if self._server is not None else []
        return reap_orphans({*known_pids, *own})

    def close(self) -> None:
        """End it; the stages it has forked are not its own and go on."""
        if self._server is not None:
            self._end()
            become_subreaper(self._was_subreaper)

    async def _hear_ready(self) -> bool:
        if self._channel is None:
            return False
        if not self._is_ready:
            try:
                self._is_ready = await self._channel.recv(PACKET_SIZE_LIMIT) == _READY
            except OSError:
                self._is_ready = False
            if not self._is_ready:
                self._end()
        return self._is_ready

    def _end(self) -> None:
        """Kill it and whoever it has forked that nobody here will hear of."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()
        self._is_ready = False
        channel, self._channel = self._channel, None
        if channel is None:
            return
        while True:
            try:
                answer = os.read(channel.fileno(), PACKET_SIZE_LIMIT)
            except OSError:
                break
            if not answer:
                break
            if answer != _READY and (pid := json.loads(answer)["pid"]):
                ChildProcess("", pid).close()
        channel.close()


def _begin_program() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        popen = subprocess.Popen(
            [sys.executable, "-m", "streamflow.runtime.process.fork_server", str(os.getpid()), str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            process_group=0,
        )
    return popen, ours


# ------------------------------------------------------------------------------------------ the server itself


@dataclasses.dataclass(frozen=True, slots=True)
class _Order:
    """What a copy is to become."""

    process: str
    generation: int
    options: dict[str, Any]


def main() -> None:
    """The program: load, then serve."""
    parent = int(sys.argv[1])
    channel = socket.socket(fileno=int(sys.argv[2]))
    channel.set_inheritable(False)
    prepare_process(parent)
    serve(channel, parent)


def serve(channel: socket.socket, parent: int, loaded: Loaded | None = None) -> None:
    """Fork at every request until the supervisor closes its end; in a copy it returns when that has been a stage.

    `loaded`: what was loaded and preloaded already. Raises SystemExit where the run's pipeline cannot be loaded.
    """
    packet = channel.recv(PACKET_SIZE_LIMIT)
    if not packet:
        return
    folder = RunFolder(Path(json.loads(packet)["folder"]))
    try:
        if loaded is None:
            loaded = load_for(folder)
            preload(loaded)
        options = options_of(folder)
    except StreamflowError as error:
        print(f"streamflow: {error}", file=sys.stderr)
        sys.exit(1)
    gc.collect()
    gc.freeze()  # a collection in a copy would otherwise write to, and so copy, every page of the server's objects
    with channel:
        order = _serve(channel)
    if order is None:
        return
    die_with_parent(parent)
    command = stage_command(folder.path, order.process, parent, order.generation, order.options)
    sys.argv = ["-m", *command[3:]]
    show_as(order.process, command)
    _reseed()
    run_stage(
        folder,
        order.process,
        loaded,
        dataclasses.replace(options, generation=order.generation, **order.options),
    )


def preload(loaded: Loaded) -> None:
    """What the nodes want imported before a copy is made."""
    for node in loaded.definition.nodes.values():
        if node.fork_safe:
            try:
                node.preload()
            except Exception:
                continue  # `open` meets it again in the stage's own process, and tells it under the stage's name


def _serve(channel: socket.socket) -> _Order | None:
    """Fork at every request. Returns in each copy what it is to become, and None here when there are no more."""
    channel.send(_READY)
    while packet := channel.recv(PACKET_SIZE_LIMIT):
        sys.stdout.flush()
        sys.stderr.flush()
        go, start = os.pipe()
        told, telling = os.pipe()
        between = fork()
        if between is None:
            channel.send(b'{"pid": 0}')
        elif between == 0:
            for descriptor in (channel.detach(), start, told):
                os.close(descriptor)
            _leave_a_copy(go, telling)
            return _Order(**json.loads(packet))
        else:
            os.close(telling)
            telling = -1
            pid = int(os.read(told, 32) or b"0")
            os.waitpid(between, 0)  # from here on the copy is the supervisor's child
            channel.send(json.dumps({"pid": pid}).encode())
            with contextlib.suppress(BrokenPipeError):  # it was killed before it could start
                os.write(start, b"g" if pid else b"")
        for descriptor in (go, start, told, telling):
            if descriptor >= 0:
                os.close(descriptor)
    return None


def fork() -> int | None:
    """0 in the copy, its pid here, and None where there can be no more processes."""
    with warnings.catch_warnings():
        # Python 3.12 and later warn where there are threads; here they are a BLAS's, which knows about forks.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return os.fork()
        except OSError:
            return None


def _leave_a_copy(go: int, telling: int) -> None:
    """Runs in the process between, which ends here; returns in its copy, once the supervisor knows of that."""
    copy = fork()
    if copy != 0:
        try:
            if copy is not None:
                os.setpgid(copy, copy)  # before anybody hears of it, so that whoever kills it kills its group
                os.write(telling, str(copy).encode())
        finally:
            os._exit(0)
    os.close(telling)
    may_go = os.read(go, 1)
    os.close(go)
    if not may_go:
        os._exit(1)


def _reseed() -> None:
    """Every copy has the same state of NumPy's old global generator; `random` reseeds itself.

    NumPy imports it when it is first used. Where the server has not, there is nothing to reseed, and to import it would
    be a third of a restart.
    """
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()


if __name__ == "__main__":
    main()
