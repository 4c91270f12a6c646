"""Nodes that compute results: models in ONNX files, functions of one's own, and a forecaster that learns as it runs."""

from nodes.infer.forecaster import EchoForecaster
from nodes.infer.function import Function
from nodes.infer.onnx_model import OnnxModel

__all__ = ["EchoForecaster", "Function", "OnnxModel"]
