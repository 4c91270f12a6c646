"""What a stage keeps of each stream from step to step, as declared, and where that is in a file of states."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from streamflow.errors import StateError
from streamflow.wire.arrays import Array

SLOT_COUNT_LIMIT: Final = 1 << 16  # a step of each in a second is more than a host does; more is a name that runs away
TENSOR_COUNT_LIMIT: Final = 1024  # a network with so many states declares each of its neurons
NAME_SIZE_LIMIT: Final = 120  # bytes of a stream's name in UTF-8: with its length two lines of the cache
NAME_SIZE: Final = 8 + NAME_SIZE_LIMIT
NOTE_COUNT: Final = 4
FACT_COUNT: Final = 2 + NOTE_COUNT  # seq, event time, notes
COPY_COUNT: Final = 2
HEAD_SIZE: Final = 64
_LINE: Final = 64
_WORD: Final = 8


@dataclass(frozen=True, slots=True)
class StateTensor:
    """One of the tensors that a stream has. Raises StateError for what cannot be kept."""

    name: str
    dtype: str
    """Of numbers, as NumPy reads it: `float32`, `<f4`."""
    shape: tuple[int, ...]
    """Of one stream, without the batch axis."""
    batch_axis: int | None = 0
    """Where streams stand side by side in what the model takes; None: it takes one, and has no such axis."""
    initial: Array | None = field(default=None, compare=False)
    """What a new stream has, of that shape; None: zeros. Another one is no other layout."""
    is_input: bool = field(default=False, compare=False)
    """It keeps what has come: what is not a number in it is the sensor's, and goes again with later data."""

    def __post_init__(self) -> None:
        subject = f"state {self.name}"
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            raise StateError(subject, f"dtype {self.dtype!r}", "one of numbers, as float32") from None
        if dtype.kind not in "biufc" or dtype.char in "gG":  # long double differs between machines
            raise StateError(subject, f"dtype {dtype}", "one of numbers, as float32")
        object.__setattr__(self, "dtype", dtype.str)
        object.__setattr__(self, "shape", tuple(self.shape))
        if not all(size >= 1 for size in self.shape):
            raise StateError(subject, f"shape {list(self.shape)}", "sizes of 1 or more", "leave out the batch axis")
        if self.batch_axis is not None and not 0 <= self.batch_axis <= len(self.shape):
            raise StateError(subject, f"batch axis {self.batch_axis}", f"None, or 0 to {len(self.shape)}")
        if self.initial is not None and (self.initial.shape != self.shape or self.initial.dtype != dtype):
            found = f"initial {self.initial.dtype}{list(self.initial.shape)}"
            raise StateError(subject, found, f"{dtype}{list(self.shape)}")

    def __str__(self) -> str:
        axis = "no batch axis" if self.batch_axis is None else f"batch axis {self.batch_axis}"
        return f"{self.name}: {np.dtype(self.dtype)}{list(self.shape)}, {axis}"

    @property
    def is_number(self) -> bool:
        """Whether it is to be numbers: what is carried on and once is none remains so. Not where it may begin so."""
        may_be_none = np.dtype(self.dtype).kind in "fc" and not self.is_input
        return may_be_none and (self.initial is None or not np.isnan(self.initial).any())

    @property
    def axis(self) -> int:
        """Along which streams are stored side by side."""
        return self.batch_axis or 0

    @property
    def size(self) -> int:
        """Bytes of one stream."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def shape_of(self, count: int) -> tuple[int, ...]:
        """Of so many streams side by side."""
        return (*self.shape[: self.axis], count, *self.shape[self.axis :])


def to_text(tensors: Sequence[StateTensor]) -> str:
    """For the head of a file."""
    return json.dumps([[one.name, one.dtype, one.shape, one.batch_axis] for one in tensors])


def from_text(text: Any) -> tuple[StateTensor, ...]:
    """What `to_text` has told. Raises ValueError for anything else."""
    try:
        read = json.loads(text)
        return checked([StateTensor(name, dtype, tuple(shape), axis) for name, dtype, shape, axis in read])
    except (TypeError, KeyError) as error:
        raise ValueError(f"no layout of states ({error})") from None


def checked(tensors: Sequence[StateTensor]) -> tuple[StateTensor, ...]:
    """Raises StateError where they cannot be a stage's."""
    if not 1 <= len(tensors) <= TENSOR_COUNT_LIMIT:
        raise StateError("states", f"{len(tensors)} tensors", f"1 to {TENSOR_COUNT_LIMIT}")
    names = [tensor.name for tensor in tensors]
    if len(set(names)) < len(names):
        raise StateError("states", f"a name twice in {names}", "different names")
    return tuple(tensors)


def require_same(subject: str, found: Sequence[StateTensor], declared: Sequence[StateTensor], hint: str) -> None:
    """Raises StateError, which says where they first differ."""
    if tuple(found) == tuple(declared):
        return
    if len(found) != len(declared):
        raise StateError(subject, f"{_names(found)} are kept there", _names(declared), hint)
    here, there = next(pair for pair in zip(found, declared, strict=True) if pair[0] != pair[1])
    raise StateError(subject, f"{here} is kept there", f"{there}", hint)


def _names(tensors: Sequence[StateTensor]) -> str:
    return f"{len(tensors)} states ({', '.join(tensor.name for tensor in tensors)})"


@dataclass(frozen=True, slots=True)
class Places:
    """Where what is in a file of states, in bytes; everything begins at a multiple of a line of the cache."""

    turns: int
    names: int
    facts: int
    tensors: tuple[int, ...]
    size: int


def places(tensors: Sequence[StateTensor], text_size: int, slot_count: int) -> Places:
    """Of a file with a head of so many bytes of text."""
    turns = _aligned(HEAD_SIZE + text_size)
    names = _aligned(turns + slot_count * _WORD)
    facts = _aligned(names + slot_count * COPY_COUNT * NAME_SIZE)
    end = _aligned(facts + slot_count * COPY_COUNT * FACT_COUNT * _WORD)
    starts = []
    for tensor in tensors:
        starts.append(end)
        end = _aligned(end + slot_count * COPY_COUNT * tensor.size)
    return Places(turns, names, facts, tuple(starts), end)


def _aligned(offset: int) -> int:
    return -(-offset // _LINE) * _LINE
