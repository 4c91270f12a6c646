"""ONNX models on a device: bit for bit what a stage without one gives, however late that is; and no other unsaid."""

from __future__ import annotations

import threading
import wave
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.infer import OnnxModel, onnx_device
from nodes.infer.onnx_session import CUDA, in_host_memory, onnxruntime
from streamflow import InputError, Message, OnGap, ms
from streamflow.device.contract import Device, DeviceMemoryError, NoDeviceError, WorkError
from streamflow.device.cuda import CudaDevice
from streamflow.device.host import Delays, HostDevice
from streamflow.testing import Driven, drive
from streamflow.testing.device_faults import DeviceFaults, FaultyDevice
from tests.marks import on_gpu

MODELS = Path(__file__).parent.parent / "models"
SLOW = Delays(launch_ns=1_000_000, copy_ns=500_000)
PERIOD_S = 0.1


class SaidToBeCuda(HostDevice):
    """Where arrays are said to be in a GPU: as far as a model can tell before anything runs."""

    place = ("cuda", 0)


def summing(**settings: Any) -> OnnxModel:
    return OnnxModel(MODELS / "running_sum.onnx", state={"h": "hn"}, **settings)


def chunks(
    shape: Sequence[int], streams: str = "a b c d e", count: int = 12, missing: Iterable[int] = (), seed: int = 3
) -> list[Message]:
    """Of each stream so many, side by side, at random values; of every second stream some are missing."""
    random = np.random.default_rng(seed)
    absent = set(missing)
    return [
        Message({"a": random.standard_normal(shape).astype(np.float32)}, stream, seq, round(seq * PERIOD_S * 1e9))
        for seq in range(count)
        for nth, stream in enumerate(streams.split())
        if seq not in absent or nth % 2
    ]


class TwoInFlight(OnnxModel):
    """Gives a batch in two parts, and has the results of the second one first."""

    async def process_batch(self, messages: Sequence[Message]) -> list[Any]:
        half = len(messages) // 2
        given = [super(TwoInFlight, self).process_batch(part) for part in (messages[:half], messages[half:])]
        found = [one if isinstance(one, list) else await one for one in given[::-1]]
        return [*found[1], *found[0]]


def told(sent: Driven, port: str) -> list[tuple[Any, ...]]:
    return [(one.stream, one.seq, dict(one.attributes), one.array.dtype, one.array.tobytes()) for one in sent[port]]


def same(make: Callable[[], OnnxModel], data: Any, device: Device, **how: Any) -> None:
    """On the device it gives what it gives without one, state included: bit for bit, where that is the host."""
    without, there = make(), make()
    expected = drive(without, data, **how)
    found = drive(there, data, device=device, **how)
    error = {"rtol": 0, "atol": 0} if device.place[0] == "cpu" else {"rtol": 1e-3, "atol": 1e-4}
    for port in without.outputs():
        assert expected[port]
        assert [one[:-1] for one in told(found, port)] == [one[:-1] for one in told(expected, port)]
        for message, other in zip(found[port], expected[port], strict=True):
            np.testing.assert_allclose(message.array, other.array, **error)
    if without.stateful:
        for stream in {message.stream for message in data}:
            for name, array in without.state(stream).items():
                np.testing.assert_allclose(there.state(stream)[name], array, **error)


MADE: dict[str, Callable[[], Device]] = {
    "host": HostDevice,
    "slow host": lambda: HostDevice(SLOW),
    "cuda": CudaDevice,
}


@pytest.fixture(params=["host", "slow host", pytest.param("cuda", marks=on_gpu)])
def device(request: pytest.FixtureRequest) -> Any:
    if request.param == "cuda" and CUDA not in onnxruntime().get_available_providers():
        pytest.skip("ONNX Runtime was built without CUDA")
    made = MADE[request.param]()
    made.open()
    yield made
    made.close()


@pytest.mark.parametrize("batch", [None, 1, 3, 8])
def test_each_stream_s_state_goes_in_and_out_in_batches_of_any_size(device: Device, batch: int | None) -> None:
    same(summing, chunks((3,)), device, batch=batch)


@pytest.mark.parametrize("on_gap", [OnGap.FREEZE, OnGap.REPEAT])
@pytest.mark.parametrize("batch", [None, 4])
def test_gaps_are_what_they_are_without_a_device(device: Device, on_gap: OnGap, batch: int | None) -> None:
    data = chunks((3,), missing=(3, 4, 8))
    same(lambda: summing(on_gap=on_gap), data, device, batch=batch)
    same(lambda: summing(on_gap=on_gap, max_gap=250 * ms), data, device, batch=batch)


