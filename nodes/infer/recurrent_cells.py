"""What a step of a recurrent network is made of, on the arrays of a device: by its kernels, or by NumPy.

States lie in a slab of rows, and a step reads some of them and writes others. All here is called in the work of a
queue (`Queue.launch`): it waits for nothing, and allocates nothing on a device.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from nodes.kernels.recurrent import SOURCE, Array, Network, Weights, constants, grid_of, linear, step, tile_of
from streamflow.device.contract import Device, DeviceArray, Kernel, Queue

COPY_THREADS = 128


class Cells(Protocol):
    """Of one network on one device. Index arrays are int32[rows]; `h` and `x` are float32[rows, ...]."""

    def step(
        self, layer: int, x: DeviceArray, slab: DeviceArray, reads: DeviceArray, writes: DeviceArray, h: DeviceArray
    ) -> None:
        """A layer's step: from the rows `reads` of `slab` [any, vectors, hidden] to the rows `writes`, none of which is
        read; `h` [rows, hidden] is the new h again."""

    def read_out(self, h: DeviceArray, y: DeviceArray) -> None:
        """Of the last layer; only where the network has a head."""

    def copy_rows(self, source: DeviceArray, reads: DeviceArray, target: DeviceArray, writes: DeviceArray) -> None:
        """Rows `reads` of `source` [any, ...] to the rows `writes` of `target` [any, ...]; of as many numbers each."""


class NumpyCells:
    def __init__(self, network: Network) -> None:
        self._network = network

    def step(
        self, layer: int, x: DeviceArray, slab: DeviceArray, reads: DeviceArray, writes: DeviceArray, h: DeviceArray
    ) -> None:
        following = step(self._network.layers[layer], x, slab[reads])
        slab[writes] = following
        h[...] = following[:, 0]

    def read_out(self, h: DeviceArray, y: DeviceArray) -> None:
        y[...] = linear(self._network, h)

    def copy_rows(self, source: DeviceArray, reads: DeviceArray, target: DeviceArray, writes: DeviceArray) -> None:
        target[writes] = source[reads]


class KernelCells:
    """By `nodes/kernels/recurrent.cu`, compiled for each size of layer and tile there is."""

    def __init__(self, device: Device, queue: Queue, network: Network, rows_max: int) -> None:
        """What it copies to the device is there when the queue has come so far; until then it holds what it copies."""
        self._device = device
        self._queue = queue
        self._network = network
        self._sources: list[Array] = []
        self._weights = [self._there(one.w_x, one.w_h, one.b_x, one.b_h) for one in network.layers]
        self._head: list[DeviceArray] = []
        tiles = sorted({tile_of(rows) for rows in range(1, rows_max + 1)})
        self._steps = [
            {tile: self._kernel(f"{network.cell.word}_step", layer, tile) for tile in tiles} for layer in network.layers
        ]
        last = network.layers[-1]
        self._read_outs: dict[int, Kernel] = {}
        if network.head_weight is not None and network.head_bias is not None:
            self._head = self._there(network.head_weight, network.head_bias)
            self._read_outs = {tile: self._kernel("linear", last, tile) for tile in tiles}
        self._copy = self._kernel("copy_rows", last, 1)

    def step(
        self, layer: int, x: DeviceArray, slab: DeviceArray, reads: DeviceArray, writes: DeviceArray, h: DeviceArray
    ) -> None:
        rows, tile = len(x), tile_of(len(x))
        grid, block = grid_of(self._network.hidden, rows, tile)
        self._steps[layer][tile](grid, block, x, slab, reads, writes, *self._weights[layer], h, rows)

    def read_out(self, h: DeviceArray, y: DeviceArray) -> None:
        rows, tile, outputs = len(h), tile_of(len(h)), self._network.outputs
        grid, block = grid_of(outputs, rows, tile)
        self._read_outs[tile](grid, block, h, *self._head, y, outputs, rows)

    def copy_rows(self, source: DeviceArray, reads: DeviceArray, target: DeviceArray, writes: DeviceArray) -> None:
        width = source.size // len(source)
        self._copy((-(-width // COPY_THREADS), len(reads)), COPY_THREADS, source, reads, target, writes, width)

    def _there(self, *arrays: Array) -> list[DeviceArray]:
        found = []
        for array in arrays:
            array = np.ascontiguousarray(array, np.float32)  # as the kernels read it, whatever it was given as
            on_device = self._device.array(array.shape, array.dtype)
            self._queue.copy_in(on_device, array)
            self._sources.append(array)
            found.append(on_device)
        return found

    def _kernel(self, name: str, layer: Weights, tile: int) -> Kernel:
        return self._device.kernel(SOURCE.read_text(), name, constants(layer, tile))


def cells_of(device: Device, queue: Queue, network: Network, rows_max: int) -> Cells:
    """By the device's kernels, where it has any."""
    if device.capabilities.has_kernels:
        return KernelCells(device, queue, network, rows_max)
    return NumpyCells(network)
