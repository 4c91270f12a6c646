"""An ONNX model on its stage's device: copies in, a run and copies out are given to queues, and nobody waits for them.

What goes in and out lies in buffers that are allocated when the stage opens and told to the model by their addresses,
once for each number of rows; so all sizes but that one are known then. What an output's are is seen in a first run, of
one row. An input that ONNX Runtime reads elsewhere than it lies is copied there when it is *bound*, and never again: so
it is asked where it reads each, and what it reads on the host, as it does with some integers, is bound there.

What is on the device already is copied there into the buffer that is bound, and what stays there out of it.

What this does not do: leave states on the device from step to step; they go in and come out with each. Nodes of a model
that its provider does not have run on the CPU, and the loop waits where these need what is on the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from nodes.infer.onnx_bindings import Array
from nodes.infer.onnx_session import read_on_host, session_on, unwaited
from streamflow import InputError
from streamflow.device.contract import Device, DeviceArray, Ticket
from streamflow.device.resident import DeviceTensor
from streamflow.device.slots import Slot, SlotRing

OTHER_SHAPE: Final = "computed output shape"
"""What ONNX Runtime says of an output that does not fit into its buffer."""

Axes = Mapping[str, int | None]
"""By the name of a tensor, along which of its axes data of several streams stand side by side; None: it is of one."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output, of which the first `rows` rows of a buffer hold a batch in one piece, whatever its axis."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    """Of what the model is given for one row."""
    axis: int | None

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of a row of the buffer: without an axis of 1 in front, as a message is."""
        return self.shape[1:] if self.axis == 0 else self.shape

    def buffer(self, rows: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        return (rows, *self.row), self.dtype

    def part(self, buffer: DeviceArray, rows: int) -> DeviceArray:
        """What the model is given of it."""
        shape = list(self.shape)
        if self.axis is not None:
            shape[self.axis] = rows
        return buffer[:rows].reshape(shape)


@dataclass(frozen=True, slots=True)
class Given:
    """A run that was given: what it was given with, and what is in `outputs` when its ticket is done; of its slot.

    `stays`: outputs that are on the device then, and not in `outputs`, a tensor for each row.
    """

    ticket: Ticket
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    stays: Mapping[str, Sequence[DeviceTensor]]


class DeviceModel:
    """One that is loaded, with its buffers. Not thread-safe: it belongs to the loop."""

    def __init__(
        self,
        path: str,
        threads: int,
        device: Device,
        feed: Mapping[str, Array],
        constants: Mapping[str, Array],
        inputs: Axes,
        outputs: Axes,
        rows_max: int,
        priority: int,
    ) -> None:
        """`feed`: all inputs, of one row. `constants`: those of them that are always the same.

        Raises NoDeviceError, DeviceMemoryError, and InputError for a file that is no model or an output without rows.
        """
        self._path = path
        self._device = device
        self._constants = constants
        self._bindings: dict[tuple[int, int], Any] = {}
        self._options = unwaited()
        self._queue = device.queue(priority)
        try:
            self._session = session_on(path, threads, device, self._queue)
            self._on_host = read_on_host(self._session, device)
            returned = self._session.run(list(outputs), dict(feed))
            self._inputs = _tensors(inputs, [feed[name] for name in inputs])
            self._outputs = _tensors(outputs, returned)
            for tensor, array in zip(self._outputs, returned, strict=True):
                require_rows(path, tensor.name, array, tensor.axis, 1)
            buffers = ({one.name: one.buffer(rows_max) for one in kind} for kind in (self._inputs, self._outputs))
            self._ring = SlotRing(device, *buffers, priority=priority, compute=self._queue)
        except BaseException:
            self._queue.close()
            raise

    def slot(self) -> AbstractContextManager[Slot]:
        """One of two, whose buffers are nobody else's until its last run is done and another one was taken."""
        return self._ring.loan()

    def run(
        self,
        slot: Slot,
        feed: Mapping[str, Array],
        plain: Mapping[str, Sequence[Array | DeviceTensor]],
        rows: int,
        stays: Mapping[str, Sequence[DeviceTensor]],
    ) -> Given:
        """Give a run with these inputs, whole or, the plain ones, row by row; what is in host arrays is copied at once.
        `stays`: outputs that stay on the device. The run before it in this slot is done."""
        inputs = {one.name: one.part(slot.inputs[one.name], rows) for one in self._inputs}
        outputs = {one.name: one.part(slot.outputs[one.name], rows) for one in self._outputs if one.name not in stays}
        for name, array in inputs.items():
            if name in plain:
                self._ring.put(slot, name, plain[name])
            else:
                np.copyto(array, feed[name], casting="no")
        for name, tensors in stays.items():
            self._ring.keep(slot, name, tensors)
        work = partial(self._work, self._binding(slot, rows))
        return Given(self._ring.submit(slot, work, rows), inputs, outputs, stays)

    def is_read_on_host(self, name: str) -> bool:
        """Whether an input has to be in the host's memory before a run with it is given."""
        return name in self._on_host

    async def on_host(self, tensor: DeviceTensor) -> Array:
        """A copy of it there."""
        array = np.empty(tensor.shape, tensor.dtype)
        self._queue.copy_out(array, tensor.on(self._queue))
        await self._queue.ticket().wait()
        return array

    def row_of(self, output: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and dtype of what comes of one datum."""
        found = next(one for one in self._outputs if one.name == output)
        return found.row, found.dtype

    def close(self) -> None:
        self._ring.close()
        self._bindings.clear()
        self._session = None

    def _work(self, binding: Any, *arrays: Any) -> None:
        try:
            self._session.run_with_iobinding(binding, self._options)
        except Exception as error:  # its own exceptions have no common class but this
            if OTHER_SHAPE not in str(error):
                raise
            found = str(error).partition(" : ")[2].partition("INVALID_ARGUMENT : ")[2].partition(". When")[0]
            hint = "without device= an output may have any shape"
            raise InputError(self._path, found, "outputs whose shapes follow from those of the inputs", hint) from error

    def _binding(self, slot: Slot, rows: int) -> Any:
        """Which addresses the model reads and writes for so many rows; the slot holds what is there."""
        binding = self._bindings.get((id(slot), rows))
        if binding is None:
            binding = self._bindings[id(slot), rows] = self._session.io_binding()
            for name, array in self._constants.items():
                binding.bind_cpu_input(name, array)
            for tensor, buffer in zip(self._inputs, slot.on_device[0], strict=True):
                if tensor.name in self._on_host:
                    part = tensor.part(slot.inputs[tensor.name], rows)
                    binding.bind_input(tensor.name, "cpu", 0, tensor.dtype, part.shape, part.ctypes.data)
                else:
                    part = tensor.part(buffer, rows)
                    address = self._device.pointer(part)
                    binding.bind_input(tensor.name, *self._device.place, tensor.dtype, part.shape, address)
            for tensor, buffer in zip(self._outputs, slot.on_device[1], strict=True):
                part = tensor.part(buffer, rows)
                address = self._device.pointer(part)
                binding.bind_output(tensor.name, *self._device.place, tensor.dtype, part.shape, address)
        return binding


def require_rows(path: str, name: str, array: Array, axis: int | None, rows: int) -> None:
    """Raises InputError for an output that has not as many rows as went in."""
    if axis is not None and array.shape[axis] != rows:
        found = f"output '{name}' came as {list(array.shape)}"
        raise InputError(path, found, f"a batch of {rows}", f"say batched={{'{name}': False}}")


def _tensors(axes: Axes, of_one_row: Iterable[Array]) -> list[Tensor]:
    return [
        Tensor(name, array.dtype, array.shape, axis)
        for (name, axis), array in zip(axes.items(), of_one_row, strict=True)
    ]
