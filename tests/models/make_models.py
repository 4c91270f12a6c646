"""Writes the small ONNX models that the tests run; what each computes is in its function's docstring.

Run it after a change: `python tests/models/make_models.py`. A test compares the files with what this makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

FOLDER = Path(__file__).parent
OPSET, IR_VERSION = 17, 8  # what every ONNX Runtime from 1.14 on runs


def echo() -> onnx.ModelProto:
    """Returns what it was fed, so that a test sees it: names that are no identifiers, free dimensions, `sr`."""
    return _model(
        "echo",
        [helper.make_node("Identity", ["input.1"], ["758"]), helper.make_node("Identity", ["sr"], ["rate"])],
        [_tensor("input.1", [None, None]), _tensor("sr", [], TensorProto.INT64)],
        [_tensor("758", [None, None]), _tensor("rate", [], TensorProto.INT64)],
    )


def running_sum() -> onnx.ModelProto:
    """y = x + h[0]; the next h[0] is y, the next h[1] counts the steps; the batch is the state's axis 1."""
    return _model(
        "running_sum",
        [
            helper.make_node("Gather", ["h", "zero"], ["sum"], axis=0),
            helper.make_node("Add", ["x", "sum"], ["y"]),
            helper.make_node("Gather", ["h", "one"], ["steps"], axis=0),
            helper.make_node("Add", ["steps", "step"], ["more_steps"]),
            helper.make_node("Unsqueeze", ["y", "axes"], ["y_row"]),
            helper.make_node("Unsqueeze", ["more_steps", "axes"], ["steps_row"]),
            helper.make_node("Concat", ["y_row", "steps_row"], ["hn"], axis=0),
        ],
        [_tensor("x", ["batch", 3]), _tensor("h", [2, "batch", 3])],
        [_tensor("y", ["batch", 3]), _tensor("hn", [2, "batch", 3])],
        [
            helper.make_tensor("zero", TensorProto.INT64, [], [0]),
            helper.make_tensor("one", TensorProto.INT64, [], [1]),
            helper.make_tensor("axes", TensorProto.INT64, [1], [0]),
            helper.make_tensor("step", TensorProto.FLOAT, [], [1.0]),
        ],
    )


def seen_steps() -> onnx.ModelProto:
    """Returns [time, columns] as fed and the scalar `step` as fed: for dt in a column and as an input."""
    return _model(
        "seen_steps",
        [helper.make_node("Identity", ["input"], ["seen"]), helper.make_node("Identity", ["step"], ["seen_step"])],
        [_tensor("input", [1, "sequence", 3]), _tensor("step", [1, 1])],
        [_tensor("seen", [1, "sequence", 3]), _tensor("seen_step", [1, 1])],
    )


def weighted_pair() -> onnx.ModelProto:
    """both = (left + right) · gain · two; `two` is an initialiser that, as in old files, is listed as an input."""
    return _model(
        "weighted_pair",
        [
            helper.make_node("Add", ["left", "right"], ["sum"]),
            helper.make_node("Mul", ["sum", "gain"], ["scaled"]),
            helper.make_node("Mul", ["scaled", "two"], ["both"]),
        ],
        [_tensor("left", [1, 4]), _tensor("right", [1, 4]), _tensor("gain", []), _tensor("two", [])],
        [_tensor("both", [1, 4])],
        [helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])],
    )


def rows() -> onnx.ModelProto:
    """float32[1, 4] as two rows of two: an output whose first, unnamed dimension is no batch."""
    return _model(
        "rows",
        [helper.make_node("Reshape", ["x", "shape"], ["rows"])],
        [_tensor("x", [1, 4])],
        [_tensor("rows", [None, 2])],
        [helper.make_tensor("shape", TensorProto.INT64, [2], [2, 2])],
    )


def loudness() -> onnx.ModelProto:
    """Of the shapes of a speech detector: how loud some samples and those before them were, with two states of 128."""
    return _model(
        "loudness",
        [
            helper.make_node("Abs", ["input"], ["sizes"]),
            helper.make_node("ReduceMean", ["sizes"], ["level"], axes=[1], keepdims=1),
            helper.make_node("Gather", ["state", "zero"], ["recent"], axis=0),
            helper.make_node("Gather", ["state", "one"], ["long_ago"], axis=0),
            helper.make_node("Mul", ["recent", "decay"], ["faded"]),
            helper.make_node("Add", ["faded", "level"], ["recent_now"]),
            helper.make_node("Add", ["long_ago", "recent_now"], ["all_now"]),
            helper.make_node("Unsqueeze", ["recent_now", "axes"], ["recent_row"]),
            helper.make_node("Unsqueeze", ["all_now", "axes"], ["all_row"]),
            helper.make_node("Concat", ["recent_row", "all_row"], ["stateN"], axis=0),
            helper.make_node("ReduceMean", ["recent_now"], ["output"], axes=[1], keepdims=1),
        ],
        [
            _tensor("input", ["batch", "samples"]),
            _tensor("state", [2, "batch", 128]),
            _tensor("sr", [], TensorProto.INT64),
        ],
        [_tensor("output", ["batch", 1]), _tensor("stateN", [2, "batch", 128])],
        [
            helper.make_tensor("zero", TensorProto.INT64, [], [0]),
            helper.make_tensor("one", TensorProto.INT64, [], [1]),
            helper.make_tensor("axes", TensorProto.INT64, [1], [0]),
            helper.make_tensor("decay", TensorProto.FLOAT, [], [0.75]),
        ],
    )


MODELS = (echo, running_sum, seen_steps, weighted_pair, rows, loudness)


def _tensor(name: str, shape: Sequence[int | str | None], dtype: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def _model(
    name: str, nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], initialisers: Sequence[Any] = ()
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, name, inputs, outputs, list(initialisers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    for make in MODELS:
        path = FOLDER / f"{make.__name__}.onnx"
        path.write_bytes(make().SerializeToString(deterministic=True))
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
