"""Nodes that compute results: models in ONNX files, functions of one's own, a tracker, a forecaster that learns."""

from nodes.infer.forecaster import EchoForecaster
from nodes.infer.function import Function
from nodes.infer.onnx_model import OnnxModel
from nodes.infer.tracker import Correct, Predict

__all__ = ["Correct", "EchoForecaster", "Function", "OnnxModel", "Predict"]
