"""A tone and its peaks: the smallest pipeline."""

from nodes.infer import Function
from nodes.ingest import Tone
from nodes.postprocess import JsonLines
from streamflow import Pipeline


def build() -> Pipeline:
    p = Pipeline("minimal")
    peak = p.add("peak", Function(max, input="float32[time]", output="float32[]"))
    p.connect(p.add("tone", Tone(duration_s=2)).signal, peak)
    p.connect(peak, p.add("log", JsonLines()))
    return p
