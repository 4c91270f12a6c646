"""Speech in many streams through one recurrent model, in batches over the streams that are chosen by their slack."""

from nodes.infer import OnnxModel
from nodes.ingest import Voices
from nodes.postprocess import JsonLines
from pipelines.speech import CHUNK, CONTEXT, RATE_HZ
from streamflow import Batch, OnMiss, Pipeline, Timing, ms
from streamflow.core.device_names import devices_of

BUCKETS = (1, 2, 4, 8, 16, 32, 64)


def build(
    wav: str,
    model: str,
    streams: int = 64,
    batch: int = 64,
    timeout_ms: int | None = None,
    within_ms: int = 30,
    duration_s: float | None = None,
    out: str | None = None,
    device: str = "",
) -> Pipeline:
    """`batch`: streams at once, at most. `timeout_ms`: batches wait so long to grow, whatever is due, as is usual
    elsewhere; for comparison, with `--no-enforcement`. `out`: JSON lines, a probability for each chunk of each stream.
    `device`: what the model runs on, the first of `cuda:0,host` that can be used; by default it is on none.
    """
    p = Pipeline("many_streams")
    voices = p.add("voices", Voices(wav, streams, chunk=CHUNK, rate_hz=RATE_HZ, duration_s=duration_s))
    detector = OnnxModel(
        model,
        state={"state": "stateN"},
        context={"input": CONTEXT},
        rate_hz=RATE_HZ,
        sizes={"time": CHUNK},
        outputs={"output": "probability"},
        streams_max=streams,
    )
    buckets = (*(size for size in BUCKETS if size < batch), batch)
    if timeout_ms is None:
        choice = Batch(batch, buckets=buckets)
    else:
        choice = Batch(batch, buckets=buckets, timing=Timing.LAZY, patience=timeout_ms * ms)
    vad = p.add("vad", detector, batch=choice, device=devices_of(device))
    p.connect(voices, vad, capacity=4 * streams)
    if out is None:
        p.deadline("speech", voices, vad, within=within_ms * ms, on_miss=OnMiss.SHED)
    else:
        log = p.add("log", JsonLines(out, attributes=["voice", "sample", "gap"]))
        p.connect(vad, log)
        p.deadline("speech", voices, log, within=within_ms * ms, on_miss=OnMiss.SHED)
    return p
