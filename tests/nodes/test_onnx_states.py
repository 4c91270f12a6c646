"""Recurrent models as nodes: kept from life to life, streams in a batch, gaps as declared, duplicates left out."""

from __future__ import annotations

import copy
import wave
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.infer import OnnxModel
from streamflow import Eviction, InputError, Message, OnGap, StreamflowError, ms, s
from streamflow.testing import Driven, drive

MODELS = Path(__file__).parent.parent / "models"
PERIOD_S = 0.1


class Opened(OnnxModel):
    """One that can be called by hand: it stays open."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        drive(self, [])

    def close(self) -> None:
        """Not yet."""


def summing(node: type[OnnxModel] = OnnxModel, **settings: Any) -> OnnxModel:
    """y = x + what was summed up before."""
    return node(MODELS / "running_sum.onnx", state={"h": "hn"}, **settings)


def data(seqs: Iterable[int], stream: str = "s") -> list[Message]:
    """Datum n is n + 1, three times; taken at n periods."""
    return [Message({"x": np.full(3, seq + 1, np.float32)}, stream, seq, round(seq * PERIOD_S * 1e9)) for seq in seqs]


def sums(sent: Driven) -> list[int]:
    return [int(array[0]) for array in sent.arrays]


def marks(sent: Driven) -> list[tuple[int, Any] | None]:
    found = []
    for message in sent.messages:
        gap = message.attributes.get("gap")
        found.append(None if gap is None else (int(gap), message.attributes["gap_action"]))
    return found


def test_the_next_life_goes_on_from_the_last_step(tmp_path: Path) -> None:
    path = tmp_path / "states"
    assert sums(drive(summing(), data([0, 1, 2]), states=path)) == [1, 3, 6]
    node = summing()
    sent = drive(node, data([3, 4]), states=path, generation=1)
    assert sums(sent) == [10, 15]
    assert marks(sent) == [None, None]
    assert node.state("s")["h"][1].tolist() == [[5, 5, 5]], "steps"


def test_context_is_kept_from_life_to_life(tmp_path: Path) -> None:
    def echo(seqs: range, generation: int) -> list[list[float]]:
        node = OnnxModel(MODELS / "echo.onnx", context={"input.1": 2}, rate_hz=8000, outputs=["758"])
        chunks = [Message({"a": np.float32([seq, seq + 0.5])}, "s", seq, seq) for seq in seqs]
        return [list(array) for array in drive(node, chunks, states=tmp_path / "x", generation=generation).arrays]

    assert echo(range(2), 0)[1] == [0, 0.5, 1, 1.5]
    assert echo(range(2, 4), 1) == [[1, 1.5, 2, 2.5], [2, 2.5, 3, 3.5]]


def test_time_goes_on_from_the_last_step_of_the_former_life(tmp_path: Path) -> None:
    def steps(at_s: Sequence[float], generation: int) -> list[float]:
        node = OnnxModel(MODELS / "seen_steps.onnx", dt="step", outputs=["seen_step"])
        chunks = [
            Message({"a": np.zeros((1, 3), np.float32)}, "s", 2 * generation + seq, 0, {"time_s": time_s})
            for seq, time_s in enumerate(at_s)
        ]
        sent = drive(node, chunks, rates={"input": 4.0}, states=tmp_path / "x", generation=generation)
        return [float(array[0]) for array in sent.arrays]

    assert steps([0.0, 0.25], 0) == [0.25, 0.25]
    assert steps([1.0, 1.5], 1) == [0.75, 0.5]


def test_what_comes_again_is_not_stepped_with_again(tmp_path: Path) -> None:
    assert sums(drive(summing(), data([0, 1, 1, 0, 2]), states=tmp_path / "x")) == [1, 3, 6]
    assert sums(drive(summing(), data([1, 2, 3]), states=tmp_path / "x", generation=1)) == [10]


def test_by_default_a_state_is_frozen_over_what_is_missing_and_the_result_says_so() -> None:
    sent = drive(summing(), data([0, 1, 5, 6]))
    assert sums(sent) == [1, 3, 9, 16]
    assert marks(sent) == [None, None, (3, "freeze"), None]


@pytest.mark.parametrize("first", [2, 5])
def test_beyond_the_longest_gap_a_state_begins_anew(first: int) -> None:
    sent = drive(summing(max_gap=250 * ms), data([0, 1, first + 1]))
    frozen = first == 2
    assert sums(sent) == [1, 3, 3 + 4 if frozen else 7]
    assert marks(sent)[-1] == ((1, "freeze") if frozen else (first - 1, "reset"))


def test_a_reset_leaves_the_initial_state_and_no_other_stream_s() -> None:
    start = np.stack([np.full((1, 3), 100.0), np.zeros((1, 3))])
    node = summing(max_gap=s, initial={"h": start})
    sent = drive(node, [*data([0], "a"), *data([0, 1], "b"), *data([20], "a"), *data([2], "b")])
    assert sums(sent) == [101, 101, 103, 121, 106]


def test_repeat_steps_with_the_last_input_in_place_of_each_that_is_missing() -> None:
    sent = drive(summing(on_gap=OnGap.REPEAT, sizes={}), data([0, 1, 4, 5]))
    assert sums(sent) == [1, 3, 3 + 2 + 2 + 5, 12 + 6]
    assert marks(sent) == [None, None, (2, "repeat"), None]


def test_repeat_carries_context_from_step_to_step() -> None:
    node = OnnxModel(
        MODELS / "echo.onnx", context={"input.1": 3}, rate_hz=8000, outputs=["758"], on_gap=OnGap.REPEAT,
        sizes={"time": 2},
    )  # fmt: skip
    chunks = [Message({"a": np.float32([seq, seq + 0.5])}, "s", seq, seq * 250_000) for seq in (0, 1, 4)]
    assert drive(node, chunks, rates={"input_1": 8000.0}).arrays[-1].tolist() == [1.5, 1, 1.5, 4, 4.5]


def steps_seen(on_gap: OnGap | None) -> list[float]:
    node = OnnxModel(
        MODELS / "seen_steps.onnx", dt=("input", 2), constants={"step": 0}, outputs=["seen"], on_gap=on_gap
    )
    chunks = [Message({"a": np.zeros((1, 2), np.float32)}, "s", seq, seq * 100 * ms) for seq in (0, 1, 4, 5)]
    return [float(array[0, 2]) for array in drive(node, chunks).arrays]


def test_a_model_that_is_told_the_time_is_told_that_of_a_gap_as_well_or_the_usual_one() -> None:
    assert steps_seen(None) == pytest.approx([0, 0.1, 0.3, 0.1])
    assert steps_seen(OnGap.TRUE_DT) == pytest.approx([0, 0.1, 0.3, 0.1])
    assert steps_seen(OnGap.FREEZE) == pytest.approx([0, 0.1, 0.1, 0.1])


def test_true_dt_is_for_models_that_are_told_the_time() -> None:
    with pytest.raises(InputError, match="TRUE_DT for a model that is not told the time"):
        summing(on_gap=OnGap.TRUE_DT)


def test_numbers_that_do_not_tell_leave_it_to_the_time() -> None:
    def gaps(rates: dict[str, float]) -> list[tuple[int, Any] | None]:
        node = OnnxModel(
            MODELS / "echo.onnx", context={"input.1": 2}, constants={"sr": 80}, outputs=["758"], stride=0,
            sizes={"time": 8},
        )  # fmt: skip
        chunks = [Message({"a": np.zeros(8, np.float32)}, "s", 3 * nth, nth * 100 * ms) for nth in (0, 1, 2, 5)]
        return marks(drive(node, chunks, rates=rates))

    assert gaps({"input_1": 80.0}) == [None, None, None, (2, "freeze")]
    assert gaps({}) == [None, None, None, None]


def batches(node: OnnxModel, rows: Sequence[Sequence[float]], streams: Sequence[str], seqs: Sequence[int]) -> list[Any]:
    """The results of batches in each of which these streams have these values."""
    return [
        node.process_batch(
            [Message({"x": np.full(3, value, np.float32)}, name, seq) for value, name in zip(row, names, strict=True)]
        )
        for row, names, seq in zip(rows, map(str.split, streams), seqs, strict=True)
    ]


def test_a_batch_steps_each_stream_with_its_own_state_whatever_their_order() -> None:
    node = summing(Opened)
    results = batches(node, [[1, 10], [2, 20, 200], [30, 3]], ["a b", "a b c", "b a"], [0, 1, 2])
    assert [[int(array[0]) for array in batch] for batch in results] == [[1, 10], [3, 30, 200], [60, 6]]
    assert node.state("c")["h"][1].tolist() == [[1, 1, 1]]


def test_a_batch_leaves_out_what_was_stepped_with_and_marks_what_is_missing() -> None:
    node = summing(Opened)
    results = batches(node, [[1, 10], [5], [9, 90], [7, 70]], ["a b", "a", "a b", "b a"], [0, 1, 1, 3])
    again, stepped = results[2]
    assert again is None
    assert int(stepped[0]) == 100
    for result, value in zip(results[3], (107, 76), strict=True):
        assert int(result.value[0]) == value
        assert result.attributes == {"gap": 1, "gap_action": "freeze"}


def test_repeats_in_a_batch_are_each_stream_s_own() -> None:
    node = summing(Opened, on_gap=OnGap.REPEAT)
    results = batches(node, [[1, 10], [2], [3, 30]], ["a b", "a", "a b"], [0, 1, 2])
    assert int(results[2][0][0]) == 6
    assert int(results[2][1].value[0]) == 10 + 10 + 30


def test_chunks_of_other_lengths_go_in_runs_of_their_own() -> None:
    node = Opened(MODELS / "echo.onnx", context={"input.1": 2}, rate_hz=8000, outputs=["758"])
    data = [np.float32([1, 2]), np.float32([3]), np.float32([4, 5])]
    for seq in range(2):
        batch = [Message({"a": array + 10 * seq}, stream, seq) for array, stream in zip(data, "abc", strict=True)]
        results = [array.tolist() for array in node.process_batch(batch)] if seq else node.process_batch(batch)
    assert results == [[1, 2, 11, 12], [0, 3, 13], [4, 5, 14, 15]]


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("seen_steps", {"constants": {"step": 0}, "outputs": ["seen"]}, r"input 'input' is float32\[1, sequence, 3\]"),
        ("seen_steps", {"dt": "step", "outputs": ["seen"]}, "input 'step' has one time step for all"),
    ],
)
def test_a_model_of_a_fixed_batch_refuses_more_and_says_why(model: str, settings: dict[str, Any], words: str) -> None:
    node = Opened(MODELS / f"{model}.onnx", **settings)
    one, other = (Message({"a": np.zeros((1, 3), np.float32)}, stream) for stream in "ab")
    assert node.process_batch([one])[0].shape == (1, 3)
    with pytest.raises(InputError, match=f"a batch of 2, expected 1 at a time; {words}"):
        node.process_batch([one, other])


@pytest.mark.parametrize(
    ("model", "settings", "has_batches", "is_stateful"),
    [
        ("running_sum", {"state": {"h": "hn"}}, True, True),
        ("echo", {"context": {"input.1": 2}, "rate_hz": 8000, "outputs": ["758"]}, True, True),
        ("echo", {"rate_hz": 8000, "outputs": ["758"]}, True, False),
        ("seen_steps", {"dt": "step", "outputs": ["seen"]}, False, True),
        ("weighted_pair", {"constants": {"gain": 1}}, False, False),
    ],
)
def test_a_model_says_whether_it_takes_batches_and_carries_anything(
    model: str, settings: dict[str, Any], has_batches: bool, is_stateful: bool
) -> None:
    node = OnnxModel(MODELS / f"{model}.onnx", **settings)
    node.inspect()
    assert (node.has_batches, node.stateful) == (has_batches, is_stateful)


def test_a_datum_that_is_not_a_number_is_missing_to_the_next_of_its_stream_alone() -> None:
    node = summing(Opened)
    results = batches(node, [[1, 10], [np.nan, 20], [3, 30]], ["a b"] * 3, [0, 1, 2])
    spoilt, after = results[1][0], results[2][0]
    assert (spoilt.attributes, after.attributes) == ({"nan_state": True}, {"gap": 1, "gap_action": "freeze"})
    assert [int(array[0]) for array in (after.value, results[1][1], results[2][1])] == [4, 30, 60]


def test_two_data_of_one_stream_are_no_batch() -> None:
    node = summing(Opened)
    with pytest.raises(StreamflowError, match="a stream twice"):
        node.process_batch(data([0, 1]))


@pytest.mark.parametrize("batch", [None, 3])
def test_a_stream_too_many_has_no_results_and_the_others_have_theirs(batch: int | None) -> None:
    given = [*data([0], "a"), *data([0], "b"), *data([0], "c"), *data([1], "a"), *data([1], "c")]
    assert sums(drive(summing(streams_max=2), given, batch=batch)) == [1, 1, 3]


def test_who_was_not_stepped_with_for_longest_makes_room_where_that_is_declared() -> None:
    node = summing(streams_max=2, eviction=Eviction.LEAST_RECENTLY_USED)
    sent = drive(
        node, [*data([0], "a"), *data([0], "b"), *data([1], "a"), *data([0], "c"), *data([2], "a"), *data([1], "b")]
    )
    assert sums(sent) == [1, 1, 3, 1, 6, 2]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_gap": 0}, "a gap of 0 ns"),
        ({"max_gap": 0.5}, "a longest gap of 0.5, expected whole nanoseconds"),
        ({"streams_max": 0}, "slots of recurrent state: 0"),
        ({"eviction": Eviction.IDLE}, "an idle time of 0 ns"),
        ({"stride": -1}, "a stride of -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        summing(**settings)


def test_another_model_s_states_are_not_gone_on_from(tmp_path: Path) -> None:
    drive(summing(), data([0]), states=tmp_path / "x")
    node = OnnxModel(MODELS / "echo.onnx", context={"input.1": 2}, rate_hz=8000, outputs=["758"])
    with pytest.raises(StreamflowError, match="is kept there, expected"):
        drive(node, [np.zeros(2, np.float32)], states=tmp_path / "x")


def test_context_of_an_input_with_other_free_sizes_asks_for_them(recordings: Callable[[str], Path]) -> None:
    node = OnnxModel(recordings("imu_riann/riann.onnx"), {"h0": "hn"}, on_gap=OnGap.REPEAT)
    with pytest.raises(InputError, match=r"the last input of 'input' is to be kept.*say sizes=\{'sequence': ...\}"):
        drive(node, [])


def test_four_streams_of_silero_in_a_batch_are_what_each_is_alone(recordings: Callable[[str], Path]) -> None:
    with wave.open(str(recordings("silero_vad/test.wav"))) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    chunks = sound[: len(sound) // 512 * 512].reshape(-1, 512)
    node = Opened(
        recordings("silero_vad/silero_vad.onnx"), {"state": "stateN"}, {"input": 64}, rate_hz=16000, sizes={"time": 512}
    )
    offsets = (0, 100, 333, 1000)
    found = []
    for step in range(100):
        batch = [Message({"a": chunks[offset + step]}, f"s{offset}", step, step * 32 * ms) for offset in offsets]
        found.append([float(result[0]) for result in node.process_batch(batch)])
    for nth, offset in enumerate(offsets):
        alone = drive(copy.copy(node), list(chunks[offset : offset + 100])).arrays
        assert np.max(np.abs(np.concatenate(alone) - np.array(found)[:, nth])) < 1e-6
    expected = np.load(recordings("silero_vad/expected_probs.npy"))
    np.testing.assert_allclose(np.array(found)[:, 0], expected[:100], atol=1e-4)
