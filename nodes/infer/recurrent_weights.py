"""Reads a recurrent network from an `.npz` file with the names that PyTorch's GRU and LSTM give to their weights.

    weight_ih_l0 [gates * hidden, inputs]    bias_ih_l0 [gates * hidden]    and `_l1`, `_l2`, ... of further layers
    weight_hh_l0 [gates * hidden, hidden]    bias_hh_l0 [gates * hidden]
    head_weight [outputs, hidden]            head_bias [outputs]            a linear read-out, if any

`np.savez(path, **{name: w.numpy() for name, w in gru.state_dict().items()})` makes one. The shapes say which cell it
is: a GRU has three gates, an LSTM four.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nodes.kernels.recurrent import Array, Cell, Network, Weights
from streamflow import InputError

EXPECTED = "an .npz file with the weights of a GRU or LSTM, named as PyTorch does (weight_ih_l0, ...)"
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_HEAD = ("head_weight", "head_bias")
_CELLS = {cell.gates: cell for cell in Cell}


def read_network(path: Path) -> Network:
    """In float32. Raises InputError for what is no such file, with what is wrong in it."""
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise InputError(f"{path}", "a single array", EXPECTED)
        with file:
            arrays = {name: _read(file, name, path) for name in file.files}
    except OSError as error:
        raise InputError(f"{path}", f"cannot be read ({error.strerror or error})", EXPECTED) from None
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}", f"is none, or broken ({error})", EXPECTED) from None
    except (ValueError, EOFError):
        raise InputError(f"{path}", "is none", EXPECTED) from None
    return network_of(arrays, f"{path}")


def _read(file: Mapping[str, Array], name: str, path: Path) -> Array:
    try:
        return file[name]
    except ValueError:  # of Python objects, which NumPy would unpickle
        raise InputError(f"{path}", f"{name} is no array of numbers", EXPECTED) from None


def network_of(arrays: Mapping[str, Array], subject: str) -> Network:
    """The network of these weights. Raises InputError, which names the one that does not fit."""
    weights = {name: _checked(name, array, subject) for name, array in arrays.items()}
    count = next(nth for nth in range(len(weights) + 1) if f"weight_ih_l{nth}" not in weights)
    if not count:
        raise InputError(subject, f"no weight_ih_l0 among {', '.join(weights) or 'nothing'}", EXPECTED)
    known = {f"{part}_l{nth}" for part in _PARTS for nth in range(count)} | set(_HEAD)
    if strange := next((name for name in weights if name not in known), None):
        hint = "networks of one direction, without projections, are what there is" if "_l" in strange else ""
        raise InputError(subject, f"{strange}, which is not known", f"{', '.join(sorted(known))}", hint)
    layers = tuple(_layer(weights, nth, subject) for nth in range(count))
    try:
        return Network(layers, *(weights.get(name) for name in _HEAD))
    except ValueError as error:
        raise InputError(subject, f"{error}", "layers that take each other's h, and a read-out of the last") from None


def _layer(weights: Mapping[str, Array], nth: int, subject: str) -> Weights:
    hidden_name = f"weight_hh_l{nth}"
    if hidden_name not in weights:
        raise InputError(subject, f"no {hidden_name}", f"one beside weight_ih_l{nth}")
    of_hidden, of_inputs = weights[hidden_name], weights[f"weight_ih_l{nth}"]
    hidden = of_hidden.shape[-1] if of_hidden.ndim == 2 else 0
    gates = of_hidden.shape[0] // hidden if hidden else 0
    cell = _CELLS.get(gates)
    if cell is None or of_hidden.shape[0] != gates * hidden:
        expected = "[3 * hidden, hidden] of a GRU, or [4 * hidden, hidden] of an LSTM"
        raise InputError(subject, f"{hidden_name} is {list(of_hidden.shape)}", expected)
    shapes = {
        f"weight_ih_l{nth}": (gates * hidden, of_inputs.shape[-1] if of_inputs.ndim == 2 else 0),
        f"bias_ih_l{nth}": (gates * hidden,),
        f"bias_hh_l{nth}": (gates * hidden,),
    }
    given = [name for name in (f"bias_ih_l{nth}", f"bias_hh_l{nth}") if name in weights]
    if len(given) == 1:
        raise InputError(subject, f"{given[0]} is the only bias of layer {nth}", "bias_ih and bias_hh, or neither")
    found = {}
    for name, shape in shapes.items():
        array = weights.get(name)
        if array is None:
            array = np.zeros(shape, np.float32)  # bias=False
        if array.shape != shape or not array.size:
            expected = f"[{shape[0]}, inputs]" if name.startswith("weight") else f"[{shape[0]}]"
            raise InputError(subject, f"{name} is {list(array.shape)}", f"{expected}, as {hidden_name} says")
        found[name] = array
    of_inputs, *biases = found.values()
    return Weights(
        cell,
        of_inputs.reshape(gates, hidden, -1),
        of_hidden.reshape(gates, hidden, hidden),
        *(bias.reshape(gates, hidden) for bias in biases),
    )


def _checked(name: str, array: Array, subject: str) -> Array:
    if array.dtype.kind != "f":
        raise InputError(subject, f"{name} is of dtype {array.dtype}", "floating-point numbers")
    with np.errstate(over="ignore"):
        weights = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(weights).all():
        found = "values beyond those of float32" if np.isfinite(array).all() else "NaN or infinite values"
        raise InputError(subject, f"{name} has {found}", "finite ones")
    return weights