@pytest.mark.parametrize("on_gap", [OnGap.FREEZE, OnGap.REPEAT])
def test_of_two_in_flight_each_has_its_own(device: Device, on_gap: OnGap) -> None:
    data = [*chunks((3,), "a b c d e f", missing=(3, 4, 8)), *chunks((3,), "a b c d e f", count=14)]
    path, settings = MODELS / "running_sum.onnx", {"state": {"h": "hn"}, "on_gap": on_gap}
    expected = drive(OnnxModel(path, **settings), data, batch=6)
    assert told(drive(TwoInFlight(path, **settings), data, batch=6, device=device), "y") == told(expected, "y")


def test_of_two_in_flight_each_has_its_own_context(device: Device) -> None:
    def found(node: type[OnnxModel], on: Device | None) -> list[Any]:
        echo = node(MODELS / "echo.onnx", context={"input.1": 2}, sizes={"time": 4}, outputs=["758"])
        return told(drive(echo, chunks((4,)), batch=5, rates={"input_1": 8000.0}, device=on), "_758")

    assert found(TwoInFlight, device) == found(OnnxModel, None)


def test_what_comes_again_is_not_stepped_with_again(device: Device) -> None:
    data = chunks((3,))
    same(summing, [*data, *data[-7:], *chunks((3,), count=14)], device, batch=4)


@pytest.mark.parametrize("batch", [None, 4])
def test_context_is_carried(device: Device, batch: int | None) -> None:
    def echo() -> OnnxModel:
        return OnnxModel(MODELS / "echo.onnx", context={"input.1": 2}, sizes={"time": 4}, outputs=["758"])

    same(echo, chunks((4,)), device, batch=batch, rates={"input_1": 8000.0})


def test_a_rate_and_a_constant_are_bound_once(device: Device) -> None:
    same(lambda: OnnxModel(MODELS / "echo.onnx", rate_hz=16000, sizes={"time": 4}), chunks((4,)), device)


@pytest.mark.parametrize(
    "settings",
    [
        {"dt": ("input", 1), "constants": {"step": 0}, "outputs": ["seen"]},
        {"dt": "step", "outputs": ["seen_step"]},
    ],
)
def test_a_model_is_told_the_time(device: Device, settings: dict[str, Any]) -> None:
    columns = 2 if isinstance(settings["dt"], tuple) else 3
    same(lambda: OnnxModel(MODELS / "seen_steps.onnx", sizes={"sequence": 2}, **settings), chunks((2, columns)), device)


def test_what_is_read_on_the_host_is_bound_there(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_device, "read_on_host", lambda session, device: {"x"})
    same(summing, chunks((3,), missing=(3, 4)), device, batch=3)


def test_memory_that_is_neither_the_host_s_nor_the_device_s_is_refused() -> None:
    assert in_host_memory("cuda:0", {"x": "Cuda", "length": "Cpu", "h": "Cuda"}) == {"length"}
    with pytest.raises(NoDeviceError, match=r"cuda:0: .* reads input 'h' in memory that it calls Moon, expected Cuda"):
        in_host_memory("cuda:0", {"x": "Cuda", "h": "Moon"})


def test_several_inputs_arrive_together(device: Device) -> None:
    left, right = np.arange(4, dtype=np.float32), np.ones(4, np.float32)
    data = {"left": [left, right], "right": [right, left]}
    same(lambda: OnnxModel(MODELS / "weighted_pair.onnx", constants={"gain": 3}), data, device)


def test_an_output_that_is_no_batch_goes_out_as_it_is_or_is_refused_before_the_first_datum(device: Device) -> None:
    same(lambda: OnnxModel(MODELS / "rows.onnx", batched={"rows": False}), chunks((4,)), device)
    with pytest.raises(InputError, match=r"output 'rows' came as \[2, 2\], expected a batch of 1; say batched="):
        drive(OnnxModel(MODELS / "rows.onnx"), [], device=device)


def test_the_next_life_goes_on_from_the_last_step_on_whatever_device_that_was(device: Device, tmp_path: Path) -> None:
    data = chunks((3,))
    expected = told(drive(summing(), data, batch=5), "y")
    found = []
    for life, on in enumerate((None, device, device, None)):
        part = data[15 * life : 15 * (life + 1)]
        found += told(drive(summing(), part, batch=5, states=tmp_path / "x", generation=life, device=on), "y")
    assert found == expected


