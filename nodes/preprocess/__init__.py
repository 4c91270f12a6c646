"""Nodes that make of a signal what a model wants: size, rate, range, spectrum, summary."""

from typing import TYPE_CHECKING

from streamflow.on_demand import on_demand

if TYPE_CHECKING:
    from nodes.preprocess.normalise import Normalise
    from nodes.preprocess.rechunk import Rechunk
    from nodes.preprocess.resample import Resample
    from nodes.preprocess.resize import Resize
    from nodes.preprocess.spectrogram import Spectrogram
    from nodes.preprocess.summarise import Summarise
    from nodes.preprocess.window import Window
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "normalise": ("Normalise",),
            "rechunk": ("Rechunk",),
            "resample": ("Resample",),
            "resize": ("Resize",),
            "spectrogram": ("Spectrogram",),
            "summarise": ("Summarise",),
            "window": ("Window",),
        },
    )

__all__ = ["Normalise", "Rechunk", "Resample", "Resize", "Spectrogram", "Summarise", "Window"]
