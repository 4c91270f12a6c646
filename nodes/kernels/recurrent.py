"""One step of a recurrent cell, for a batch of streams: GRU and LSTM as PyTorch has them, in NumPy and as CUDA C.

    GRU    r = σ(W_xr x + b_xr + W_hr h + b_hr)      z likewise      n = tanh(W_xn x + b_xn + r ∘ (W_hn h + b_hn))
           h' = (1 - z) ∘ n + z ∘ h                                                       (Cho et al., 2014)
    LSTM   i, f, o = σ(W_x x + b_x + W_h h + b_h)    g = tanh(likewise)
           c' = f ∘ c + i ∘ g                        h' = o ∘ tanh(c')         (Hochreiter & Schmidhuber, 1997)

NumPy is the oracle; `recurrent.cu` does a step of a layer in one launch, which for a few streams is what a step costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import numpy as np

from nodes.kernels.activations import sigmoid

Array = np.ndarray[Any, Any]
SOURCE: Final = Path(__file__).with_name("recurrent.cu")
WARPS: Final = 4
TILE_MAX: Final = 8
"""Rows that a warp works on at once: as many sums for each gate, which have to fit into registers."""


class Cell(Enum):
    """How many gates it has, and how many vectors are its state."""

    GRU = ("gru", 3, 1)
    LSTM = ("lstm", 4, 2)

    def __init__(self, word: str, gates: int, states: int) -> None:
        self.word = word
        self.gates = gates
        self.states = states


@dataclass(frozen=True, slots=True)
class Weights:
    """`w_x` [gates, hidden, inputs], `w_h` [gates, hidden, hidden], `b_x` and `b_h` [gates, hidden].

    Raises ValueError where they do not fit together.
    """

    cell: Cell
    w_x: Array
    w_h: Array
    b_x: Array
    b_h: Array

    def __post_init__(self) -> None:
        gates, hidden, inputs = self.cell.gates, self.hidden, self.inputs
        expected = {
            "w_x": (gates, hidden, inputs),
            "w_h": (gates, hidden, hidden),
            "b_x": (gates, hidden),
            "b_h": (gates, hidden),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"{self.cell.word} {name} is {list(found)}, expected {list(shape)}")

    @property
    def hidden(self) -> int:
        return int(self.w_x.shape[1])

    @property
    def inputs(self) -> int:
        return int(self.w_x.shape[2])

    @staticmethod
    def random(cell: Cell, inputs: int, hidden: int, seed: int = 0) -> Weights:
        """Uniform in ±1/√hidden, as PyTorch begins."""
        random, limit = np.random.default_rng(seed), hidden**-0.5
        shapes = [
            (cell.gates, hidden, inputs),
            (cell.gates, hidden, hidden),
            (cell.gates, hidden),
            (cell.gates, hidden),
        ]
        return Weights(cell, *(random.uniform(-limit, limit, shape).astype(np.float32) for shape in shapes))


@dataclass(frozen=True, slots=True)
class Network:
    """Layers, of which each takes the h of the one before, and what is read out of the last: `head_weight`
    [outputs, hidden] and `head_bias` [outputs]; without them its h itself.

    Raises ValueError where they do not fit together.
    """

    layers: tuple[Weights, ...]
    head_weight: Array | None = None
    head_bias: Array | None = None

    def __post_init__(self) -> None:
        for nth, layer in enumerate(self.layers[1:], 1):
            if (layer.cell, layer.hidden, layer.inputs) != (self.cell, self.hidden, self.hidden):
                found = f"layer {nth} is a {layer.cell.word} of {layer.inputs} to {layer.hidden}"
                raise ValueError(f"{found}, expected a {self.cell.word} of {self.hidden} to {self.hidden}")
        if self.head_weight is None:
            if self.head_bias is not None:
                raise ValueError("head_bias without head_weight")
            return
        if self.head_weight.ndim != 2 or self.head_weight.shape[1] != self.hidden:
            raise ValueError(f"head_weight is {list(self.head_weight.shape)}, expected [outputs, {self.hidden}]")
        if self.head_bias is None or self.head_bias.shape != self.head_weight.shape[:1]:
            found = "missing" if self.head_bias is None else f"{list(self.head_bias.shape)}"
            raise ValueError(f"head_bias is {found}, expected [{self.head_weight.shape[0]}]")

    @property
    def cell(self) -> Cell:
        return self.layers[0].cell

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def hidden(self) -> int:
        return self.layers[0].hidden

    @property
    def outputs(self) -> int:
        return self.hidden if self.head_weight is None else int(self.head_weight.shape[0])

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """Of one stream: layers, vectors of each, hidden."""
        return len(self.layers), self.cell.states, self.hidden


def network_step(network: Network, x: Array, states: Array) -> tuple[Array, Array]:
    """What is read out, and the next states. `x` [rows, inputs], `states` [rows, layers, vectors, hidden]."""
    following = []
    for nth, layer in enumerate(network.layers):
        following.append(step(layer, x, states[:, nth]))
        x = following[-1][:, 0]
    return linear(network, x), np.stack(following, axis=1)


def linear(network: Network, h: Array) -> Array:
    """What is read out of the last layer's h."""
    if network.head_weight is None:
        return h
    result: Array = h @ network.head_weight.T + network.head_bias
    return result


def step(weights: Weights, x: Array, state: Array) -> Array:
    """The next states. `x` [rows, inputs], `state` [rows, states, hidden]: h, and of an LSTM c. Any float dtype."""
    of_x = np.einsum("ghi,bi->gbh", weights.w_x, x) + weights.b_x[:, None]
    of_h = np.einsum("ghk,bk->gbh", weights.w_h, state[:, 0]) + weights.b_h[:, None]
    if weights.cell is Cell.GRU:
        r, z = sigmoid(of_x[:2] + of_h[:2])
        n = np.tanh(of_x[2] + r * of_h[2])
        h: Array = (1 - z) * n + z * state[:, 0]
        return h[:, None]
    i, f, o = sigmoid((of_x + of_h)[[0, 1, 3]])
    c = f * state[:, 1] + i * np.tanh(of_x[2] + of_h[2])
    return np.stack([o * np.tanh(c), c], axis=1)


def tile_of(rows: int) -> int:
    """Rows that a warp works on at once in a batch of so many."""
    return next(tile for tile in (1, 2, 4, TILE_MAX) if tile >= min(rows, TILE_MAX))


def grid_of(hidden: int, rows: int, tile: int) -> tuple[tuple[int, int], int]:
    """Blocks, and threads of each."""
    return (-(-hidden // WARPS), -(-rows // tile)), 32 * WARPS


def constants(weights: Weights, tile: int) -> dict[str, int]:
    """What `recurrent.cu` is compiled with."""
    return {"INPUTS": weights.inputs, "HIDDEN": weights.hidden, "TILE": tile, "WARPS": WARPS}
