"""Nodes that make of a signal what a model wants: size, rate, range, spectrum, summary."""

from nodes.preprocess.normalise import Normalise
from nodes.preprocess.rechunk import Rechunk
from nodes.preprocess.resample import Resample
from nodes.preprocess.resize import Resize
from nodes.preprocess.spectrogram import Spectrogram
from nodes.preprocess.summarise import Summarise
from nodes.preprocess.window import Window

__all__ = ["Normalise", "Rechunk", "Resample", "Resize", "Spectrogram", "Summarise", "Window"]
