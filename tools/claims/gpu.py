"""The claims of GPU stages, on the first GPU that is there; what stands in for one is claimed everywhere.

Each figure is a ratio to the bare mechanism in the same run; absolute times are told beside it.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np
import trio

from nodes.kernels.recurrent import SOURCE, Cell, Weights, constants, grid_of, step, tile_of
from streamflow.device.contract import Device, Queue, Refusal, Ticket, Work
from streamflow.device.cuda import CudaDevice
from streamflow.device.slots import Slot, SlotRing
from tools.claims import gpu_ipc
from tools.claims.framework import ROOT, AbsentError, Claim, Options, Row, ShortfallError, main
from tools.claims.gpu_device import gpu
from tools.claims.gpu_pipelines import BETWEEN_ON_THE_HOST, ON_A_GPU, ON_THE_HOST

SUITES = (
    "tests/conformance/test_devices.py",
    "tests/conformance/test_slot_rings.py",
    "tests/conformance/test_resident_tensors.py",
    "tests/conformance/test_shared_rings.py",
    "tests/nodes/test_recurrent_kernels.py",
    "tests/nodes/test_recurrent_model.py",
    "tests/nodes/test_cupy_function.py",
)
RELATIVE_ERROR = 1e-5
SIZES = ((1, 32), (40, 70), (64, 128), (128, 512))
ROWS = (1, 2, 3, 8, 19, 256)
SLAB_ROWS = 1024
STREAMED_MIB = (1, 4, 16, 64)
CHAIN_LENGTH = 20
GRU_HIDDEN, GRU_ROWS = (128, 512), (1, 4, 16, 64, 256)


# ----------------------------------------------------------------------------------------- everywhere


def host_equivalent(options: Options) -> Iterator[Row]:
    """The suites of the contract and of the kernels, on the host device and as C++ on the host."""
    for name in ("pytest", "pytest_trio"):
        if find_spec(name) is None:
            raise AbsentError(f"{name} is not installed")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not gpu", *SUITES], cwd=ROOT, capture_output=True, text=True
    )
    told = ended.stdout.strip().splitlines()[-1:] or [ended.stderr.strip()[-200:]]
    yield Row("the contract and the kernels", "all pass", told[0].strip("= "), ended.returncode == 0)


# ------------------------------------------------------------------------------------------- on a GPU


def correctness(options: Options) -> Iterator[Row]:
    """Each kernel with fresh numbers against NumPy in float64, into memory that was poisoned."""
    device = gpu()
    random = np.random.default_rng()
    for cell in Cell:
        worst, count = 0.0, 0
        for inputs, hidden in SIZES:
            for rows in ROWS:
                worst = max(worst, _error_of(device, Weights.random(cell, inputs, hidden), rows, random))
                count += 1
        measured = f"relative error {worst:.1e} in {count} cases, every element written"
        yield Row(f"{cell.word} step", f"< {RELATIVE_ERROR:g}, all written", measured, worst < RELATIVE_ERROR)
    device.close()


def _error_of(device: Device, weights: Weights, rows: int, random: np.random.Generator) -> float:
    """The greatest, relative to the greatest value. Infinite where something was not written, or what should not be."""
    cell, xp, tile = weights.cell, device.xp, tile_of(rows)
    kernel = device.kernel(SOURCE.read_text(), f"{cell.word}_step", constants(weights, tile))
    x = random.standard_normal((rows, weights.inputs)).astype(np.float32)
    slab = random.standard_normal((SLAB_ROWS, cell.states, weights.hidden)).astype(np.float32)
    places = random.permutation(SLAB_ROWS).astype(np.int32)
    reads, writes = places[:rows], places[rows : 2 * rows]
    before = slab.copy()
    slab[writes] = np.nan
    given = [xp.asarray(one) for one in (x, slab, reads, writes, weights.w_x, weights.w_h, weights.b_x, weights.b_h)]
    y = xp.full((rows, weights.hidden), np.nan, np.float32)
    queue = device.queue()
    xp.cuda.Device().synchronize()
    queue.launch(partial(kernel, *grid_of(weights.hidden, rows, tile)), *given, y, rows)
    trio.run(queue.ticket().wait)
    wide = Weights(cell, *(one.astype(np.float64) for one in (weights.w_x, weights.w_h, weights.b_x, weights.b_h)))
    expected = step(wide, x.astype(np.float64), before[reads].astype(np.float64))
    after, others = given[1].get(), np.delete(np.arange(SLAB_ROWS), writes)
    queue.close()
    if not (np.array_equal(after[others], before[others]) and np.array_equal(y.get(), after[writes][:, 0])):
        return float("inf")
    error = np.abs(after[writes] - expected).max() / np.abs(expected).max()
    return float(error) if np.isfinite(error) else float("inf")


def overlap(options: Options) -> Iterator[Row]:
    """Three slots over three queues against one slot over one, and against what the longest of its parts takes alone:
    copying both ways at once, for the link is slower then, or the work."""
    device = gpu()
    xp = device.xp
    for mib in STREAMED_MIB:
        shape = (mib << 18,)  # float32

        def work(x: Any, y: Any) -> None:
            xp.add(x, 1, out=y)

        batches = 20 if options.is_quick else 200
        both = {"x": (shape, "float32")}, {"y": (shape, "float32")}
        streamed_s = _streamed(SlotRing(device, *both, count=3, is_split=True), work, batches)
        serial_s = _streamed(SlotRing(device, *both, count=1, is_split=False), work, batches)
        alone_s = max(_parts_s(device, shape, parts, work, batches) for parts in (("in", "out"), ("work",)))
        reached = alone_s / streamed_s
        told = (
            f"{reached:.3f} of the longest part ({alone_s / batches * 1e3:.2f} ms), {serial_s / streamed_s:.2f}× serial"
        )
        yield Row(f"{mib} MiB in and out", ">= 0.95", told, reached >= 0.95)
    device.close()


def _streamed(ring: SlotRing, work: Callable[..., None], batches: int) -> float:
    """Seconds for so many, each slot refilled as soon as it is free."""

    async def stream(count: int) -> float:
        flying: list[Any] = []
        began_s = time.perf_counter()
        for _ in range(count):
            slot = ring.take()
            while slot is None:
                await flying.pop(0).wait()
                slot = ring.take()
            flying.append(ring.submit(slot, work))
            ring.give_back(slot)
        for ticket in flying:
            await ticket.wait()
        return time.perf_counter() - began_s

    trio.run(stream, len(ring.slots))
    seconds = trio.run(stream, batches)
    ring.close()
    return seconds


def _parts_s(
    device: Device, shape: tuple[int, ...], parts: Sequence[str], work: Callable[..., None], batches: int
) -> float:
    """Seconds for so many, of parts that do not wait for each other."""
    x, y = device.array(shape, "float32"), device.array(shape, "float32")
    source, target = device.host_array(shape, "float32"), device.host_array(shape, "float32")
    queues = [device.queue() for _ in parts]
    gives: dict[str, Callable[[Queue], None]] = {
        "in": lambda queue: queue.copy_in(x, source),
        "work": lambda queue: queue.launch(work, x, y),
        "out": lambda queue: queue.copy_out(target, y),
    }

    def seconds(count: int) -> float:
        began_s = time.perf_counter()
        for _ in range(count):
            for part, queue in zip(parts, queues, strict=True):
                gives[part](queue)
        for ticket in [queue.ticket() for queue in queues]:
            trio.run(ticket.wait)
        return time.perf_counter() - began_s

    seconds(2)
    found = seconds(batches)
    for queue in queues:
        queue.close()
    return found


def launch(options: Options) -> Iterator[Row]:
    """A chain of small kernels: whole steps of slots (copies, graph, ticket) against CuPy's bare graph and the same
    copies; each by itself, with the wake-up that follows, and as a stage does them: one runs, one is staged."""
    device = gpu()
    xp = device.xp
    ring = SlotRing(device, {"x": ((1024,), "float32")}, {"y": ((1024,), "float32")})

    def chain(x: Any, y: Any) -> None:
        xp.multiply(x, 0.5, out=y)
        for nth in range(CHAIN_LENGTH - 1):
            xp.add(y, nth, out=y)

    if not ring.capture(chain):
        raise ShortfallError("the chain could not be captured")
    count = 200 if options.is_quick else 2000
    alone_s = trio.run(_steps_s, ring, chain, count, 1)
    staged_s = trio.run(_steps_s, ring, chain, count, len(ring.slots))
    slot = ring.slots[0]
    graph, stream = slot.graphs[-1].graph, xp.cuda.Stream(non_blocking=True)  # type: ignore[attr-defined]
    (x,), (y,) = slot.on_device
    bare = []
    for _ in range(count):
        began_s = time.perf_counter()
        x.set(slot.inputs["x"], stream=stream)
        graph.launch(stream)
        y.get(stream=stream, out=slot.outputs["y"], blocking=False)
        stream.synchronize()
        bare.append(time.perf_counter() - began_s)
    for how, ours_s in (("each by itself", alone_s), ("one runs, one is staged", staged_s)):
        ratio = ours_s / median(bare)
        told = f"{ratio:.2f}× ({ours_s * 1e6:.0f} µs, bare {median(bare) * 1e6:.0f} µs)"
        yield Row(f"{CHAIN_LENGTH} kernels as a graph, {how}", "<= 1.2× bare", told, ratio <= 1.2)
    ring.close()
    device.close()


async def _steps_s(ring: SlotRing, work: Work, count: int, in_flight: int) -> float:
    """What a step takes, in the median, from when the one before it was done or it was given, as comes later."""
    given: deque[tuple[float, Slot, Ticket]] = deque()
    found = []
    done_s = 0.0
    for nth in range(count + in_flight):
        if nth >= in_flight:
            began_s, slot, ticket = given.popleft()
            await ticket.wait()
            since_s, done_s = max(began_s, done_s), time.perf_counter()
            found.append(done_s - since_s)
            ring.give_back(slot)
        if nth < count:
            taken = ring.take()
            assert taken is not None
            given.append((time.perf_counter(), taken, ring.submit(taken, work)))
    return median(found)


def giving(options: Options) -> Iterator[Row]:
    """How long the loop is held up by work that is given, beside what that takes."""
    device = gpu()
    mib, count = 4, 20
    queue, there = device.queue(), device.array((mib << 18,), "float32")
    given = device.host_array((mib << 18,), "float32")
    shares = []
    for _ in range(5 if options.is_quick else 50):
        began_s = time.perf_counter()
        for _ in range(count):
            queue.copy_in(there, given)
        ticket = queue.ticket()
        gave_s = time.perf_counter() - began_s
        trio.run(ticket.wait)
        shares.append(gave_s / (time.perf_counter() - began_s))
    told = f"{median(shares):.1%} of the time that they take"
    yield Row(f"{count} copies of {mib} MiB", "<= 25 %", told, median(shares) <= 0.25)
    device.close()


def completion(options: Options) -> Iterator[Row]:
    """From the end of the work, by the device's own wait in another thread, to the task; and the loop meanwhile."""
    device = gpu()
    xp = device.xp
    queue, there = device.queue(), device.array((1 << 22,), "float32")
    count = 100 if options.is_quick else 1000

    def work(x: Any) -> None:
        for _ in range(20):
            xp.sqrt(xp.abs(x, out=x), out=x)

    graph = device.capture(queue, work, there)  # given at once: what giving takes is another row
    if isinstance(graph, Refusal):
        raise ShortfallError(f"the work could not be captured: {graph.reason}")

    async def measure() -> tuple[list[float], list[float]]:
        wakes, lags = [], []
        for _ in range(count):
            queue.replay(graph)
            ticket = queue.ticket()
            await ticket.wait()
            wakes.append((time.monotonic_ns() - ticket.done_ns) / 1e3)

        async def beat() -> None:
            while True:
                began_ns = time.monotonic_ns()
                await trio.lowlevel.checkpoint()
                lags.append((time.monotonic_ns() - began_ns) / 1e3)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            for _ in range(count):
                queue.replay(graph)
                await queue.ticket().wait()
            nursery.cancel_scope.cancel()
        return wakes, lags

    wakes, lags = trio.run(measure)
    wake_us, lag_us = median(wakes), float(np.percentile(lags, 99))
    yield Row("wake after the event", "<= 40 µs p50", f"{wake_us:.0f} µs", wake_us <= 40)
    yield Row("lag of the loop meanwhile", "<= 100 µs p99", f"{lag_us:.0f} µs", lag_us <= 100)
    device.close()


