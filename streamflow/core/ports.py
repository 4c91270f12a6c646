"""What a port carries: named tensors, each a dtype and named dimensions; and whether two ports can be joined.

A tensor type is written `dtype[dimensions]`: `float32[channels, time]`, `uint8[height, width, 3]`, `int64[]`
(0-d), `float32[...]` (any shape), `any[batch, ...]`. The dtype is a NumPy name, several joined by `|`, or
`any`. A dimension is a number, a name, or one `...` that stands for any dimensions. A name is a variable of
its node: wherever it appears on one node's ports it is one size, and sizes known upstream flow through it.

This module knows dtypes by name only; NumPy is met in `streamflow.wire.arrays`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

ANY = "any"
ELLIPSIS = "..."

# What NumPy can hand over as plain bytes. Structured, object and platform-sized long double types cannot be.
DTYPE_NAMES = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128 "
    "str bytes datetime64 timedelta64".split()
)

Dimension = int | str
_TYPE = re.compile(r"\s*([A-Za-z0-9_|\s]+?)\s*\[(.*)\]\s*", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class TensorType:
    """One tensor: the dtypes it may have (empty: any) and its dimensions in order."""

    dtypes: frozenset[str]
    dimensions: tuple[Dimension, ...]

    def __str__(self) -> str:
        dtype = "|".join(sorted(self.dtypes)) if self.dtypes else ANY
        return f"{dtype}[{', '.join(map(str, self.dimensions))}]"

    @property
    def has_fixed_rank(self) -> bool:
        return ELLIPSIS not in self.dimensions


@dataclass(frozen=True, slots=True)
class PortType:
    """What a port carries: tensors by name; `rate_hz` is the sampling rate of the signal, where there is one.

    An In port without tensors takes whatever is sent. `on_device`: tensors may be on a device, where an Out leaves
    them and an In takes them.
    """

    tensors: Mapping[str, TensorType]
    rate_hz: float | None = None
    on_device: bool = False

    def __str__(self) -> str:
        if not self.tensors:
            return f"{ANY} tensors"
        if list(self.tensors) == [DEFAULT_TENSOR]:
            return str(self.tensors[DEFAULT_TENSOR])
        return ", ".join(f"{name}: {tensor}" for name, tensor in self.tensors.items())


DEFAULT_TENSOR = "array"  # the name of a port's only tensor when the user gave none


def parse_tensor(text: str) -> TensorType:
    """The type that `text` writes. Raises ValueError with one sentence that says what is wrong with it."""
    match = _TYPE.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a tensor type, expected dtype[dimensions] such as float32[channels, time]")
    names = [name.strip() for name in match[1].split("|")]
    for name in names:
        if name != ANY and name not in DTYPE_NAMES:
            raise ValueError(f"'{name}' in '{text}' is no dtype that has a plain buffer, expected one of {_known()}")
    dtypes = frozenset() if ANY in names else frozenset(names)
    return TensorType(dtypes, tuple(_dimension(part, text) for part in _split(match[2], text)))


def _known() -> str:
    return ", ".join([ANY, *sorted(DTYPE_NAMES)])


def _split(body: str, text: str) -> list[str]:
    parts = [part.strip() for part in body.split(",")] if body.strip() else []
    if parts.count(ELLIPSIS) > 1:
        raise ValueError(f"'{text}' has more than one '...', expected at most one")
    return parts


def _dimension(part: str, text: str) -> Dimension:
    if part.isdecimal():
        return int(part)
    if part == ELLIPSIS or _NAME.fullmatch(part):
        return part
    raise ValueError(f"'{part}' in '{text}' is no dimension, expected a number, a name or '...'")


# ---------------------------------------------------------------------------------------------- joining ports


class Mismatch(Exception):
    """Two types cannot be the same; the text says which part differs."""


def unify_ports(sent: PortType, expected: PortType, sizes: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Sizes of the receiving node's dimension names once `sent` flows into `expected`.

    `sent` has its names already replaced by what is known upstream; `sizes` is what other ports of the
    receiving node have fixed. Raises Mismatch.
    """
    if sent.rate_hz and expected.rate_hz and sent.rate_hz != expected.rate_hz:
        raise Mismatch(f"{sent.rate_hz:g} Hz sent, {expected.rate_hz:g} Hz expected")
    known = dict(sizes)
    # One unnamed tensor flows into one unnamed or named tensor whatever they are called.
    if len(sent.tensors) == 1 and len(expected.tensors) == 1:
        (tensor,), (want,) = sent.tensors.values(), expected.tensors.values()
        _unify_tensor(tensor, want, known)
        return known
    for name, want in expected.tensors.items():
        if name not in sent.tensors:
            have = ", ".join(sent.tensors) or "nothing"
            raise Mismatch(f"tensors {have} sent, '{name}' expected")
        _unify_tensor(sent.tensors[name], want, known)
    return known


