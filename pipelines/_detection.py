"""What `detect` and `detect_gpu` have in common: from a camera by way of whatever finds boxes to the lines of a log."""

from itertools import pairwise

from nodes.postprocess import JsonLines
from streamflow import OnMiss, Overflow, Pipeline, ms
from streamflow.pipeline import Stage


def connect(p: Pipeline, camera: Stage, *stages: Stage, out: str) -> None:
    """One after the other, the last of which sends boxes; frames are dropped where they would be late."""
    table = {"detections": ("box", "score", "class", "name")}
    log = p.add("log", JsonLines(out, tables=table, attributes=("frame", "time_s")))
    p.connect(camera, stages[0], overflow=Overflow.DROP_OLDEST, capacity=4)
    for source, target in pairwise((*stages, log)):
        p.connect(source, target)
    p.deadline("detect", camera, log, within=150 * ms, on_miss=OnMiss.SHED)
