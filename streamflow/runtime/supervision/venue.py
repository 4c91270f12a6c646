"""Where a run takes place: its clock, its folder, its sockets, and how its processes are started and held.

The supervisor is the same everywhere. In `LocalVenue` processes are processes of this host, warm or cold; in
`TaskVenue` they are tasks of this one: for `--inline`, with the real clock, and for tests in virtual time.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol

import trio

from streamflow.runtime.clock import Clock, MonotonicClock
from streamflow.runtime.loading.loader import Loaded
from streamflow.runtime.process.control import ControlClient
from streamflow.runtime.process.early_server import EarlyServer
from streamflow.runtime.process.fork_server import ForkServer, starts_warm
from streamflow.runtime.process.launch import StageProcess
from streamflow.runtime.process.log_relay import LogRelay
from streamflow.runtime.process.priority import NONE, Priority
from streamflow.runtime.process.worker import Worker, WorkerOptions
from streamflow.runtime.rundir import OwnedRunFolder, RunFolder
from streamflow.transport.memory_socket import MemoryNetwork
from streamflow.transport.sockets import SocketContext
from streamflow.transport.zmq_socket import ZmqContext


class Held(Protocol):
    """A process of the run, as the supervisor holds it."""

    process: str
    pid: int

    async def wait(self) -> str:
        """Return when it has ended, how, for people."""

    def kill(self) -> None: ...
    def stop_state(self) -> str:
        """The letter of its state in the process table."""

    def close(self) -> None: ...


class Venue(AbstractContextManager["Venue"], Protocol):
    """Entered by the supervisor for the time of the run."""

    clock: Clock
    folder: RunFolder
    context: SocketContext
    control_endpoint: str
    is_warm: bool
    """Whether processes start as copies of one that has imported everything."""
    chance: Callable[[], float]
    """Numbers in [0, 1), for the jitter of what is started again."""

    def raise_priority(self) -> str:
        """Let the supervisor wake before the stages, as far as this may be and matters; what it has, for people."""

    async def start(self, process: str, generation: int) -> Held: ...
    def reap_orphans(self, known_pids: Collection[int]) -> None: ...


class LocalVenue:
    """Processes of this host."""

    def __init__(
        self, loaded: Loaded, *, keep: Path | None = None, is_warm: bool = True, early: EarlyServer | None = None
    ) -> None:
        """`keep`: a folder that gets the recorders at the end. `early`: a fork server that was begun already."""
        self.clock: Clock = MonotonicClock()
        self.is_warm = is_warm
        self.chance: Callable[[], float] = random.random
        self._loaded = loaded
        self._keep = keep
        self._stages = loaded.resolved.graph.processes()
        self._server: ForkServer | None = None
        self._early = early
        self._priority = Priority()
        self._exit = ExitStack()

    def __enter__(self) -> LocalVenue:
        owned = OwnedRunFolder(self._loaded.resolved.graph.name, self._keep)
        self._exit.callback(owned.close)
        self._janitor_pid = owned.janitor_pid
        self.folder: RunFolder = owned
        self.context: SocketContext = self._exit.enter_context(ZmqContext(self.clock.now_ns))
        self.control_endpoint = self.folder.control_endpoint
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def raise_priority(self) -> str:
        self._exit.callback(self._priority.restore)
        return self._priority.raise_it()

    def _warm_server(self) -> ForkServer | None:
        """Started with the first process: the run is described by then. One that died is replaced by another."""
        if self._server is not None and not self._server.is_alive:
            self._server.close()
            self._server = None
        if self._server is None:
            early, self._early = self._early, None
            self._server = ForkServer(self.folder, early)
            with self._priority.lowered():
                self._server.start()
            self._exit.callback(self._server.close)
        return self._server

    async def start(self, process: str, generation: int) -> Held:
        if self.is_warm and starts_warm(self._loaded.definition, self._stages[process]):
            server = self._warm_server()
            child = await server.fork(process, generation) if server is not None else None
            if child is not None:
                return child
            self.is_warm = False  # it cannot load the pipeline, and has said why: no second try
        with self._priority.lowered():
            return StageProcess(self.folder, process, generation)

    def reap_orphans(self, known_pids: Collection[int]) -> None:
        if self._server is not None:
            self._server.reap_orphans([*known_pids, self._janitor_pid])


class TaskProcess:
    """A process that is a task of this one."""

    pid = 0

    def __init__(
        self, process: str, work: Callable[[], Awaitable[None]], client: ControlClient, nursery: trio.Nursery
    ) -> None:
        self.process = process
        self.scope = trio.CancelScope()
        self._client = client
        self._ended = trio.Event()
        self._how = "has ended"
        self.is_stopped = False
        nursery.start_soon(self._run, work)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            with self.scope:
                await work()
        finally:
            self._client.close()
            self._ended.set()

    async def wait(self) -> str:
        await self._ended.wait()
        return self._how

    def kill(self) -> None:
        if not self._ended.is_set():
            self._how = "was killed"
            self.scope.cancel()

    def stop_state(self) -> str:
        return "T" if self.is_stopped else "S"

    def close(self) -> None:
        self.kill()


class TaskVenue:
    """Tasks of this process, joined by sockets in memory; `stages`: by process."""

    is_warm = True

    def __init__(
        self,
        loaded: Loaded,
        options: WorkerOptions,
        processes: dict[str, list[str]],
        folder: RunFolder | None = None,
        clock: Clock | None = None,
        network: MemoryNetwork | None = None,
        keep: Path | None = None,
    ) -> None:
        """`keep`: a folder that gets the recorders at the end, where no `folder` is given."""
        self.clock: Clock = clock or MonotonicClock()
        self.chance: Callable[[], float] = random.random
        self._loaded = loaded
        self._options = options
        self._processes = processes
        self._given_folder = folder
        self._keep = keep
        self._network = network
        self._exit = ExitStack()
        self.nursery: trio.Nursery

    def __enter__(self) -> TaskVenue:
        if self._given_folder is None:
            owned = OwnedRunFolder(self._loaded.resolved.graph.name, self._keep)
            self._exit.callback(owned.close)
            self.folder: RunFolder = owned
        else:
            self.folder = self._given_folder
        self.control_endpoint = "memory://control"
        self.context: SocketContext = self._network or MemoryNetwork(_Timeline(self.clock))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def raise_priority(self) -> str:
        """The stages would have it too."""
        return NONE

    def set_recordings(self, recordings: Path) -> None:
        """Where the stages' recorders go, once the folder is there."""
        self._options = replace(self._options, recordings=recordings)

    async def start(self, process: str, generation: int) -> Held:
        await trio.lowlevel.checkpoint()
        client = ControlClient(
            self.context, self.control_endpoint, {"process": process, "pid": 0, "run_key": self._loaded.key}
        )
        return TaskProcess(process, partial(self._work, process, client), client, self.nursery)

    async def _work(self, process: str, client: ControlClient) -> None:
        relay = LogRelay(client, self._processes[process], self.clock)
        worker = Worker(
            self._loaded.definition,
            self._loaded.resolved,
            self._processes[process],
            self._options,
            relay,
            self.context,
            self.clock,
        )
        with relay.listening():
            await worker.run()

    def reap_orphans(self, known_pids: Collection[int]) -> None:
        """There are none."""


class _Timeline:
    """A clock as the network wants it: any number of tasks sleep by it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.now_ns = clock.now_ns

    async def sleep_until(self, instant_ns: int) -> None:
        timer = self._clock.timer()
        try:
            await timer.sleep_until(instant_ns)
        finally:
            timer.close()


def temporary_folder() -> AbstractContextManager[RunFolder]:
    """A run's folder for a test: nobody else finds it, and it goes when left."""
    return _TemporaryFolder()


class _TemporaryFolder:
    def __enter__(self) -> RunFolder:
        self._path = Path(tempfile.mkdtemp(prefix="streamflow-"))
        folder = RunFolder(self._path)
        folder.recordings.mkdir()
        return folder

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
