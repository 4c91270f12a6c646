"""Which array goes where in an ONNX model: what a user said of it, and what came of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from nodes.infer.onnx_signature import TensorSpec

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user said; see OnnxModel."""

    state: Mapping[str, str] = field(default_factory=dict)
    initial: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, int] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    dt: tuple[str, int | None] | None = None
    batch_axis: int | Mapping[str, int] | None = None
    batched: bool | Mapping[str, bool] | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    outputs: Sequence[str] | Mapping[str, str] | None = None
    repeats: bool = False  # the last input is to be kept


@dataclass(frozen=True, slots=True)
class FedInput:
    """An input that a port feeds. `time_axis` and `columns` count from the end, so the batch does not matter."""

    name: str
    port: str
    type: str
    dtype: str
    shape: tuple[int | None, ...] | None  # what a message has, None: free; for the warm-up
    batched: bool
    context: int
    time_axis: int
    has_time: bool
    dt_column: int | None

    @property
    def has_known_sizes(self) -> bool:
        return self.shape is not None and None not in self.shape

    @property
    def has_dt(self) -> bool:
        return self.dt_column is not None

    @property
    def is_plain(self) -> bool:
        """The model is given what a message has, and nothing with it."""
        return not self.context and not self.has_dt


@dataclass(frozen=True, slots=True)
class TakenOutput:
    """An output that a port sends; `rate_from` is the In port whose time axis it shares."""

    name: str
    port: str
    type: str
    batched: bool
    rate_from: str | None


@dataclass(frozen=True, slots=True)
class Recurrence:
    """An output that is the next step's input; `start` is what a new stream has, in a batch of one.

    `batch_axis`: where streams stand side by side; None: the model takes one.
    """

    input: str
    output: str
    start: Array
    batch_axis: int | None


@dataclass(frozen=True, slots=True)
class Bindings:
    """Every input of the model once: fed, state, constant, the time step or the sampling rate."""

    inputs: tuple[FedInput, ...]
    outputs: tuple[TakenOutput, ...]
    states: tuple[Recurrence, ...]
    constants: Mapping[str, Array]
    step: Array | None  # of the shape and dtype of the input that gets dt as a whole
    step_name: str
    rate: TensorSpec | None
    single: str  # why the model takes one stream at a time; nothing where it takes any batch
