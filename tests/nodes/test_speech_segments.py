"""SpeechSegments gives what Silero's own rule gives for the whole signal, and gives it as it goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.kernels.segments import Segmenter, SegmentRule
from nodes.postprocess import SpeechSegments
from streamflow import InputError, Message
from streamflow.testing.harness import drive

CHUNK = 512
DEFAULT = SegmentRule(threshold=0.5, release=0.35, chunk=CHUNK, min_silence=1600, min_speech=4000, pad=480)
WIDE_PADS = SegmentRule(threshold=0.5, release=0.35, chunk=CHUNK, min_silence=600, min_speech=1500, pad=2500)


def whole_signal(probabilities: list[float], length: int, rule: SegmentRule) -> list[tuple[int, int]]:
    """The oracle: first every loud stretch, then the pads, seeing the whole signal."""
    stretches: list[list[int]] = []
    start = quiet = None
    for index, probability in enumerate(probabilities):
        at = index * rule.chunk
        if probability >= rule.threshold:
            quiet = None
            start = at if start is None else start
        elif probability < rule.release and start is not None:
            quiet = at if quiet is None else quiet
            if at - quiet >= rule.min_silence:
                stretches.append([start, quiet])
                start = quiet = None
    if start is not None:
        stretches.append([start, length])
    kept = [stretch for stretch in stretches if stretch[1] - stretch[0] > rule.min_speech]
    padded = [list(stretch) for stretch in kept]
    for index, (first, last) in enumerate(kept):
        before = kept[index - 1][1] if index else None
        after = kept[index + 1][0] if index + 1 < len(kept) else None
        is_near = before is not None and first - before < 2 * rule.pad
        padded[index][0] = int(max(0, first - ((first - before) // 2 if is_near and before is not None else rule.pad)))
        is_near = after is not None and after - last < 2 * rule.pad
        share = (after - last) // 2 if is_near and after is not None else rule.pad
        padded[index][1] = int(min(length, last + share))
    return [(first, last) for first, last in padded]


def pairs(messages: list[Message]) -> list[tuple[int, int]]:
    return [(int(message["start_sample"]), int(message["end_sample"])) for message in messages]


def chunk(sample: int, probability: float, **attributes: int) -> Message:
    return Message({"array": np.float32([[probability]])}, attributes={"sample": sample, **attributes})


probabilities = st.lists(st.tuples(st.sampled_from([0.0, 0.34, 0.4, 0.5, 0.9]), st.integers(1, 12)), max_size=25).map(
    lambda runs: [value for value, count in runs for _ in range(count)]
)


@settings(deadline=None)
@given(probabilities, st.integers(1, CHUNK), st.sampled_from([DEFAULT, WIDE_PADS]))
def test_streaming_gives_the_segments_of_the_whole_signal(values: list[float], valid: int, rule: SegmentRule) -> None:
    length = (len(values) - 1) * CHUNK + valid if values else 0
    segmenter = Segmenter(rule)
    found = []
    for index, value in enumerate(values):
        found += segmenter.hear(index * CHUNK, value, valid if index == len(values) - 1 else CHUNK)
    found += segmenter.finish()
    assert [(segment.start, segment.end) for segment in found] == whole_signal(values, length, rule)


@settings(deadline=None)
@given(probabilities, st.integers(0, 60), st.integers(0, 30))
def test_missing_chunks_are_chunks_of_silence(values: list[float], first: int, count: int) -> None:
    silenced = [0.0 if first <= index < first + count else value for index, value in enumerate(values)]
    whole, holed = Segmenter(WIDE_PADS), Segmenter(WIDE_PADS)
    expected, found = [], []
    for index, value in enumerate([*silenced, 0.0]):
        expected += whole.hear(index * CHUNK, value, CHUNK)
        if not first <= index < first + count or index == len(values):
            found += holed.hear(index * CHUNK, value, CHUNK)
    assert found + holed.finish() == expected + whole.finish()


def test_a_segment_goes_out_at_the_end_of_its_fifth_quiet_chunk() -> None:
    node = SpeechSegments()
    sent = [list(node.process(chunk(i * CHUNK, 0.9 if i < 20 else 0.0))) for i in range(30)]
    assert [index for index, segments in enumerate(sent) if segments] == [24]
    assert sent[24][0]["end_sample"] == 20 * CHUNK + 480


def test_the_last_segment_ends_with_the_signal_and_not_in_its_padding() -> None:
    messages = [chunk(i * CHUNK, 0.9) for i in range(20)]
    messages.append(chunk(20 * CHUNK, 0.9, valid=100))
    assert pairs(drive(SpeechSegments(), messages).messages) == [(0, 20 * CHUNK + 100)]


def test_chunks_are_counted_where_they_say_no_sample() -> None:
    values = [0.0] * 5 + [0.9] * 20 + [0.0] * 10
    sent = drive(SpeechSegments(), [np.float32([[value]]) for value in values]).messages
    assert pairs(sent) == [(5 * CHUNK - 480, 25 * CHUNK + 480)]
    assert float(sent[0]["start_s"]) == (5 * CHUNK - 480) / 16000


def test_a_gap_upstream_closes_a_segment_where_it_began() -> None:
    heard = [*range(0, 20), *range(40, 60)]
    sent = drive(SpeechSegments(), [chunk(i * CHUNK, 0.9) for i in heard]).messages
    assert pairs(sent) == [(0, 20 * CHUNK + 480), (40 * CHUNK - 480, 60 * CHUNK)]


def test_a_chunk_from_the_past_starts_a_new_recording() -> None:
    sent = drive(SpeechSegments(), [chunk(i * CHUNK, 0.9) for i in [*range(20), *range(20)]]).messages
    assert pairs(sent) == [(0, 20 * CHUNK), (0, 20 * CHUNK)]


def test_no_signal_has_no_segments() -> None:
    assert drive(SpeechSegments(), []).messages == []


@pytest.mark.parametrize(
    "settings",
    [{"threshold": 0.3, "release": 0.4}, {"threshold": 1.5}, {"chunk": 0}, {"rate_hz": 0}, {"pad_ms": -1}],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="SpeechSegments"):
        SpeechSegments(**settings)  # type: ignore[arg-type]


def test_several_probabilities_at_once_are_refused() -> None:
    with pytest.raises(InputError, match="one probability a message"):
        drive(SpeechSegments(), [np.zeros((4, 1), np.float32)])


def test_the_recording_has_its_19_segments(recordings: Callable[[str], Path]) -> None:
    expected = json.loads(recordings("silero_vad/expected_timestamps_samples.json").read_text())
    values = np.load(recordings("silero_vad/expected_probs.npy"))
    sent = drive(SpeechSegments(), list(values)).messages
    assert pairs(sent) == [(segment["start"], segment["end"]) for segment in expected]
