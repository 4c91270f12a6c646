"""A tone and how loud it is: the smallest pipeline."""

from nodes.ingest import Tone
from nodes.postprocess import JsonLines
from nodes.preprocess import Summarise
from streamflow import Pipeline


def build(out: str = "-") -> Pipeline:
    p = Pipeline("minimal")
    tone, loud, log = p.add("tone", Tone(duration_s=2)), p.add("loud", Summarise()), p.add("log", JsonLines(out))
    p.connect(tone.signal, loud)
    p.connect(loud, log)
    return p
