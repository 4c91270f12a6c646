"""Makes the network of `pipelines/spectrum_gpu.py`: `python -m tools.models.spectrum_gpu [FILE]`, a few seconds.

The GRU itself is not trained: its weights are random, scaled so that its units remember for times of their own (an
"echo state network": Jaeger, GMD Report 148, 2001). Only the read-out is fitted, by multinomial logistic regression.
That is enough for sounds which differ in how a pitch moves.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from nodes.kernels.recurrent import Cell, Network, Weights, network_step
from nodes.kernels.sounds import CHUNK, RATE_HZ, SOUNDS, chunks
from nodes.kernels.spectrum import spectral_shape

Array = np.ndarray[Any, Any]

MODEL: Final = Path(__file__).parents[2] / "pipelines" / "models" / "spectrum_gpu.npz"
HIDDEN: Final = 32
SIGNAL_COUNT, CHUNK_COUNT = 96, 300
SEED: Final = 1
FIRST_COUNTED: Final = 3  # what a sound is cannot be told before
PENALTY: Final = 1e-6
NEWTON_STEPS: Final = 12


def signals(seed: int, count: int, chunk_count: int) -> tuple[Array, Array, Array]:
    """Features float32[count, chunks, 3], the index of each chunk's sound, and how many chunks of that were before."""
    found = [list(islice(chunks((seed, nth), RATE_HZ, CHUNK), chunk_count)) for nth in range(count)]
    features = np.stack([spectral_shape(np.stack([chunk for chunk, _, _ in one])) for one in found])
    kinds, since = (np.array([[each[part] for each in one] for one in found]) for part in (1, 2))
    return features, kinds, since


def random_gru(inputs: int, hidden: int, seed: int) -> Weights:
    """Of spectral radius 0.9; how fast a unit forgets is spread by the biases of its update gate."""
    random = np.random.default_rng(seed)
    w_x = random.normal(0.0, 0.5, (3, hidden, inputs))
    w_h = random.normal(0.0, 1.0, (3, hidden, hidden))
    w_h *= 0.9 / np.abs(np.linalg.eigvals(w_h)).max(axis=-1)[:, None, None]
    b_x = np.zeros((3, hidden))
    b_x[1] = random.uniform(-2.0, 1.0, hidden)
    b_x[2] = random.uniform(-1.0, 1.0, hidden)
    w_x[1] *= 0.3  # the update gate is to keep its own pace
    w_h[1] *= 0.3
    return Weights(Cell.GRU, *(one.astype(np.float32) for one in (w_x, w_h, b_x, np.zeros((3, hidden)))))


def outputs(network: Network, features: Array) -> Array:
    """What it says of each chunk: float32[count, chunks, outputs]."""
    states = np.zeros((len(features), *network.state_shape), np.float32)
    found = []
    for chunk in range(features.shape[1]):
        y, states = network_step(network, features[:, chunk], states)
        found.append(y)
    return np.stack(found, axis=1)


def logistic(x: Array, kinds: Array, count: int) -> tuple[Array, Array]:
    """Weights [count, features] and biases [count] of the regression, by Newton's method on standardised features."""
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    a = np.concatenate([(x - mean) / deviation, np.ones((len(x), 1))], axis=1)
    size, truth = a.shape[1], np.eye(count)[kinds]
    w = np.zeros((count, size))
    for _ in range(NEWTON_STEPS):
        scores = a @ w.T
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        gradient = (shares - truth).T @ a / len(a) + PENALTY * w
        curvature = np.empty((count, size, count, size))
        for i in range(count):
            for j in range(count):
                weight = shares[:, i] * ((i == j) - shares[:, j])
                curvature[i, :, j] = (a * weight[:, None]).T @ a / len(a)
        curvature = curvature.reshape(count * size, count * size) + PENALTY * np.eye(count * size)
        w -= np.linalg.solve(curvature, gradient.ravel()).reshape(count, size)
    weights = w[:, :-1] / deviation
    return weights, w[:, -1] - weights @ mean


def made() -> Network:
    features, kinds, since = signals(SEED, SIGNAL_COUNT, CHUNK_COUNT)
    gru = random_gru(features.shape[-1], HIDDEN, SEED)
    states = outputs(Network((gru,)), features)
    is_counted = since >= FIRST_COUNTED
    weights, biases = logistic(states[is_counted].astype(np.float64), kinds[is_counted], len(SOUNDS))
    return Network((gru,), weights.astype(np.float32), biases.astype(np.float32))


def arrays_of(network: Network) -> dict[str, Array]:
    """By PyTorch's names, as `RecurrentModel` reads them."""
    (gru,), gates = network.layers, 3 * network.hidden
    assert network.head_weight is not None
    assert network.head_bias is not None
    return {
        "weight_ih_l0": gru.w_x.reshape(gates, -1),
        "weight_hh_l0": gru.w_h.reshape(gates, -1),
        "bias_ih_l0": gru.b_x.reshape(gates),
        "bias_hh_l0": gru.b_h.reshape(gates),
        "head_weight": network.head_weight,
        "head_bias": network.head_bias,
    }


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else MODEL
    np.savez(path, **arrays_of(made()))  # type: ignore[arg-type]
    print(path)
