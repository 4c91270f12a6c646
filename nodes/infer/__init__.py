"""Nodes that compute: models in files, recurrent networks, functions, rules, a tracker, forecasters that learn."""

from typing import TYPE_CHECKING

from streamflow.on_demand import on_demand

if TYPE_CHECKING:
    from nodes.infer.cupy_function import CupyFunction
    from nodes.infer.forecaster import EchoForecaster
    from nodes.infer.function import Function
    from nodes.infer.onnx_model import OnnxModel
    from nodes.infer.recurrent_model import RecurrentModel
    from nodes.infer.rules import BrightBox, Loudness, Tilt
    from nodes.infer.torch_model import TorchModel
    from nodes.infer.tracker import Correct, Predict
    from nodes.infer.trend import Trend
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "cupy_function": ("CupyFunction",),
            "forecaster": ("EchoForecaster",),
            "function": ("Function",),
            "onnx_model": ("OnnxModel",),
            "recurrent_model": ("RecurrentModel",),
            "rules": (
                "BrightBox",
                "Loudness",
                "Tilt",
            ),
            "torch_model": ("TorchModel",),
            "tracker": (
                "Correct",
                "Predict",
            ),
            "trend": ("Trend",),
        },
    )

__all__ = [
    "BrightBox",
    "Correct",
    "CupyFunction",
    "EchoForecaster",
    "Function",
    "Loudness",
    "OnnxModel",
    "Predict",
    "RecurrentModel",
    "Tilt",
    "TorchModel",
    "Trend",
]
