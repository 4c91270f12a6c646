"""Models in ONNX files as nodes: small made ones, and the real ones where their recordings are."""

from __future__ import annotations

import shutil
import subprocess
import sys
import wave
from collections import defaultdict
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nodes.infer import OnnxModel
from streamflow import InputError, Message, Node, Out, Pipeline, PipelineError, RealTime
from streamflow.testing import drive

MODELS = Path(__file__).parent.parent / "models"


def at(array, second, stream="s", seq=0, **attributes):
    return Message({"array": np.asarray(array, np.float32)}, stream, seq, round(second * 1e9), attributes)


def numbered(*messages):
    """Each stream's one after the other."""
    counts = defaultdict(count)
    return [message.replace(seq=next(counts[message.stream])) for message in messages]


def fault(node):
    with pytest.raises(InputError) as caught:
        drive(node)
    return str(caught.value)


def test_state_is_kept_per_stream_and_starts_at_zero():
    node = OnnxModel(MODELS / "running_sum.onnx", state={"h": "hn"})
    one, two = np.ones(3), np.full(3, 10)
    sent = drive(node, numbered(at(one, 0, "a"), at(two, 0, "b"), at(one, 1, "a"), at(two, 1, "b")))
    assert [array.tolist() for array in sent.arrays] == [[1] * 3, [10] * 3, [2] * 3, [20] * 3]
    assert node.state("a")["h"].tolist() == [[[2] * 3], [[2] * 3]]


def test_a_state_may_start_elsewhere_than_at_zero():
    start = np.stack([np.full((1, 3), 5.0), np.zeros((1, 3))])
    node = OnnxModel(MODELS / "running_sum.onnx", state={"h": "hn"}, initial={"h": start})
    assert drive(node, [np.ones(3, np.float32)]).arrays[0].tolist() == [6, 6, 6]


def test_the_warm_up_leaves_no_trace_in_the_state():
    node = OnnxModel(MODELS / "running_sum.onnx", state={"h": "hn"})
    drive(node, [])
    assert node.state("new")["h"].max() == 0


def test_context_is_what_the_chunk_before_ended_with():
    node = OnnxModel(MODELS / "echo.onnx", context={"input.1": 2}, rate_hz=8000)
    sent = drive(node, [np.float32([1, 2, 3]), np.float32([4]), np.float32([5, 6, 7])])
    fed = [message.array.tolist() for message in sent["_758"]]
    assert fed == [[0, 0, 1, 2, 3], [2, 3, 4], [3, 4, 5, 6, 7]]
    assert node.state("test")["input.1"].tolist() == [6, 7]


def test_an_input_sr_gets_the_sampling_rate_of_the_signal():
    node = OnnxModel(MODELS / "echo.onnx")
    sent = drive(node, [np.zeros(4, np.float32)], rates={"input_1": 16000.0})
    assert sent["rate"][0].array == 16000
    assert sent["rate"][0].array.dtype == np.int64


def test_an_input_sr_of_a_signal_without_a_rate_is_refused():
    assert "no sampling rate is known for input 'sr', expected a whole number of Hz" in fault(
        OnnxModel(MODELS / "echo.onnx")
    )
    assert "a sampling rate of 285.714 Hz" in fault(OnnxModel(MODELS / "echo.onnx", rate_hz=2000 / 7))


def test_the_rate_that_a_model_needs_is_on_its_port():
    node = OnnxModel(MODELS / "echo.onnx", rate_hz=16000)
    node.inspect()
    assert node.inputs()["input_1"].type.rate_hz == 16000


def test_a_column_of_dt_has_the_time_step_of_every_sample():
    node = OnnxModel(MODELS / "seen_steps.onnx", dt=("input", 1), constants={"step": 0}, outputs=["seen"])
    chunks = numbered(at([[1, 2], [3, 4]], 0.1), at([[5, 6], [7, 8]], 0.3), at([[9, 10], [11, 12]], 1.0))
    seen = np.concatenate(drive(node, chunks, rates={"input": 10.0}).arrays)
    assert seen[:, [0, 2]].tolist() == np.arange(1, 13).reshape(6, 2).tolist()
    np.testing.assert_allclose(seen[:, 1], [0.1, 0.1, 0.1, 0.1, 0.6, 0.1], rtol=1e-6)


def test_a_column_of_dt_goes_by_recorded_time_which_speed_does_not_bend():
    node = OnnxModel(MODELS / "seen_steps.onnx", dt=("input", 2), constants={"step": 0}, outputs=["seen"])
    chunks = numbered(at([[0, 0]], 0.00, time_s=0.0), at([[0, 0]], 0.05, time_s=0.1))
    assert drive(node, chunks).arrays[1][0, 2] == pytest.approx(0.1)


