"""Objects in a video: frames in, named boxes out, frame by frame (FastestDet)."""

from nodes.infer import OnnxModel
from nodes.ingest import VideoFile
from nodes.postprocess import Detections, JsonLines
from nodes.preprocess import Normalise, Resize
from streamflow import OnMiss, Overflow, Pipeline, ms


def build(
    video: str, model: str, names: str | None = None, out: str = "-", size: int = 352, score: float = 0.65
) -> Pipeline:
    """`names`: class names, one a line; `out`: JSON lines, one frame each; `size`: the model's input, in pixels."""
    p = Pipeline("detect")
    camera = p.add("camera", VideoFile(video))
    resize = p.add("resize", Resize(size, size))
    normalise = p.add("normalise", Normalise(scale=1 / 255, layout="chw"))
    detector = p.add("detector", OnnxModel(model))
    boxes = p.add("boxes", Detections(names, score=score))
    table = {"detections": ("box", "score", "class", "name")}
    log = p.add("log", JsonLines(out, tables=table, attributes=("frame", "time_s")))
    p.connect(camera, resize, overflow=Overflow.DROP_OLDEST, capacity=4)
    p.connect(resize, normalise)
    p.connect(normalise, detector)
    p.connect(detector, boxes)
    p.connect(boxes, log)
    p.deadline("detect", camera, log, within=150 * ms, on_miss=OnMiss.SHED)
    return p
