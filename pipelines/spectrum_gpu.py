"""What many microphones hear: spectra, and a recurrent network over them, both on a GPU where there is one."""

from pathlib import Path

from nodes.infer import CupyFunction, RecurrentModel
from nodes.ingest import Sounds
from nodes.kernels.sounds import CHUNK, RATE_HZ, SOUNDS
from nodes.kernels.spectrum import spectral_shape
from nodes.postprocess import JsonLines, Labels
from streamflow import OnMiss, Pipeline, ms

MODEL = Path(__file__).with_name("models") / "spectrum_gpu.npz"  # made by `python -m tools.models.spectrum_gpu`


def build(
    channels: int = 16,
    device: str = "cuda:0,host",
    snapshot_every: int = 10,
    within_ms: int = 60,
    duration_s: float | None = None,
    seed: int = 0,
    out: str = "-",
) -> Pipeline:
    """`device`: the first of them that can be used. `snapshot_every`: chunks of a channel that a crash may cost its
    memory. `out`: JSON lines, one a chunk of each channel: what it is (`sound`) and what it was taken for (`label`).
    """
    p = Pipeline("spectrum_gpu")
    devices = device.split(",")
    microphones = p.add("microphones", Sounds(channels, CHUNK, RATE_HZ, duration_s, seed))
    spectra = CupyFunction(spectral_shape, input=f"float32[{CHUNK}]", output="float32[3]", rows_max=channels)
    classifier = RecurrentModel(MODEL, rows_max=channels, streams_max=channels, snapshot_every=snapshot_every)
    shape = p.add("spectra", spectra, device=devices)
    classify = p.add("classify", classifier, device=devices)
    labels = p.add("labels", Labels(SOUNDS))
    attributes = ("channel", "sample", "sound", "since", "label", "gap")
    log = p.add("log", JsonLines(out, attributes=attributes))
    p.connect(microphones, shape, capacity=4 * channels)
    p.connect(shape, classify, capacity=4 * channels)
    p.connect(classify, labels, capacity=2 * channels)
    p.connect(labels, log, capacity=2 * channels)
    p.deadline("heard", microphones, log, within=within_ms * ms, on_miss=OnMiss.SHED)
    return p
