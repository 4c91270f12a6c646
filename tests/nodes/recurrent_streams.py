"""What recurrent networks are tested against: NumPy in float64, stream by stream, without slots, batches or devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nodes.infer import RecurrentModel
from nodes.kernels.recurrent import Cell, Network, Weights, network_step
from streamflow.device.contract import Device

Array = np.ndarray[Any, Any]


def network(cell: Cell = Cell.GRU, inputs: int = 5, hidden: int = 7, layers: int = 1, outputs: int = 0) -> Network:
    found = [Weights.random(cell, inputs if nth == 0 else hidden, hidden, seed=nth) for nth in range(layers)]
    if not outputs:
        return Network(tuple(found))
    random = np.random.default_rng(9)
    head = random.standard_normal((outputs, hidden)).astype(np.float32)
    return Network(tuple(found), head, random.standard_normal(outputs).astype(np.float32))


class Streams:
    """Each with its state in float64."""

    def __init__(self, network: Network) -> None:
        def exact(weights: Weights) -> Weights:
            arrays = (weights.w_x, weights.w_h, weights.b_x, weights.b_h)
            return Weights(weights.cell, *(array.astype(np.float64) for array in arrays))

        head = (network.head_weight, network.head_bias)
        exact_head = (None if array is None else array.astype(np.float64) for array in head)
        self._network = Network(tuple(exact(layer) for layer in network.layers), *exact_head)
        self._states: dict[str, Array] = {}
        self._last: dict[str, Array] = {}

    def step(self, stream: str, x: Array, repeat_count: int = 0) -> Array:
        """The result of one datum, before which the one before is stepped with again."""
        for _ in range(repeat_count):
            self._step(stream, self._last[stream])
        self._last[stream] = x
        return self._step(stream, x)

    def begin_anew(self, stream: str) -> None:
        self._states.pop(stream, None)

    def state(self, stream: str) -> Array | None:
        """None: the initial one."""
        return self._states.get(stream)

    def set_state(self, stream: str, state: Array | None) -> None:
        self._states.pop(stream, None)
        if state is not None:
            self._states[stream] = state

    def _step(self, stream: str, x: Array) -> Array:
        state = self._states.get(stream, np.zeros(self._network.state_shape))
        y, following = network_step(self._network, x[None].astype(np.float64), state[None])
        self._states[stream] = following[0]
        return y[0]


def wave(seq: int, stream: int = 0) -> Array:
    """A datum that differs from all others: float32[4]."""
    return np.sin(np.float32([1, 2, 3, 4]) * (seq + 1) * 0.37 + stream)


class Lineage:
    """What one stream's state can be: after each datum what it was when the stage had stepped with that."""

    def __init__(self, model: Network, x_of: Callable[[int], Array]) -> None:
        """`x_of`: the datum of a number."""
        self._x_of = x_of
        self._steps = Streams(model)
        self._states: dict[int, Array | None] = {-1: None}

    def result(self, base: int, seq: int, place: int | None = None) -> Array:
        """Of the step with `seq` from the state that belongs to `base`; what follows belongs to `place`, or `seq`."""
        known = max(at for at in self._states if at <= base)
        for unheard in range(known + 1, base + 1):  # its result went with the process
            self._step(unheard - 1, unheard)
        return self._step(base, seq, place)

    def _step(self, base: int, seq: int, place: int | None = None) -> Array:
        self._steps.set_state("s", self._states[base])
        y = self._steps.step("s", self._x_of(seq))
        self._states[seq if place is None else place] = self._steps.state("s")
        return y


class OnAnyDevice(RecurrentModel):
    """The same on a device of the test's; it stays open where it is to be called by hand."""

    def __init__(self, network: Any, device: Device, *, stays_open: bool = False, **settings: Any) -> None:
        super().__init__(network, **settings)
        self._device = device
        self._stays_open = stays_open

    async def open(self) -> None:
        self._device.open()
        self.context.device = self._device
        await super().open()

    def close(self) -> None:
        if not self._stays_open:
            super().close()


def state_dict(network: Network) -> dict[str, Array]:
    """As PyTorch would name them."""
    found: dict[str, Array] = {}
    for nth, layer in enumerate(network.layers):
        gates = layer.cell.gates * layer.hidden
        found[f"weight_ih_l{nth}"] = layer.w_x.reshape(gates, layer.inputs)
        found[f"weight_hh_l{nth}"] = layer.w_h.reshape(gates, layer.hidden)
        found[f"bias_ih_l{nth}"] = layer.b_x.reshape(gates)
        found[f"bias_hh_l{nth}"] = layer.b_h.reshape(gates)
    head: Mapping[str, Array | None] = {"head_weight": network.head_weight, "head_bias": network.head_bias}
    return found | {name: array for name, array in head.items() if array is not None}
