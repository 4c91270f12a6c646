"""Objects in a video: frames in, named boxes out, frame by frame (FastestDet)."""

from nodes.infer import OnnxModel
from nodes.ingest import VideoFile
from nodes.postprocess import Detections
from nodes.preprocess import Normalise, Resize
from pipelines._detection import connect
from streamflow import Pipeline


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
    connect(p, camera, resize, normalise, detector, boxes, out=out)
    return p
