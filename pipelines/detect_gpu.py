"""Objects in a video, as `detect` finds them, with all that is computed on a GPU where there is one (FastestDet)."""

from functools import partial
from typing import Any

from nodes.infer import CupyFunction, OnnxModel
from nodes.ingest import VideoFile
from nodes.kernels.box_batch import COLUMNS, detections
from nodes.kernels.image_batch import NetworkInput
from nodes.postprocess import NamedBoxes
from pipelines._detection import connect
from streamflow import Node, Pipeline
from streamflow.core.device_names import devices_of

CELLS = 128  # of the map that may be objects, those with the best scores
BATCH = 4  # frames at most: they come one by one unless it falls behind


def build(
    video: str,
    model: str,
    names: str | None = None,
    out: str = "-",
    size: int = 352,
    score: float = 0.65,
    overlap: float = 0.45,
    device: str = "cuda:0,host",
) -> Pipeline:
    """As `detect`. `device`: the first of these that can be used does what is computed."""
    p = Pipeline("detect_gpu")
    devices = devices_of(device)
    frames, detector = VideoFile(video), OnnxModel(model)
    camera = p.add("camera", frames)
    network = p.add("detector", detector, device=devices)
    prepare = CupyFunction(
        NetworkInput(size, size, 1 / 255),
        input="uint8[height, width, 3]",
        output=f"float32[3, {size}, {size}]",
        sizes=_sizes(frames, "height", "width"),
        rows_max=BATCH,
    )
    suppress = CupyFunction(
        partial(detections, score_limit=score, overlap_limit=overlap, count=CELLS),
        input="float32[features, rows, columns]",
        output=f"float32[{CELLS}, {COLUMNS}]",
        sizes=_sizes(detector, "features", "rows", "columns"),
        rows_max=BATCH,
    )
    prepared = p.add("prepare", prepare, device=devices)
    rows = p.add("suppress", suppress, device=devices)
    boxes = p.add("boxes", NamedBoxes(names))
    connect(p, camera, prepared, network, rows, boxes, out=out)
    return p


def _sizes(node: Node, *names: str) -> dict[str, int]:
    """Of the tensor that it sends, by these names; 1 where its file could not be read, which the pipeline then says."""
    found: list[Any] = [one.dimensions for port in node.outputs().values() for one in port.type.tensors.values()]
    dimensions = found[0] if found else ()
    sizes = [one if isinstance(one, int) else 1 for one in dimensions]
    return dict(zip(names, [*sizes, *[1] * len(names)], strict=False))
