"""One process with a source and a stage that computes, to see how long it takes to start: NumPy, or ONNX Runtime."""

from pathlib import Path

import numpy as np

from nodes.infer.onnx_model import OnnxModel
from streamflow import In, Message, Node, Out, Pipeline

MODEL = Path(__file__).resolve().parents[2] / "tests" / "models" / "rows.onnx"


class Rows(Node):
    """One row of four numbers."""

    row = Out("float32[4]")

    async def run(self) -> None:
        await self.emit(np.zeros(4, np.float32), event_time_ns=0)


class Product(Node):
    """The row times a matrix."""

    row = In("float32[4]")
    rows = Out("float32[2, 2]")

    def open(self) -> None:
        self._matrix = np.ones((4, 4), np.float32)

    def process(self, message: Message) -> np.ndarray:
        product: np.ndarray = (message.array @ self._matrix).reshape(2, 2)
        return product


class Last(Node):
    """Takes what comes."""

    rows = In()

    def process(self, message: Message) -> None:
        return None


def build(onnx: bool = False) -> Pipeline:
    p = Pipeline("starts")
    source = p.add("source", Rows(), process="measured")
    stage = p.add("stage", OnnxModel(MODEL) if onnx else Product(), process="measured")
    p.connect(source, stage)
    p.connect(stage, p.add("last", Last(), process="measured"))
    return p
