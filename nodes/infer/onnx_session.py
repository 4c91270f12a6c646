"""The one door to ONNX Runtime: a session on the CPU, or on a device, and never on another one than was asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from streamflow import InputError
from streamflow.device.contract import Device, NoDeviceError, Queue

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
DEVICE_MEMORY: Final = "Cuda"
HOST_MEMORY: Final = "Cpu"
ERRORS_ONLY: Final = 3  # ONNX Runtime's severity; its warnings are about exporters, and would fill the user's screen
WHEEL: Final = "pip uninstall onnxruntime, then pip install onnxruntime-gpu: the two cannot be there together"

Session = Any
"""An `onnxruntime.InferenceSession`."""


def onnxruntime() -> ModuleType:
    # From 1.29 on its import would report to Microsoft and leave a file in the temporary folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    module: ModuleType = onnxruntime
    return module


def session_on_cpu(path: str, threads: int) -> Session:
    """One that computes in `threads` threads and leaves the core when it waits. Raises InputError."""
    try:
        session = onnxruntime().InferenceSession(path, _options(threads), providers=[CPU])
    except Exception as error:  # onnxruntime's own exceptions have no common class but this
        raise InputError(path, f"ONNX Runtime cannot load it ({_reason(error)})", "a model it can run") from error
    if session.get_providers() != [CPU]:
        raise InputError(path, f"runs on {', '.join(session.get_providers())}", CPU)
    return session


def session_on(path: str, threads: int, device: Device, queue: Queue) -> Session:
    """One whose work is given to `queue`, where that has a handle, and which does not wait for it.

    Raises NoDeviceError where ONNX Runtime cannot use this device: by itself it would go on with the CPU.
    """
    kind, index = device.place
    if kind == "cpu":
        return session_on_cpu(path, threads)
    runtime = onnxruntime()
    if CUDA not in runtime.get_available_providers():
        found = f"ONNX Runtime {runtime.__version__} was built without CUDA, for {path}"
        raise NoDeviceError(device.name, found, f"its {CUDA}", WHEEL)
    settings = {
        "device_id": str(index),
        "user_compute_stream": str(queue.handle),
        "do_copy_in_default_stream": "1",
        "cudnn_conv_algo_search": "HEURISTIC",  # trying them all takes seconds for each shape
        "arena_extend_strategy": "kSameAsRequested",
    }
    providers = [(CUDA, settings), CPU]
    try:
        session = runtime.InferenceSession(path, _options(threads), providers=providers, enable_fallback=0)
    except Exception as error:
        raise NoDeviceError(device.name, f"ONNX Runtime cannot load {path} there ({_reason(error)})") from error
    if session.get_providers()[0] != CUDA:
        found = f"ONNX Runtime put {path} on {session.get_providers()[0]}"
        raise NoDeviceError(device.name, found, CUDA, "it needs the CUDA and cuDNN that it was built for: see its log")
    if not hasattr(session, "get_input_memory_infos"):
        raise NoDeviceError(device.name, f"ONNX Runtime {runtime.__version__}", "1.23 or newer", WHEEL)
    return session


def read_on_host(session: Session, device: Device) -> set[str]:
    """The inputs that it reads in the host's memory although the device has one of its own. Raises NoDeviceError."""
    if device.place[0] == "cpu":
        return set()
    infos = zip(session.get_inputs(), session.get_input_memory_infos(), strict=True)
    return in_host_memory(device.name, {spec.name: info.name for spec, info in infos})


def in_host_memory(device: str, memories: Mapping[str, str]) -> set[str]:
    """Of inputs, each with the memory in which it is read, as ONNX Runtime calls that: those in the host's.

    Raises NoDeviceError for one that is neither there nor on the device: what is bound to an address elsewhere is
    copied once, and never again.
    """
    for name, memory in memories.items():
        if memory not in (DEVICE_MEMORY, HOST_MEMORY):
            found = f"ONNX Runtime reads input '{name}' in memory that it calls {memory}"
            raise NoDeviceError(device, found, f"{DEVICE_MEMORY} or {HOST_MEMORY}")
    return {name for name, memory in memories.items() if memory == HOST_MEMORY}


def unwaited() -> Any:
    """The options of a run that returns when all is given to the device."""
    options = onnxruntime().RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return options


def _options(threads: int) -> Any:
    options = onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0]
