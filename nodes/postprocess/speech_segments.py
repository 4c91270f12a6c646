"""Speech probabilities of consecutive chunks in, speech segments out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nodes.kernels.segments import Segment, Segmenter, SegmentRule
from streamflow import In, InputError, Message, Node, Out


class SpeechSegments(Node):
    """Segments of speech, exactly those of Silero VAD's `get_speech_timestamps`, each as soon as it is settled.

    threshold, release: a segment opens at a probability of `threshold` or more and closes after `min_silence_ms`
    below `release` (None: 0.15 below the threshold, as Silero has it); a value between the two does neither.
    chunk: samples between one probability and the next, at `rate_hz`.
    min_speech_ms: segments no longer than this are dropped. pad_ms: what is added at both ends; neighbours
    closer than two pads share the gap.

    Delay: with the default settings a segment goes out when the probability has been low for 100 ms, rounded
    up to whole chunks: at the end of the fifth quiet chunk of 32 ms, 160 ms after its last loud one. Where two
    pads are longer than `min_silence_ms` it may wait for the next segment to last `min_speech_ms`.

    The attribute `sample` says where a chunk begins (without it, chunks are counted) and `valid` how many of
    its samples are signal, so that no segment ends in the padding of a last chunk. Chunks that are missing,
    dropped upstream, count as silence. A chunk that begins before the end of the one before starts a new
    recording: what was open ends where the old one did.
    """

    probability = In("float32|float64[...]")
    segments = Out(start_sample="int64[]", end_sample="int64[]", start_s="float64[]", end_s="float64[]")

    def __init__(
        self,
        threshold: float = 0.5,
        release: float | None = None,
        chunk: int = 512,
        rate_hz: float = 16000,
        min_silence_ms: float = 100,
        min_speech_ms: float = 250,
        pad_ms: float = 30,
    ) -> None:
        # Silero keeps the lower threshold above 0.01, so that a low `threshold` can still be released.
        release = max(threshold - 0.15, 0.01) if release is None else release
        if not 0 < release <= threshold <= 1:
            raise InputError(
                "SpeechSegments", f"threshold {threshold:g} and release {release:g}", "0 < release ≤ threshold ≤ 1"
            )
        if chunk < 1 or not rate_hz > 0:
            raise InputError("SpeechSegments", f"chunk {chunk} and rate_hz {rate_hz:g}", "both above 0")
        if min(min_silence_ms, min_speech_ms, pad_ms) < 0:
            raise InputError("SpeechSegments", "a negative length in ms", "0 or more")
        self._chunk = chunk
        self._rate_hz = rate_hz
        self._segmenter = Segmenter(
            SegmentRule(
                threshold=threshold,
                release=release,
                chunk=chunk,
                min_silence=rate_hz * min_silence_ms / 1000,
                min_speech=rate_hz * min_speech_ms / 1000,
                pad=rate_hz * pad_ms / 1000,
            )
        )

    def process(self, message: Message) -> Iterator[dict[str, Any]]:
        probability = np.asarray(message.array)
        if probability.size != 1:
            shape = list(probability.shape)
            raise InputError("SpeechSegments.probability", f"shape {shape} arrived", "one probability a message")
        heard_to = self._segmenter.heard_to or 0
        sample = int(message.attributes.get("sample", heard_to))
        if sample < heard_to:
            yield from self._results(self._segmenter.finish())
        valid = int(message.attributes.get("valid", self._chunk))
        yield from self._results(self._segmenter.hear(sample, float(probability.item()), valid))

    def flush(self) -> Iterator[dict[str, Any]]:
        return self._results(self._segmenter.finish())

    def _results(self, segments: list[Segment]) -> Iterator[dict[str, Any]]:
        for segment in segments:
            yield {
                "start_sample": np.int64(segment.start),
                "end_sample": np.int64(segment.end),
                "start_s": np.float64(segment.start / self._rate_hz),
                "end_s": np.float64(segment.end / self._rate_hz),
            }