def test_without_a_rate_a_chunk_s_time_is_spread_evenly():
    node = OnnxModel(MODELS / "seen_steps.onnx", dt=("input", 2), constants={"step": 0}, outputs=["seen"])
    seen = drive(node, numbered(at([[0, 0]], 1.0), at([[0, 0], [0, 0]], 1.5))).arrays
    assert seen[0][:, 2].tolist() == [0]
    assert seen[1][:, 2].tolist() == [0.25, 0.25]


def test_a_padded_chunk_has_its_time_in_its_real_samples():
    node = OnnxModel(MODELS / "seen_steps.onnx", dt=("input", 2), constants={"step": 0}, outputs=["seen"])
    seen = drive(node, numbered(at([[0, 0]], 1.0), at([[0, 0], [0, 0]], 1.1, valid=1)), rates={"input": 10.0}).arrays
    assert seen[1][0, 2] == pytest.approx(0.1)


def test_an_input_of_dt_gets_the_time_since_the_datum_before():
    node = OnnxModel(MODELS / "seen_steps.onnx", dt="step", outputs=["seen_step"])
    data = numbered(*(at(np.zeros((1, 3)), second) for second in (0.0, 0.25, 1.0)))
    assert [float(array[0]) for array in drive(node, data, rates={"input": 4.0}).arrays] == [0.25, 0.25, 0.75]


def test_several_inputs_arrive_together_and_a_constant_is_no_port():
    node = OnnxModel(MODELS / "weighted_pair.onnx", constants={"gain": 3})
    left, right = np.arange(4, dtype=np.float32), np.ones(4, np.float32)
    sent = drive(node, {"left": [left], "right": [right]})
    assert sent.arrays[0].tolist() == ((left + right) * 6).tolist()
    assert sorted(node.ports()) == ["both", "left", "right"]


def test_an_output_whose_first_dimension_turns_out_to_be_no_batch_is_an_error_that_says_what_to_do():
    data = [np.arange(4, dtype=np.float32)]
    with pytest.raises(InputError, match=r"output 'rows' came as \[2, 2\], expected a batch of 1; say batched="):
        drive(OnnxModel(MODELS / "rows.onnx"), data)
    assert drive(OnnxModel(MODELS / "rows.onnx", batched={"rows": False}), data).arrays[0].tolist() == [[0, 1], [2, 3]]


def test_a_step_that_fails_changes_no_state():
    class Stumbling(OnnxModel):
        """Follows every message by one that the model cannot take."""

        def process(self, message):
            result = super().process(message)
            with pytest.raises(Exception, match="Got invalid dimensions"):
                super().process(message.replace(tensors={"x": np.ones(4, np.float32)}, seq=message.seq + 1))
            return result

    node = Stumbling(MODELS / "running_sum.onnx", state={"h": "hn"})
    drive(node, [np.ones(3, np.float32)] * 2)
    assert node.state("test")["h"][0].tolist() == [[2, 2, 2]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "m.onnx: empty, expected an ONNX model"),
        (b"RIFF....WAVEfmt ", "m.onnx: cut off or not an ONNX model"),
        ((MODELS / "running_sum.onnx").read_bytes()[:100], "m.onnx: cut off or not an ONNX model"),
    ],
)
def test_a_file_that_is_no_model_is_refused_before_the_start(tmp_path, content, words):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert words in fault(OnnxModel(path))


def test_a_missing_file_is_refused_before_the_start(tmp_path):
    assert "none.onnx: cannot be read (No such file or directory), expected an ONNX model" in fault(
        OnnxModel(tmp_path / "none.onnx")
    )
    assert "cannot be read (Is a directory)" in fault(OnnxModel(tmp_path))


