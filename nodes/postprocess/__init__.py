"""Nodes that turn results into decisions, and decisions into files."""

from typing import TYPE_CHECKING

from streamflow.on_demand import on_demand

if TYPE_CHECKING:
    from nodes.postprocess.alerts import ThresholdAlert
    from nodes.postprocess.beats import BeatDetector
    from nodes.postprocess.csv_writer import CsvWriter
    from nodes.postprocess.detections import Detections
    from nodes.postprocess.json_lines import JsonLines
    from nodes.postprocess.labels import Labels
    from nodes.postprocess.named_boxes import NamedBoxes
    from nodes.postprocess.numpy_writer import NumpyWriter
    from nodes.postprocess.situation import Situation
    from nodes.postprocess.speech_segments import SpeechSegments
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "alerts": ("ThresholdAlert",),
            "beats": ("BeatDetector",),
            "csv_writer": ("CsvWriter",),
            "detections": ("Detections",),
            "json_lines": ("JsonLines",),
            "labels": ("Labels",),
            "named_boxes": ("NamedBoxes",),
            "numpy_writer": ("NumpyWriter",),
            "situation": ("Situation",),
            "speech_segments": ("SpeechSegments",),
        },
    )

__all__ = [
    "BeatDetector",
    "CsvWriter",
    "Detections",
    "JsonLines",
    "Labels",
    "NamedBoxes",
    "NumpyWriter",
    "Situation",
    "SpeechSegments",
    "ThresholdAlert",
]