def test_of_what_fails_on_the_device_no_step_was_made(tmp_path: Path) -> None:
    faulty = FaultyDevice(HostDevice(), DeviceFaults(raises=frozenset({4})))
    data = chunks((3,), streams="a")
    with pytest.raises(WorkError, match="as planned"):
        drive(summing(), data, states=tmp_path / "x", device=faulty)
    again = drive(summing(), data, states=tmp_path / "x", generation=1)
    assert told(again, "y") == told(drive(summing(), data), "y")[4:]


def test_in_the_loop_nothing_is_allocated() -> None:
    counts = []
    for count in (1, 30):
        device = HostDevice()
        drive(summing(), chunks((3,), count=count), batch=5, device=device)
        counts.append(device.allocation_count())
        device.close()
    assert counts[0] == counts[1]


def test_there_has_to_be_room_when_it_opens() -> None:
    with pytest.raises(DeviceMemoryError):
        drive(summing(), [], device=HostDevice(memory_limit=100))


def test_sizes_that_are_free_are_asked_for(device: Device) -> None:
    with pytest.raises(InputError, match=r"'input.1' takes float32\[time\], expected known sizes; .*sizes=\{...\}"):
        drive(OnnxModel(MODELS / "echo.onnx", rate_hz=8000), [], device=device)


def test_an_output_whose_shape_follows_from_values_is_told(device: Device, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="makes a model of its own")
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4])
    where = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT64, [2, None])
    graph = onnx.helper.make_graph([onnx.helper.make_node("NonZero", ["x"], ["y"])], "g", [given], [where])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"m.onnx: .*computed output shape.*expected outputs whose shapes follow"):
        drive(OnnxModel(tmp_path / "m.onnx", batched=False), [np.ones((1, 4), np.float32)], device=device)


def test_where_onnx_runtime_has_no_cuda_it_is_never_the_cpu_unsaid() -> None:
    if CUDA in onnxruntime().get_available_providers():
        pytest.skip("ONNX Runtime was built with CUDA")
    threads = threading.active_count()
    with pytest.raises(NoDeviceError, match=r"built without CUDA.*CUDAExecutionProvider; .*onnxruntime-gpu"):
        drive(summing(), chunks((3,)), device=SaidToBeCuda())
    assert threading.active_count() == threads, "nothing is left behind of a device that was passed over"


def test_without_a_device_nothing_is_added() -> None:
    threads = threading.active_count()

    class Counting(OnnxModel):
        def close(self) -> None:
            assert threading.active_count() == threads
            super().close()

    drive(Counting(MODELS / "running_sum.onnx", state={"h": "hn"}), chunks((3,)), batch=4)


@pytest.mark.parametrize("batch", [None, 4])
def test_silero_gives_the_same_probabilities(
    device: Device, recordings: Callable[[str], Path], batch: int | None
) -> None:
    with wave.open(str(recordings("silero_vad/test.wav"))) as file:
        sound = np.frombuffer(file.readframes(60 * 512), np.int16).astype(np.float32) / 32768
    data = [
        Message({"a": sound[512 * seq : 512 * (seq + 1)] * gain}, f"s{gain}", seq, seq * 32 * ms)
        for seq in range(60)
        for gain in (1.0, 0.5, 0.25, 0.1, 0.01)
    ]
    settings: dict[str, Any] = {"rate_hz": 16000, "sizes": {"time": 512}}
    path = recordings("silero_vad/silero_vad.onnx")
    same(lambda: OnnxModel(path, {"state": "stateN"}, {"input": 64}, **settings), data, device, batch=batch)


def test_riann_gives_the_same_quaternions(device: Device, recordings: Callable[[str], Path]) -> None:
    path = recordings("imu_riann/riann.onnx")
    settings: dict[str, Any] = {"dt": ("input", 6), "sizes": {"sequence": 8}}
    data = chunks((8, 6), streams="a b", count=20)
    same(lambda: OnnxModel(path, {"h0": "hn"}, **settings), data, device, rates={"input": 10.0})


def test_fastestdet_gives_the_same_map(device: Device, recordings: Callable[[str], Path]) -> None:
    path = recordings("cam_fastestdet/FastestDet.onnx")
    same(lambda: OnnxModel(path, outputs={"758": "map"}), chunks((3, 352, 352), streams="a", count=3), device)
