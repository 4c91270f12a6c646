"""The pipeline `speech`, and of each result a line besides: its chunk, its probability, and what was missing before."""

from nodes.postprocess import JsonLines
from pipelines.speech import build as build_speech
from streamflow import Pipeline
from streamflow.pipeline import Stage


def build(wav: str, model: str, lines: str) -> Pipeline:
    """`lines`: JSON lines with `sample`, the first of the chunk, and the marks of gaps."""
    p = build_speech(wav, model, out=f"{lines}.segments")
    log = p.add("lines", JsonLines(lines, attributes=["sample", "gap", "gap_action"]))
    p.connect(Stage("vad"), log)
    return p
