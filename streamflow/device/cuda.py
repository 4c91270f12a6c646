"""CUDA by CuPy: a stream is a queue, an event is a mark or a ticket. The only module that imports CuPy.

What was learned from CuPy's source stands behind each line that looks odd: an event that is asked whether it is done
says "no" for ever after an error, so tickets are waited for by a thread; `with stream` holds for a thread, so nothing
is awaited in it; a pool gives memory back to the stream of the allocation, so nothing is allocated in a loop; what is
captured may only touch memory that nobody else gets, so a graph has a pool of its own; cuBLAS refuses to be captured.
"""

from __future__ import annotations

import importlib
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from streamflow.device.completions import Pending, Waiter
from streamflow.device.contract import (
    Capabilities,
    DeviceArray,
    DeviceError,
    DeviceLostError,
    DeviceMemoryError,
    Graph,
    Mark,
    NoDeviceError,
    Queue,
    Refusal,
    Sharing,
    Work,
    WorkError,
    require_like,
)
from streamflow.device.cuda_sharing import CudaSharing
from streamflow.device.driver import has_cuda_driver
from streamflow.memory.pool import address_of
from streamflow.wire.arrays import Array

MEMORY_STATUS: Final = 2  # cudaErrorMemoryAllocation
REGISTERED_STATUS: Final = 712  # cudaErrorHostMemoryAlreadyRegistered
CAPTURE_STATUS: Final = range(900, 909)  # cudaErrorStreamCaptureUnsupported to ...WrongThread
CAPTURE_WORDS: Final = ("stream is capturing", "stream was capturing", "during stream capture")
"""Of CuPy's own refusals: RuntimeError for copies and waits, NotImplementedError of cuBLAS and its kin."""
REGISTER_PORTABLE: Final = 1  # for all devices of the process
REGISTER_READ_ONLY: Final = 8  # cudaHostRegisterReadOnly: without it no memory that is mapped to be read can be
LOST_STATUS: Final = frozenset({46, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 720, 721, 999})
"""Of cudaError_t: those after which "the process must be terminated and relaunched", and a device that went away."""
NO_GPU: Final = "there is no GPU, or no driver for it"
WARM_UP_COUNT: Final = 2  # the first compiles kernels, the second finds all its memory in the pool


class CudaMark:
    def __init__(self, event: Any, *, is_recorded: bool = False) -> None:
        self.event = event
        self.is_recorded = is_recorded


class CudaGraph:
    """Holds what its kernels touch."""

    def __init__(self, graph: Any, *held: Any) -> None:
        self.graph = graph
        self._held = held


class CudaKernel:
    def __init__(self, cupy: Any, function: Any) -> None:
        self._int32 = cupy.int32  # what CuPy makes of a Python int is 64 bits
        self._function = function

    def __call__(self, grid: tuple[int, int], block: int, *arguments: DeviceArray | int) -> None:
        given = tuple(self._int32(one) if isinstance(one, int) else one for one in arguments)
        self._function(grid, (block,), given)


class CudaQueue:
    def __init__(self, device: CudaDevice, stream: Any, name: str) -> None:
        self._cupy = device.cupy
        self._device = device
        self._stream = stream
        self._events: deque[tuple[Any, Any]] = deque()  # to be used again: the waiter puts them back
        self._begun: tuple[Any, Any] | None = None
        self._waiter = Waiter(f"{name} done", device.use)
        self._is_closed = False
        self.handle = int(stream.ptr)

    def copy_in(self, to: DeviceArray, source: Array) -> None:
        require_like(to, source)
        with self._device.working():
            self._begin()
            to.set(source, stream=self._stream)

    def copy_out(self, to: Array, source: DeviceArray) -> None:
        require_like(to, source)
        with self._device.working():
            self._begin()
            source.get(stream=self._stream, out=to, blocking=False)

    def launch(self, work: Work, *arrays: DeviceArray) -> None:
        with self._device.working():
            self._begin()
            with self._stream:
                work(*arrays)

    def replay(self, graph: Graph) -> None:
        assert isinstance(graph, CudaGraph)
        with self._device.working():
            self._begin()
            graph.graph.launch(self._stream)

    def record(self, mark: Mark) -> None:
        assert isinstance(mark, CudaMark)
        with self._device.working():
            mark.event.record(self._stream)
        mark.is_recorded = True

    def wait_for(self, mark: Mark) -> None:
        assert isinstance(mark, CudaMark)
        if mark.is_recorded:
            with self._device.working():
                self._stream.wait_event(mark.event)

    def ticket(self) -> Pending:
        with self._device.working():
            self._begin()
            assert self._begun is not None
            (begin, end), self._begun = self._begun, None
            end.record(self._stream)

        def wait() -> int:
            with self._device.working(is_of_loop=False):
                end.synchronize()
                elapsed_ms: float = self._cupy.cuda.get_elapsed_time(begin, end)
            self._events.append((begin, end))
            return round(elapsed_ms * 1e6)

        return self._waiter.add(wait)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._waiter.close()

    def _begin(self) -> None:
        """From here on the device's time is the next ticket's."""
        if self._begun is None:
            self._begun = self._events.popleft() if self._events else self._new_events()
            self._begun[0].record(self._stream)

    def _new_events(self) -> tuple[Any, Any]:
        event = self._cupy.cuda.Event
        return event(), event(block=True)  # with block, who waits sleeps


