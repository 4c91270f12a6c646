"""A PyTorch model on whatever device its stage has: the one door to torch.

Torch computes where the stage's buffers are: they are given to it by DLPack, in the order of the stage's own queue, and
what it returns is written to the buffer of the output there. What it needs in between comes from a pool of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from nodes.infer.row_function import RowFunction, hint_of
from streamflow import InputError, MissingExtraError
from streamflow.device.contract import DeviceArray, DeviceMemoryError, NoDeviceError, Queue
from streamflow.device.slots import SlotRing
from streamflow.errors import StreamflowError

EXPORTED: Final = ".pt2"  # what torch.export.save writes; any other file is TorchScript's


class TorchModel(RowFunction):
    """`model(x) -> y` for a batch of data of all streams: a tensor [rows, ...] in, one of as many rows out.

    `p.add("embed", TorchModel("embed.pt2", input="float32[512]", output="float32[64]"), device=["cuda:0", "host"])`.
    `model`: a file, of `torch.export` (`.pt2`) or of TorchScript; or a function without arguments that makes the model
    in the stage's own process, or its name, `"package.module:function"`: it returns a module or any function of a
    tensor. It is run in inference mode; rows say nothing of each other. Dimensions are numbers, or names of which
    `sizes` has the number. `rows_max`: how many data may be in one batch, where `p.add(..., batch=)` does not say it;
    buffers for them are allocated once, when the stage opens. Between stages that work on one device
    data stay there. On the CPU torch has `threads` threads for the whole process: by default as many as the stage was
    given with `realtime`, else one.

    Raises InputError for a type whose dimensions are not all known, a model that cannot be found, and, when the stage
    opens, for one that does not take such a batch or gives something else than was declared; MissingExtraError without
    torch; NoDeviceError on a GPU that torch cannot use, so that the next device is taken.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Callable[[], Any],
        *,
        input: str,
        output: str,
        sizes: Mapping[str, int] | None = None,
        rows_max: int = 32,
        threads: int | None = None,
        rate_hz: float | str | None = None,
    ) -> None:
        self._source = model if callable(model) else os.fspath(model)
        subject = f"TorchModel({getattr(model, '__qualname__', self._source)})"
        super().__init__(subject, input, output, sizes, rows_max, rate_hz)
        self._threads = threads

    def inspect(self) -> None:
        if find_spec("torch") is None:
            raise MissingExtraError("TorchModel", "torch", "torch")
        if isinstance(self._source, str):
            _require_there(self._subject, self._source)

    def preload(self) -> None:
        _torch()

    def _load(self, queue: Queue) -> None:
        device, self._torch = self.context.device, _torch()
        torch, (kind, index) = self._torch, device.place
        if kind == "cuda" and not torch.cuda.is_available():
            found = f"torch {torch.__version__} cannot use it"
            raise NoDeviceError(device.name, found, "a build of torch for CUDA, and its driver", "see pytorch.org")
        torch.set_num_threads(self._threads or self.context.threads or 1)
        place = torch.device(kind, index) if kind == "cuda" else torch.device("cpu")
        try:
            self._model = self._loaded(place)
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(device.name, _reason(error)) from error
        if kind == "cuda":
            torch.cuda.synchronize(place)  # it was made in torch's own order, which the queue does not wait for
        self._stream = torch.cuda.ExternalStream(queue.handle, device=place) if kind == "cuda" else None

    def _work(self, x: DeviceArray, y: DeviceArray) -> None:
        torch = self._torch
        with torch.inference_mode(), self._on_stream():
            result, out = self._model(torch.from_dlpack(x)), torch.from_dlpack(y)
            if not isinstance(result, torch.Tensor):
                raise InputError(self._subject, f"a {type(result).__name__} came of it", "one tensor")
            if result.shape != out.shape or result.dtype != out.dtype:  # copied all the same it would be spread or cut
                cast = f"add .to({out.dtype})" if torch.can_cast(result.dtype, out.dtype) else ""
                hint = hint_of(result.shape, out.shape, cast)
                found = f"{_told(result)} came of {_told(x)}"
                raise InputError(self._subject, found, f"{_told(out)}, as declared", hint)
            out.copy_(result)

    def _on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else self._torch.cuda.stream(self._stream)

    async def _try(self, ring: SlotRing, rows_max: int) -> None:
        """Torch finds out how to compute, and it is seen whether all fits."""
        for rows in sorted({1, rows_max}, reverse=True):
            await self._try_rows(rows)

    async def _try_rows(self, rows: int) -> None:
        shape, dtype = self._shapes[0]
        try:
            await self._given(list(np.zeros((rows, *shape), dtype)))
        except StreamflowError:
            raise
        except self._torch.OutOfMemoryError as error:
            raise DeviceMemoryError(self.context.device.name, _reason(error)) from error
        except Exception as error:
            found = f"fails on a batch of {rows} ({type(error).__name__}: {_reason(error)})"
            raise InputError(self._subject, found, f"a model of {self.input.type} for any number of rows") from error

    def _loaded(self, place: Any) -> Any:
        torch, source = self._torch, self._source
        try:
            if callable(source):
                model = source()
            elif not Path(source).is_file():
                module, _, function = source.partition(":")
                model = getattr(import_module(module), function)()
            elif source.endswith(EXPORTED):
                moved = import_module("torch.export.passes").move_to_device_pass
                return moved(torch.export.load(source), place).module()
            else:
                model = torch.jit.load(source, map_location=place)
        except (StreamflowError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            found = f"it cannot be loaded ({type(error).__name__}: {_reason(error)})"
            raise InputError(
                self._subject, found, "a model of torch.export or TorchScript, or what makes one"
            ) from error
        return model.to(place).eval() if isinstance(model, torch.nn.Module) else model


def _require_there(subject: str, source: str) -> None:
    if Path(source).is_file():
        return
    module, colon, function = source.partition(":")
    if colon and function.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        try:
            is_there = find_spec(module) is not None
        except ModuleNotFoundError:  # of a package on the way
            is_there = False
        if is_there:
            return
        raise InputError(subject, f"there is no module {module}", "one that can be imported")
    raise InputError(subject, "there is no such file", "a .pt2 or TorchScript file, or 'package.module:function'")


def _told(tensor: Any) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _reason(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _torch() -> ModuleType:
    import torch

    module: ModuleType = torch
    return module