def gru_step(options: Options) -> Iterator[Row]:
    """One captured step of ours against one of PyTorch's cuDNN GRU, by the device's own clock."""
    device = gpu()
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise AbsentError("PyTorch is not installed, which brings cuDNN") from None
    if not torch.cuda.is_available():
        raise AbsentError(f"PyTorch {torch.__version__} was built without CUDA, or for another driver")
    for hidden in GRU_HIDDEN:
        for rows in GRU_ROWS:
            ours_us = _our_step_us(device, Weights.random(Cell.GRU, hidden, hidden), rows)
            bound = 1.0 if rows <= 16 else 1.2
            try:
                theirs_us = _cudnn_step_us(torch, hidden, rows)
            except RuntimeError as error:  # then there is nothing to measure against
                reason = str(error).strip().partition("\n")[0]
                told = f"{ours_us:.1f} µs, and cuDNN's could not be measured: {reason}"
                yield Row(f"H = {hidden}, B = {rows}", f"<= {bound}×", told, None)
                continue
            told = f"{ours_us / theirs_us:.2f}× ({ours_us:.1f} µs, cuDNN {theirs_us:.1f} µs)"
            yield Row(f"H = {hidden}, B = {rows}", f"<= {bound}×", told, ours_us <= bound * theirs_us)
    device.close()


