"""PyTorch models on the device of their stage: what torch gives by itself, in batches; faults are told in time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.infer import TorchModel
from streamflow import Batch, InputError, Message
from streamflow.device.contract import Device, DeviceMemoryError, NoDeviceError
from streamflow.device.cuda import CudaDevice
from streamflow.device.host import Delays, HostDevice
from streamflow.device.slots import SlotRing
from streamflow.testing import drive
from tests.marks import on_gpu

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed: pip install 'streamflow[torch]'")
SLOW = Delays(launch_ns=1_000_000, copy_ns=500_000)
GIVEN = np.random.default_rng(2).standard_normal((20, 8)).astype(np.float32)


def net() -> Any:
    """Two layers, always of the same weights, and a dropout that is none in use."""
    torch.manual_seed(7)
    layers = [torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Dropout(0.5), torch.nn.Linear(16, 3)]
    return torch.nn.Sequential(*layers)


def expected(given: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with torch.inference_mode():
        found: np.ndarray[Any, Any] = net().eval()(torch.from_numpy(given)).numpy()
    return found


def node(model: Any = net, **settings: Any) -> TorchModel:
    return TorchModel(model, **{"input": "float32[8]", "output": "float32[3]"} | settings)


def scripted(folder: Path) -> Path:
    torch.jit.save(torch.jit.script(net().eval()), folder / "net.pt")
    return folder / "net.pt"


def exported(folder: Path) -> Path:
    rows = torch.export.Dim("rows", min=1, max=64)
    program = torch.export.export(net().eval(), (torch.zeros(2, 8),), dynamic_shapes=({0: rows},))
    torch.export.save(program, folder / "net.pt2")
    return folder / "net.pt2"


@needs_torch
@pytest.mark.parametrize("make", [HostDevice, lambda: HostDevice(SLOW), pytest.param(CudaDevice, marks=on_gpu)])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_each_datum_has_its_own_result_in_batches_of_any_size(make: Callable[[], Device], batch: int) -> None:
    device = make()
    if device.place[0] == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch was built without CUDA")
    device.open()
    arrays = drive(node(), list(GIVEN), batch=batch, device=device).arrays
    device.close()
    np.testing.assert_allclose(np.stack(arrays), expected(GIVEN), rtol=1e-5, atol=1e-6)
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


@needs_torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("written", [scripted, exported])
def test_a_model_comes_from_a_file_that_torch_has_written(written: Callable[[Path], Path], tmp_path: Path) -> None:
    arrays = drive(node(written(tmp_path)), list(GIVEN), batch=8).arrays
    np.testing.assert_allclose(np.stack(arrays), expected(GIVEN), rtol=1e-5, atol=1e-6)


@needs_torch
def test_a_model_is_made_by_a_function_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_model_of_a_test.py").write_text("def make():\n    return lambda x: x * 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    doubled = node("own_model_of_a_test:make", output="float32[8]")
    np.testing.assert_array_equal(np.stack(drive(doubled, list(GIVEN), batch=8).arrays), GIVEN * 2)


@needs_torch
def test_what_it_gives_is_written_to_the_buffer_of_the_output_where_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def make() -> Callable[[Any], Any]:
        def same(x: Any) -> Any:
            seen.append(x.data_ptr())
            return x + 1

        return same

    buffers: set[int] = set()
    made = SlotRing._slot

    def noting(ring: SlotRing, *shapes: Any) -> Any:
        slot = made(ring, *shapes)
        buffers.add(slot.on_device[0][0].ctypes.data)
        return slot

    monkeypatch.setattr(SlotRing, "_slot", noting)
    drive(node(make, output="float32[8]"), list(GIVEN), batch=8)
    assert set(seen) == buffers, "torch has worked on the slots' own memory, and on nothing else"


@needs_torch
@pytest.mark.parametrize(
    ("model", "found"),
    [
        (
            lambda: lambda x: x[:, :2],
            r"float32\[32, 2\] came of float32\[32, 8\], expected float32\[32, 3\], as declared",
        ),
        (lambda: lambda x: x[:, :1], r"float32\[32, 1\] came of"),
        (lambda: lambda x: x[:1, :3], r"float32\[1, 3\] came of"),
        (lambda: lambda x: x[:, :3].double(), r"float64\[32, 3\] came of .*; add .to\(torch.float32\)"),
        (lambda: lambda x: (x, x), "a tuple came of it, expected one tensor"),
        (
            lambda: torch.nn.Linear(9, 3),
            r"fails on a batch of 32 \(RuntimeError: mat1 and mat2 .*for any number of rows",
        ),
        (lambda: lambda x: x.reshape(32, 8)[:, :3], r"fails on a batch of 1 \(RuntimeError"),
        (lambda: 1 / 0, r"it cannot be loaded \(ZeroDivisionError: division by zero\)"),
    ],
)
def test_what_does_not_fit_is_told_before_the_first_datum(model: Any, found: str) -> None:
    with pytest.raises(InputError, match=rf"TorchModel\(.*\): .*{found}"):
        drive(node(model), [])


@needs_torch
def test_a_file_of_something_else_is_told_when_it_opens(tmp_path: Path) -> None:
    for name in ("net.pt", "net.pt2"):
        (tmp_path / name).write_bytes(b"no model at all")
        with pytest.raises(InputError, match=rf"{name}\): it cannot be loaded \("):
            drive(node(tmp_path / name), [])


@needs_torch
@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("none.pt", "there is no such file, expected a .pt2 or TorchScript file, or 'package.module:function'"),
        ("no_such_package.module:make", "there is no module no_such_package.module"),
        ("json:", "there is no such file"),
        ("/no where/x:y", "there is no such file"),
    ],
)
def test_what_is_not_there_is_told_before_the_start(model: str, found: str) -> None:
    with pytest.raises(InputError, match=found):
        node(model).inspect()


@needs_torch
def test_a_batch_has_as_many_rows_as_there_is_room_for() -> None:
    assert len(drive(node(rows_max=8), list(GIVEN), batch=9).arrays) == 20
    with pytest.raises(InputError, match="a batch of 20, expected at most 8; say batch="):
        drive(node(rows_max=8), list(GIVEN))
    assert node(rows_max=8).batch == Batch(8)


@needs_torch
def test_what_fails_in_use_comes_out_as_it_is_and_the_next_may_do_well() -> None:
    def make() -> Callable[[Any], Any]:
        def choosy(x: Any) -> Any:
            if (x > 100).any():
                raise ZeroDivisionError("in user code")
            return x[:, :3]

        return choosy

    class Trying(TorchModel):
        async def process_batch(self, messages: Sequence[Message]) -> Any:
            try:
                return await super().process_batch(messages)
            except ZeroDivisionError:
                return [None] * len(messages)

    trying = Trying(make, input="float32[8]", output="float32[3]")
    given = [GIVEN[0], np.full(8, 101, np.float32), GIVEN[1], np.full(8, 101, np.float32), GIVEN[2]]
    arrays = drive(trying, given, batch=1).arrays
    np.testing.assert_array_equal(np.stack(arrays), GIVEN[:3, :3])


@needs_torch
def test_a_gpu_that_torch_cannot_use_is_not_the_one() -> None:
    if torch.cuda.is_available():
        pytest.skip("it can")

    class ElsewhereDevice(HostDevice):
        place = ("cuda", 0)

    with pytest.raises(NoDeviceError, match=r"torch .* cannot use it, expected a build of torch for CUDA"):
        drive(node(), [], device=ElsewhereDevice(name="cuda:0"))


@needs_torch
def test_there_has_to_be_room_when_it_opens() -> None:
    with pytest.raises(DeviceMemoryError):
        drive(node(), [], device=HostDevice(memory_limit=100))


@needs_torch
def test_it_has_as_many_threads_as_it_says() -> None:
    before = torch.get_num_threads()
    try:
        drive(node(threads=2), [])
        assert torch.get_num_threads() == 2
        drive(node(), [])
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("what", ["input", "output"])
def test_sizes_that_are_not_known_are_told(what: str) -> None:
    with pytest.raises(InputError, match=rf"TorchModel\({what}\): float32\[time\], expected one dtype and sizes"):
        node(**{what: "float32[time]"})


def test_without_torch_the_extra_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"TorchModel: torch is not installed; pip install 'streamflow\[torch\]'"):
        node().inspect()


def test_nobody_imports_torch_who_does_not_use_it() -> None:
    check = "import sys; from nodes.infer import TorchModel; import nodes.infer.torch_model as used; "
    check += "TorchModel('x.pt', input='float32[8]', output='float32[3]'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