class CudaDevice:
    """One GPU, by its index among those that are visible."""

    capabilities = Capabilities(is_async=True, has_graphs=True, has_ipc=True, has_kernels=True, in_flight_max=2)

    def __init__(self, index: int = 0) -> None:
        self.name = f"cuda:{index}"
        self.place = ("cuda", index)
        self.xp: Any = None
        self.cupy: Any = None
        self._index = index
        self._device: Any = None
        self._queues: list[CudaQueue] = []
        self._allocations: Any = None
        self._pinned_count = 0
        self._registered: list[int] = []  # where each piece of memory begins
        self._registering = threading.Lock()

    @property
    def description(self) -> str:
        runtime = self.cupy.cuda.runtime
        name = runtime.getDeviceProperties(self._index)["name"].decode()
        driver = runtime.driverGetVersion()
        return f"{name}, CUDA {driver // 1000}.{driver % 1000 // 10}, CuPy {self.cupy.__version__}"

    def open(self) -> None:
        try:
            self.cupy = self.xp = importlib.import_module("cupy")
        except ImportError as error:  # of CuPy, or of what it needs
            if not has_cuda_driver():
                raise NoDeviceError(self.name, NO_GPU) from None
            hint = "pip install 'streamflow[cuda12]' brings it, or cuda13, as nvidia-smi says"
            raise NoDeviceError(self.name, f"CuPy cannot be imported ({error})", hint=hint) from None
        if not self.cupy.cuda.is_available():  # found out by asking: a stream that cannot be made complains for ever
            raise NoDeviceError(self.name, NO_GPU, hint="see nvidia-smi" if has_cuda_driver() else "")
        with self.working(is_of_loop=False):
            count = self.cupy.cuda.runtime.getDeviceCount()
        if self._index >= count:
            raise NoDeviceError(self.name, "no such device", f"cuda:0 to cuda:{count - 1}, the visible ones")
        self._device = self.cupy.cuda.Device(self._index)
        try:
            with self.working():
                self.cupy.zeros(1, "float32").sum().item()  # a kernel, and the wait for it: now it is known to work
                # A graph goes on with cuFFT's plans by their addresses when CuPy has thrown them out of its cache.
                self.cupy.fft.config.get_plan_cache().set_size(-1)
        except DeviceError:
            raise
        except Exception as error:  # of its compiler, or of headers that it does not find
            reason = f"CuPy cannot compute there ({type(error).__name__}: {_first_line(error)})"
            raise NoDeviceError(self.name, reason, hint="pip install 'cupy-cuda13x[ctk]' brings a compiler") from error
        self._allocations = _counting_hook(self.cupy, self._index)
        self._allocations.__enter__()

    def use(self) -> None:
        """In the thread that calls it, from now on."""
        self._device.use()

    def working(self, *, is_of_loop: bool = True) -> _Working:
        """On this device, with its errors told as ours. `is_of_loop`: the thread may use other devices too."""
        return _Working(self, self._device if is_of_loop else None)

    def array(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        with self.working():
            return self.cupy.empty(tuple(shape), dtype)

    def pointer(self, array: DeviceArray) -> int:
        return int(array.data.ptr)

    def host_array(self, shape: Sequence[int], dtype: Any) -> Array:
        self._pinned_count += 1
        with self.working():
            pinned: Array = importlib.import_module("cupyx").empty_pinned(tuple(shape), dtype)
            return pinned

    def mark(self) -> CudaMark:
        with self.working():
            return CudaMark(self.cupy.cuda.Event(disable_timing=True))

    def mark_of(self, event: Any, *, is_recorded: bool = False) -> CudaMark:
        return CudaMark(event, is_recorded=is_recorded)

    def sharing(self) -> Sharing:
        return CudaSharing(self)

    def queue(self, priority: int = 0) -> CudaQueue:
        with self.working():  # lower is sooner there; what is out of the device's range is cut to it
            stream = self.cupy.cuda.Stream(non_blocking=True, priority=-priority)
        queue = CudaQueue(self, stream, f"{self.name} queue {len(self._queues) + 1}")
        self._queues.append(queue)
        return queue

    def capture(self, queue: Queue, work: Work, *arrays: DeviceArray) -> CudaGraph | Refusal:
        """The work is done twice first, on whatever is in the arrays. On a stream of its own: one that could not be
        captured leaves nothing behind in the queue's."""
        cuda = self.cupy.cuda
        with self.working():
            stream = cuda.Stream(non_blocking=True)
            pool = cuda.MemoryPool()
            with cuda.using_allocator(pool.malloc), stream:
                for _ in range(WARM_UP_COUNT):
                    work(*arrays)
                stream.synchronize()
                stream.begin_capture()
                try:
                    work(*arrays)
                except BaseException as error:
                    with suppress(RuntimeError):  # it was ended by what went wrong
                        stream.end_capture()
                    return refused(self.cupy, error)
                try:
                    graph = stream.end_capture()
                except RuntimeError as error:
                    return refused(self.cupy, error)
            return CudaGraph(graph, arrays, pool, stream, work)

    def register(self, memory: Array) -> bool:
        runtime = self.cupy.cuda.runtime
        address = address_of(memory)
        flags = REGISTER_PORTABLE | (0 if memory.flags.writeable else REGISTER_READ_ONLY)
        self.use()
        with self.working(is_of_loop=False), self._registering:
            if address in self._registered:
                return True
            try:
                runtime.hostRegister(address, memory.nbytes, flags)
            except runtime.CUDARuntimeError as error:
                if error.status in LOST_STATUS:
                    raise
                return bool(error.status == REGISTERED_STATUS)  # for another device of this process
            self._registered.append(address)
        return True

    def kernel(self, source: str, name: str, constants: Mapping[str, int]) -> CudaKernel:
        options = ("-std=c++17", *(f"-D{constant}={value}" for constant, value in constants.items()))
        with self.working():
            try:
                return CudaKernel(self.cupy, self.cupy.RawModule(code=source, options=options).get_function(name))
            except self.cupy.cuda.compiler.CompileException as error:
                raise WorkError(f"kernel {name}", str(error)) from None

    def allocation_count(self) -> int:
        return self._pinned_count + int(self._allocations.count)

    def close(self) -> None:
        for queue in self._queues:
            queue.close()
        for address in self._registered:
            with suppress(RuntimeError):  # the device is lost, or somebody has unmapped it
                self.cupy.cuda.runtime.hostUnregister(address)
        self._registered.clear()
        if self._allocations is not None:
            self._allocations.__exit__(None, None, None)
            self._allocations = None
            with suppress(DeviceError, RuntimeError), self.working():
                self.cupy.get_default_memory_pool().free_all_blocks()  # of this device: nobody has them any more


class _Working:
    """As a class, since a generator takes three times as long, and this is around each call."""

    __slots__ = ("_cuda", "_device")

    def __init__(self, cuda: CudaDevice, device: Any) -> None:
        self._cuda = cuda
        self._device = device

    def __enter__(self) -> None:
        if self._device is not None:
            self._device.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self._device is not None:
            self._device.__exit__(kind, error, trace)
        if error is not None:
            translated = _as_ours(self._cuda.cupy, self._cuda.name, error)
            if translated is not None:
                raise translated from error


def _as_ours(cupy: Any, name: str, error: BaseException) -> DeviceError | None:
    """None for what is no error of CUDA's: it is the user's, and stays as it is."""
    if isinstance(error, cupy.cuda.memory.OutOfMemoryError):
        return DeviceMemoryError(name, str(error).partition(".")[0], "room for what stages allocate when they open")
    if not isinstance(error, cupy.cuda.runtime.CUDARuntimeError | cupy.cuda.driver.CUDADriverError):
        return None
    status = int(error.status)
    if status == MEMORY_STATUS:
        return DeviceMemoryError(name, str(error))
    return DeviceLostError(name, str(error)) if status in LOST_STATUS else WorkError(name, str(error))


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def refused(cupy: Any, error: BaseException) -> Refusal:
    """Raises the error where it is none of capturing: then it is the user's, or the device's."""
    reason = _first_line(error)
    if isinstance(error, cupy.cuda.runtime.CUDARuntimeError | cupy.cuda.driver.CUDADriverError):
        if int(error.status) in CAPTURE_STATUS:
            return Refusal(reason)
    elif isinstance(error, NotImplementedError | RuntimeError) and any(words in reason for words in CAPTURE_WORDS):
        return Refusal(reason)
    raise error


def _counting_hook(cupy: Any, index: int) -> Any:
    """Of the calling thread, in which each hook has to have a name of its own."""

    class Counting(cupy.cuda.MemoryHook):  # type: ignore[misc]
        def __init__(self) -> None:
            self.name = f"streamflow counts {id(self)}"
            self.count = 0

        def malloc_preprocess(self, *, device_id: int, **_: Any) -> None:
            self.count += device_id == index

    return Counting()