def _our_step_us(device: CudaDevice, weights: Weights, rows: int, count: int = 200) -> float:
    xp, tile = device.xp, tile_of(rows)
    kernel = device.kernel(SOURCE.read_text(), "gru_step", constants(weights, tile))
    slab = xp.zeros((2 * rows, 1, weights.hidden), "float32")
    reads, writes = xp.arange(rows, dtype="int32"), xp.arange(rows, 2 * rows, dtype="int32")
    given = [xp.asarray(one) for one in (weights.w_x, weights.w_h, weights.b_x, weights.b_h)]
    x, y = xp.zeros((rows, weights.inputs), "float32"), xp.zeros((rows, weights.hidden), "float32")
    grid, block = grid_of(weights.hidden, rows, tile)

    def work(*_: Any) -> None:
        for _nth in range(count):
            kernel(grid, block, x, slab, reads, writes, *given, y, rows)

    queue = device.queue()
    graph = device.capture(queue, work)
    if isinstance(graph, Refusal):
        raise ShortfallError(f"the step could not be captured: {graph.reason}")
    found = []
    for _ in range(10):
        queue.replay(graph)
        ticket = queue.ticket()
        trio.run(ticket.wait)
        found.append(ticket.device_ns / 1e3 / count)
    queue.close()
    return median(found)


def _cudnn_step_us(torch: Any, hidden: int, rows: int, count: int = 200) -> float:
    model = torch.nn.GRU(hidden, hidden).cuda().eval()
    x, h = torch.zeros(1, rows, hidden, device="cuda"), torch.zeros(1, rows, hidden, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode():
        for _ in range(3):
            model(x, h)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            for _ in range(count):
                _, h = model(x, h)
    found = []
    for _ in range(10):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        found.append(float(begin.elapsed_time(end)) * 1e3 / count)
    return float(median(found))


CLAIMS = [
    Claim("host equivalent", host_equivalent),
    *ON_THE_HOST,
    BETWEEN_ON_THE_HOST,
    Claim("correctness", correctness),
    Claim("overlap", overlap),
    Claim("launch", launch),
    Claim("GRU step", gru_step),
    Claim("giving", giving),
    Claim("completion", completion),
    *ON_A_GPU,
    Claim("IPC", gpu_ipc.on_gpu),
    Claim("IPC on the host equivalent", gpu_ipc.on_host),
]

if __name__ == "__main__":
    sys.exit(main("gpu", CLAIMS))
