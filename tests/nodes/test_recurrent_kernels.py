"""GRU and LSTM steps: NumPy against ONNX Runtime, the CUDA kernels against NumPy in float64, on whatever runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.kernels.recurrent import SOURCE, TILE_MAX, Cell, Weights, constants, grid_of, step, tile_of
from tests.device.cuda_on_host import COMPILER, HostKernel, parameters_of

SLAB_ROWS = 40
RELATIVE_ERROR = 1e-5


def in_float64(weights: Weights) -> Weights:
    return Weights(weights.cell, *(w.astype(np.float64) for w in (weights.w_x, weights.w_h, weights.b_x, weights.b_h)))


def stepped(kernel: Any, weights: Weights, rows: int, random: np.random.Generator) -> None:
    """One step with fresh numbers: every result is there and right, and nothing else was written."""
    cell, hidden, tile = weights.cell, weights.hidden, tile_of(rows)
    x = random.standard_normal((rows, weights.inputs)).astype(np.float32)
    slab = random.standard_normal((SLAB_ROWS, cell.states, hidden)).astype(np.float32)
    places = random.permutation(SLAB_ROWS).astype(np.int32)
    reads, writes = places[:rows].copy(), places[rows : 2 * rows].copy()
    before, y = slab.copy(), np.full((rows, hidden), np.nan, np.float32)
    slab[writes] = np.nan
    kernel(*grid_of(hidden, rows, tile), x, slab, reads, writes, *weights_of(weights), y, rows)
    expected = step(in_float64(weights), x.astype(np.float64), before[reads].astype(np.float64))
    scale = np.abs(expected).max()
    assert np.abs(slab[writes] - expected).max() < RELATIVE_ERROR * scale
    assert np.array_equal(y, slab[writes, 0])
    others = np.delete(np.arange(SLAB_ROWS), writes)
    assert np.array_equal(slab[others], before[others])


def weights_of(weights: Weights) -> tuple[Any, ...]:
    return weights.w_x, weights.w_h, weights.b_x, weights.b_h


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
@pytest.mark.parametrize(
    ("cell", "inputs", "hidden", "sizes"),
    [
        (Cell.GRU, 40, 70, [1]),
        (Cell.GRU, 40, 70, [2]),
        (Cell.GRU, 1, 32, [3, 4]),
        (Cell.GRU, 40, 70, [5, 8, 19]),
        (Cell.LSTM, 40, 70, [1]),
        (Cell.LSTM, 33, 32, [8, 19]),
    ],
)
def test_kernels_are_numpy_in_float64(cell: Cell, inputs: int, hidden: int, sizes: list[int], tmp_path: Path) -> None:
    weights, tile = Weights.random(cell, inputs, hidden), tile_of(sizes[0])
    kernel = HostKernel(
        SOURCE, f"{cell.word}_step", constants(weights, tile), parameters_of(SOURCE, f"{cell.word}_step"), tmp_path
    )
    for rows in sizes:
        assert tile_of(rows) == tile
        stepped(kernel, weights, rows, np.random.default_rng())


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
@pytest.mark.parametrize(("hidden", "outputs", "rows"), [(70, 3, 1), (33, 9, 5), (64, 1, 19)])
def test_a_read_out_is_numpy_in_float64(hidden: int, outputs: int, rows: int, tmp_path: Path) -> None:
    tile, random = tile_of(rows), np.random.default_rng()
    kernel = HostKernel(
        SOURCE,
        "linear",
        constants(Weights.random(Cell.GRU, 1, hidden), tile),
        parameters_of(SOURCE, "linear"),
        tmp_path,
    )
    h, w, b = (
        random.standard_normal(shape).astype(np.float32) for shape in ((rows, hidden), (outputs, hidden), outputs)
    )
    y = np.full((rows + 1, outputs), np.nan, np.float32)
    kernel(*grid_of(outputs, rows, tile), h, w, b, y, outputs, rows)
    expected = h.astype(np.float64) @ w.T.astype(np.float64) + b
    assert np.abs(y[:rows] - expected).max() < RELATIVE_ERROR * np.abs(expected).max()
    assert np.isnan(y[rows]).all(), "nothing else was written"


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("width", [1, 127, 128, 300])
def test_rows_are_copied_whole_and_no_others(width: int, tmp_path: Path) -> None:
    random = np.random.default_rng()
    kernel = HostKernel(
        SOURCE, "copy_rows", constants(Weights.random(Cell.GRU, 1, 1), 1), parameters_of(SOURCE, "copy_rows"), tmp_path
    )
    source = random.standard_normal((9, width)).astype(np.float32)
    target = np.full((7, width), np.nan, np.float32)
    reads, writes = np.array([8, 0, 3], np.int32), np.array([1, 6, 2], np.int32)
    kernel((-(-width // 128), 3), 128, source, reads, target, writes, width)
    assert np.array_equal(target[writes], source[reads])
    assert np.isnan(np.delete(target, writes, 0)).all()


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 9, 300])
def test_a_tile_is_large_enough_or_the_largest(rows: int) -> None:
    tile = tile_of(rows)
    assert tile >= min(rows, TILE_MAX)
    (across, down), threads = grid_of(70, rows, tile)
    assert down * tile >= rows > (down - 1) * tile
    assert across * threads // 32 >= 70


@pytest.mark.parametrize("cell", list(Cell))
def test_numpy_is_what_onnx_runtime_computes(cell: Cell) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    weights, rows = Weights.random(cell, 5, 7, seed=3), 4
    random = np.random.default_rng(4)
    x = random.standard_normal((rows, 5)).astype(np.float32)
    state = random.standard_normal((rows, cell.states, 7)).astype(np.float32)
    # ONNX orders gates otherwise: GRU z, r, h; LSTM i, o, f, c.
    order = [1, 0, 2] if cell is Cell.GRU else [0, 3, 1, 2]
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    given = {
        "X": x[None],
        "W": weights.w_x[order].reshape(1, -1, 5),
        "R": weights.w_h[order].reshape(1, -1, 7),
        "B": np.concatenate([weights.b_x[order].ravel(), weights.b_h[order].ravel()])[None],
        "h": state[None, :, 0],
        **({"c": state[None, :, 1]} if cell is Cell.LSTM else {}),
    }
    names = ["X", "W", "R", "B", "", *(["h", "c"] if cell is Cell.LSTM else ["h"])]
    results = ["", "h_next", *(["c_next"] if cell is Cell.LSTM else [])]
    options = {"linear_before_reset": 1} if cell is Cell.GRU else {}
    node = helper.make_node(cell.word.upper(), names, results, hidden_size=7, **options)
    declared = [helper.make_tensor_value_info(name, float32, array.shape) for name, array in given.items()]
    returned = [helper.make_tensor_value_info(name, float32, None) for name in results if name]
    graph = helper.make_graph([node], "cell", declared, returned)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = np.stack([one[0] for one in session.run(None, given)], axis=1)
    np.testing.assert_allclose(step(weights, x, state), expected, atol=2e-6)


def test_weights_that_do_not_fit_are_told() -> None:
    weights = Weights.random(Cell.GRU, 5, 7)
    with pytest.raises(ValueError, match=r"gru b_h is \[2, 7\], expected \[3, 7\]"):
        Weights(Cell.GRU, weights.w_x, weights.w_h, weights.b_x, weights.b_h[:2])
