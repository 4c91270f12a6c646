"""Speech in an audio file: 32 ms chunks in, probabilities and speech segments out (Silero VAD)."""

from nodes.infer import OnnxModel
from nodes.ingest import WavFile
from nodes.postprocess import JsonLines, NumpyWriter, SpeechSegments
from streamflow import OnMiss, Overflow, Pipeline, ms

RATE_HZ = 16_000
CHUNK = 512  # samples; the model takes 32 ms of new sound and carries 4 ms of the sound before
CONTEXT = 64


def build(
    wav: str,
    model: str,
    out: str = "-",
    out_probs: str | None = None,
    out_chunks: str | None = None,
    threshold: float = 0.5,
    channel: int | None = None,
    lossless: bool = False,
) -> Pipeline:
    """`out`: JSON lines, one segment each; `out_probs`: a .npy, the probability of each chunk; `channel`: from 0.

    `out_chunks`: JSON lines, of each chunk its first sample, its probability (`array`), and what is missing before it.
    `lossless`: no chunk is given up, however late, and a stage that dies changes nothing in what comes out.
    """
    p = Pipeline("speech")
    mic = p.add("mic", WavFile(wav, chunk=CHUNK, channel=channel))
    vad = p.add(
        "vad",
        OnnxModel(
            model,
            state={"state": "stateN"},
            context={"input": CONTEXT},
            rate_hz=RATE_HZ,
            sizes={"time": CHUNK},
            outputs={"output": "probability"},
        ),
    )
    segments = p.add("segments", SpeechSegments(threshold=threshold, chunk=CHUNK, rate_hz=RATE_HZ))
    log = p.add("log", JsonLines(out))
    if lossless:
        p.connect(mic, vad, capacity=64, lossless=True)
    else:
        p.connect(mic, vad, overflow=Overflow.DROP_OLDEST, capacity=8)
    p.connect(vad, segments, lossless=lossless)
    p.connect(segments, log, lossless=lossless)
    on_miss = OnMiss.DELIVER if lossless else OnMiss.SHED
    p.deadline("speech", mic, log, within=50 * ms, on_miss=on_miss, firm=(9, 10))
    if out_probs is not None:
        probabilities = p.add("probabilities", NumpyWriter(out_probs, concatenate=True))
        p.connect(vad, probabilities, lossless=lossless)
    if out_chunks is not None:
        chunks = p.add("chunks", JsonLines(out_chunks, attributes=["sample", "gap", "gap_action"]))
        p.connect(vad, chunks, lossless=lossless)
    return p