def _unify_tensor(sent: TensorType, want: TensorType, sizes: dict[str, Dimension]) -> None:
    if sent.dtypes and want.dtypes and not sent.dtypes & want.dtypes:
        raise Mismatch(f"{sent} sent, {want} expected")
    for left, right in _aligned(sent, want):
        target = sizes.get(right, right) if isinstance(right, str) else right
        if isinstance(left, int) and isinstance(target, int) and left != target:
            named = f" ({right} = {target})" if isinstance(right, str) else ""
            raise Mismatch(f"{sent} sent, {want}{named} expected")
        if isinstance(right, str) and isinstance(left, int):
            sizes[right] = left


def _aligned(sent: TensorType, want: TensorType) -> list[tuple[Dimension, Dimension]]:
    """Dimensions that face each other; what falls under a `...` of either side faces nothing."""
    a, b = sent.dimensions, want.dimensions
    if sent.has_fixed_rank and want.has_fixed_rank:
        if len(a) != len(b):
            raise Mismatch(f"{sent} sent, {want} expected")
        return list(zip(a, b, strict=True))
    for fixed, open_ended in ((a, b), (b, a)):
        if ELLIPSIS not in fixed and len(fixed) < len(open_ended) - 1:
            raise Mismatch(f"{sent} sent, {want} expected")
    head = min(_before(a), _before(b))
    tail = min(_after(a), _after(b))
    return list(zip(a[:head], b[:head], strict=True)) + (list(zip(a[-tail:], b[-tail:], strict=True)) if tail else [])


def _before(dimensions: tuple[Dimension, ...]) -> int:
    return dimensions.index(ELLIPSIS) if ELLIPSIS in dimensions else len(dimensions)


def _after(dimensions: tuple[Dimension, ...]) -> int:
    return len(dimensions) - dimensions.index(ELLIPSIS) - 1 if ELLIPSIS in dimensions else len(dimensions)


def substitute(port: PortType, sizes: Mapping[str, Dimension]) -> PortType:
    """The port with every dimension name whose size is known replaced by it."""
    return replace(
        port,
        tensors={
            name: TensorType(
                tensor.dtypes,
                tuple(sizes.get(d, d) if isinstance(d, str) else d for d in tensor.dimensions),
            )
            for name, tensor in port.tensors.items()
        },
    )


def fits(dtype: str, shape: tuple[int, ...], tensor: TensorType) -> bool:
    """Whether an actual array (dtype by NumPy's name without a width for text, shape) is of the type."""
    if tensor.dtypes and dtype not in tensor.dtypes:
        return False
    sizes: dict[str, int] = {}
    dimensions = tensor.dimensions
    if ELLIPSIS not in dimensions:
        if len(shape) != len(dimensions):
            return False
        pairs = list(zip(shape, dimensions, strict=True))
    else:
        head, tail = _before(dimensions), _after(dimensions)
        if len(shape) < head + tail:
            return False
        pairs = list(zip(shape[:head], dimensions[:head], strict=True))
        if tail:
            pairs += list(zip(shape[-tail:], dimensions[-tail:], strict=True))
    for size, dimension in pairs:
        if isinstance(dimension, int):
            if size != dimension:
                return False
        elif sizes.setdefault(dimension, size) != size:
            return False
    return True
