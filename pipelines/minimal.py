"""A tone and how loud it is: the smallest pipeline."""

import numpy as np

from nodes.infer import Function
from nodes.ingest import Tone
from nodes.postprocess import JsonLines
from streamflow import Pipeline


def build(out: str = "-") -> Pipeline:
    p = Pipeline("minimal")
    tone = p.add("tone", Tone(duration_s=2))
    loud = p.add("loud", Function(lambda x: np.sqrt(np.mean(x * x)), input="float32[time]", output="float32[]"))
    log = p.add("log", JsonLines(out))
    p.connect(tone.signal, loud)
    p.connect(loud, log)
    return p