def test_a_model_that_onnx_runtime_cannot_load_is_refused_with_its_reason(tmp_path):
    whole = (MODELS / "rows.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(whole.replace(b"Reshape", b"Resharp"))
    assert "ONNX Runtime cannot load it (" in fault(OnnxModel(tmp_path / "m.onnx"))


def test_it_computes_in_as_many_threads_as_its_stage_was_given_unless_it_says_otherwise():
    def intra_op_threads(realtime=None, **settings):
        node = OnnxModel(MODELS / "rows.onnx", **settings)
        node.inspect()
        node.context = SimpleNamespace(
            threads=None if realtime is None else realtime.thread_count, devices=(), rate_hz=lambda port: None
        )
        node.open()
        options = node._session.get_session_options()
        node.close()
        return options.intra_op_num_threads, options.get_session_config_entry("session.intra_op.allow_spinning")

    assert intra_op_threads() == (1, "0")
    assert intra_op_threads(RealTime(cpus={0, 1})) == (2, "0")
    assert intra_op_threads(RealTime(cpus={0, 1}), threads=1) == (1, "0")


def test_no_threads_at_all_are_refused():
    with pytest.raises(InputError, match=r"OnnxModel\(threads\): 0, expected at least 1"):
        OnnxModel(MODELS / "rows.onnx", threads=0)


def test_a_model_may_call_its_tensors_as_a_node_s_own_attributes(tmp_path):
    path = shutil.copy(MODELS / "rows.onnx", tmp_path / "m.onnx")
    node = OnnxModel(path, outputs={"rows": "context"}, batched={"rows": False})
    assert drive(node, [np.zeros(4, np.float32)])["context"][0].array.shape == (2, 2)


def test_silero_gives_the_recorded_probabilities_and_final_state(recordings):
    with wave.open(str(recordings("silero_vad/test.wav"))) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    chunks = np.pad(sound, (0, -len(sound) % 512)).reshape(-1, 512)
    node = OnnxModel(
        recordings("silero_vad/silero_vad.onnx"), {"state": "stateN"}, {"input": 64}, rate_hz=16000, sizes={"time": 512}
    )
    probabilities = np.concatenate(drive(node, chunks).arrays)
    np.testing.assert_allclose(probabilities, np.load(recordings("silero_vad/expected_probs.npy")), atol=1e-4)
    expected = np.load(recordings("silero_vad/expected_final_state.npy"))
    np.testing.assert_allclose(node.state("test")["state"], expected, atol=1e-4)


@pytest.mark.parametrize(("chunk", "sample_count"), [(1, 3000), (64, 53_240)])
def test_riann_gives_the_recorded_quaternions_however_the_samples_are_chunked(recordings, chunk, sample_count):
    h5py = pytest.importorskip("h5py")
    with h5py.File(recordings("imu_riann/broad_02_undisturbed_slow_rotation_B.hdf5")) as file:
        samples = np.concatenate([file["imu_acc"][:sample_count], file["imu_gyr"][:sample_count]], axis=1).astype(
            np.float32
        )
    rate = 2000 / 7
    ends = np.minimum(np.arange(0, sample_count, chunk) + chunk, sample_count)
    messages = numbered(*(at(samples[end - (end - 1) % chunk - 1 : end], (end - 1) / rate) for end in ends))
    node = OnnxModel(recordings("imu_riann/riann.onnx"), {"h0": "hn"}, dt=("input", 6), rate_hz=rate)
    quaternions = np.concatenate(drive(node, messages, rates={"input": rate}).arrays)
    np.testing.assert_allclose(
        quaternions, np.load(recordings("imu_riann/expected_quat.npy"))[:sample_count], atol=1e-4
    )


def test_fastestdet_is_a_model_without_state_whose_ports_are_pixels_and_a_map(recordings):
    node = OnnxModel(recordings("cam_fastestdet/FastestDet.onnx"), outputs={"758": "map"})
    sent = drive(node, [np.zeros((3, 352, 352), np.float32)])
    assert sent["map"][0].array.shape == (85, 22, 22)


def test_without_onnx_runtime_the_extra_that_brings_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert fault(OnnxModel(MODELS / "rows.onnx")) == (
        "OnnxModel: onnxruntime is not installed; pip install 'streamflow[onnx]' brings it"
    )


def test_knowing_the_ports_takes_no_onnx_runtime():
    look = "import sys; from nodes.infer import OnnxModel; node = OnnxModel(sys.argv[1]); node.inspect(); "
    check = "assert node.ports(); assert 'onnxruntime' not in sys.modules"
    subprocess.run([sys.executable, "-c", look + check, MODELS / "rows.onnx"], check=True)


class Sound(Node):
    samples = Out("float32[512]", rate_hz=8000)

    async def run(self):
        pass


def test_a_signal_of_another_rate_than_the_model_needs_is_a_fault_found_at_build():
    pipeline = Pipeline("p")
    sound = pipeline.add("sound", Sound())
    model = pipeline.add("model", OnnxModel(MODELS / "echo.onnx", rate_hz=16000))
    pipeline.connect(sound, model)
    with pytest.raises(PipelineError, match=r"8000 Hz sent, 16000 Hz expected; put nodes.preprocess.Resample"):
        pipeline.check()
