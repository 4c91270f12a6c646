"""An ONNX model's signature and a user's words about it, worked out into ports, states and constants.

Pure: no file, no ONNX Runtime. Everything that does not fit is an InputError that lists what there is.

The batch axis. A message carries one sample of a stream, a model usually takes a batch. A model is taken as
batched when every input that becomes a port has two dimensions or more and the first is 1 or free; that axis
is then put in front of what arrives, and taken off each output whose first dimension is 1, free without a
name, or of the same name as an input's. `batched` says otherwise, for all tensors or by name.

The time axis of an input, along which context is carried and dt counted: its only free dimension besides the
batch, else the last (with a dt column, the last before the columns).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nodes.infer.onnx_bindings import Array, Bindings, FedInput, Recurrence, Settings, TakenOutput
from nodes.infer.onnx_signature import Signature, Size, TensorSpec
from streamflow import InputError
from streamflow.core.ports import DTYPE_NAMES

RATE_INPUT = "sr"  # an integer scalar of this name that nobody binds gets the signal's sampling rate
TIME, NEW_TIME = "time", "new_time"


def bind(signature: Signature, settings: Settings, subject: str) -> Bindings:
    """Raises InputError, with `subject` (the model's path), for the first thing that does not fit."""
    return _Binder(signature, settings, subject).bind()


class _Binder:
    def __init__(self, signature: Signature, settings: Settings, subject: str) -> None:
        self.inputs = {spec.name: spec for spec in signature.inputs}
        self.outputs = {spec.name: spec for spec in signature.outputs}
        self.settings = settings
        self.subject = subject

    def bind(self) -> Bindings:
        self._known_names()
        rate = self._rate_input()
        bound = {*self.settings.state, *self.settings.constants, rate.name if rate else ""}
        dt = self.settings.dt
        if dt is not None and dt[1] is None:
            bound.add(dt[0])
        fed = [spec for name, spec in self.inputs.items() if name not in bound]
        following = {*self.settings.state.values()}
        taken = self._taken([spec for name, spec in self.outputs.items() if name not in following])
        self._portable([*fed, *taken.values()])
        if not fed:
            raise self._error("no input is left for a port", f"one of {_listed(self.inputs)} unbound")
        self._name_dimensions(fed, taken.values())
        inputs = self._fed_inputs(fed)
        outputs = self._taken_outputs(taken, fed, inputs)
        states = tuple(self._recurrence(*pair) for pair in self.settings.state.items())
        self._require(self.settings.sizes, sorted(self.free_names), "no free dimension {} for sizes", "names")
        step = self.inputs[dt[0]] if dt is not None and dt[1] is None else None
        return Bindings(
            inputs,
            outputs,
            states,
            {name: self._constant(self.inputs[name], value) for name, value in self.settings.constants.items()},
            self._constant(step, 0.0) if step else None,
            step.name if step else "",
            rate,
            self._single(inputs, outputs, states, step),
        )

    def _error(self, found: str, expected: str = "", hint: str = "") -> InputError:
        return InputError(self.subject, found, expected, hint)

    # ------------------------------------------------------------------------------------------------- names

    def _known_names(self) -> None:
        """Every name the user said is one of the model's, and none is said twice."""
        settings = self.settings
        dt = [settings.dt[0]] if settings.dt else []
        for what, names in (
            ("state", settings.state), ("context", settings.context), ("constants", settings.constants), ("dt", dt),
        ):  # fmt: skip
            self._require(names, self.inputs, f"no input {{}} for {what}", "inputs")
        self._require(settings.state.values(), self.outputs, "no output {} for state", "outputs")
        self._require(settings.outputs or (), self.outputs, "no output {} for outputs", "outputs")
        self._require(settings.initial, settings.state, "initial names no state {}", "states")
        if isinstance(settings.batch_axis, Mapping):
            self._require(settings.batch_axis, settings.state, "batch_axis names no state {}", "states")
        if isinstance(settings.batched, Mapping):
            self._require(settings.batched, {**self.inputs, **self.outputs}, "no tensor {} for batched", "tensors")
        whole_dt = dt if settings.dt and settings.dt[1] is None else []
        claims = [*settings.state, *settings.constants, *whole_dt]
        for name in {*claims, *settings.context, *dt}:
            fed = name in settings.context or (name in dt and not whole_dt)
            if claims.count(name) + fed > 1:
                raise self._error(f"input '{name}' is bound more than once", "one of state, constants, context and dt")
        targets = list(settings.state.values())
        if len(set(targets)) < len(targets):
            raise self._error(f"one output is the next state of several inputs ({_listed(targets)})", "one each")

    def _require(self, names: Iterable[str], known: Collection[str], found: str, kind: str) -> None:
        for name in names:
            if name not in known:
                raise self._error(found.format(f"'{name}'"), f"one of its {kind}: {_listed(known)}")

    def _rate_input(self) -> TensorSpec | None:
        spec = self.inputs.get(RATE_INPUT)
        bound = {*self.settings.state, *self.settings.constants, *(self.settings.dt or ())}
        if spec is None or RATE_INPUT in bound or spec.shape not in ((), (1,)) or "int" not in spec.dtype:
            return None
        return spec

    def _portable(self, specs: Iterable[TensorSpec]) -> None:
        for spec in specs:
            if spec.dtype not in DTYPE_NAMES:
                raise self._error(f"'{spec.name}' is {spec}", "a dtype that NumPy has", "bind it or leave it out")

    # ------------------------------------------------------------------------------------------------- sizes

    def _name_dimensions(self, fed: Sequence[TensorSpec], taken: Iterable[TensorSpec]) -> None:
        specs = [*fed, *taken, *(self.inputs[name] for name in self.settings.state)]
        free = [size for spec in specs for size in spec.shape or () if isinstance(size, str)]
        self.dimension_names = identifiers(dict.fromkeys(free))
        self.ports = identifiers([spec.name for spec in fed])
        self.batched_by_rule = all(_may_be_batch(spec) for spec in fed)
        self.batch_names = {spec.shape[0] for spec in fed if spec.shape and isinstance(spec.shape[0], str)}
        self.time_name = NEW_TIME if TIME in self.dimension_names.values() else TIME
        self.free_names = {self.dimension_names[size] for size in free}

    def _batched(self, spec: TensorSpec, by_rule: bool) -> bool:
        said = self.settings.batched
        if isinstance(said, Mapping):
            said = said.get(spec.name)
        if said is None:
            return by_rule
        if said and (not spec.shape or (spec.shape[0] not in (1, None) and isinstance(spec.shape[0], int))):
            raise self._error(f"'{spec.name}' is {spec}", "a first dimension that is 1 or free", "batched=False")
        return said

    def _fed_inputs(self, fed: Sequence[TensorSpec]) -> tuple[FedInput, ...]:
        return tuple(self._fed_input(spec, alone=len(fed) == 1) for spec in fed)

    def _fed_input(self, spec: TensorSpec, *, alone: bool) -> FedInput:
        port = self.ports[spec.name]
        context = self.settings.context.get(spec.name, 0)
        dt = self.settings.dt
        column = dt[1] if dt is not None and dt[0] == spec.name else None
        if spec.shape is None:
            if context or column is not None or self.settings.repeats:
                raise self._error(f"'{spec.name}' has no known rank", "one, to carry context or dt in it")
            return FedInput(spec.name, port, f"{spec.dtype}[...]", spec.dtype, None, False, 0, -1, False, None)
        batched = self._batched(spec, self.batched_by_rule)
        shape = list(spec.shape[1:] if batched else spec.shape)
        if column is not None:
            column = self._without_column(spec, shape, column)
        time_axis = _time_axis(shape, has_columns=column is not None)
        if time_axis is not None and (context or shape[time_axis] is None):
            shape[time_axis] = self._new_samples(spec, shape[time_axis], context, port, alone=alone)
        elif context:
            raise self._error(f"context for '{spec.name}', which is {spec}", "an input with a time axis")
        names = [self._dimension(size, f"{port}_{axis}") for axis, size in enumerate(shape)]
        sizes = tuple(size if isinstance(size, int) else None for size in names)
        if context or self.settings.repeats:
            self._require_carried(spec, names, None if self.settings.repeats else time_axis)
        text = f"{spec.dtype}[{', '.join(map(str, names))}]"
        return FedInput(
            spec.name, port, text, spec.dtype, sizes, batched, context, time_axis or -1, time_axis is not None, column
        )

    def _require_carried(self, spec: TensorSpec, names: Sequence[int | str], time_axis: int | None) -> None:
        """What is kept of an input for the next step has a fixed shape; of context the time axis is that."""
        kept = [name for axis, name in enumerate(names) if time_axis is None or axis != time_axis + len(names)]
        free = [name for name in kept if isinstance(name, str)]
        if free:
            what = "context" if time_axis is not None else "the last input"
            hint = f"say sizes={{'{free[0]}': ...}}"
            raise self._error(f"{what} of '{spec.name}' is to be kept, which is {spec}", "fixed sizes", hint)

    def _without_column(self, spec: TensorSpec, shape: list[Size], column: int) -> int:
        """`column` from 0; `shape` loses one in its last dimension."""
        width = shape[-1] if shape else 0
        if not isinstance(width, int) or not -width <= column < width or width < 2:
            raise self._error(f"dt in column {column} of '{spec.name}', which is {spec}", "one of its last dimension's")
        shape[-1] = width - 1
        return column % width

    def _new_samples(self, spec: TensorSpec, size: Size, context: int, port: str, *, alone: bool) -> Size:
        """The time dimension of a message: what the model takes less what is carried in front."""
        if context < 0 or (isinstance(size, int) and context >= size):
            raise self._error(f"context of {context} samples for '{spec.name}', which is {spec}", "less than it takes")
        if isinstance(size, int):
            return size - context
        name = self.time_name if alone else f"{port}_{self.time_name}"
        self.dimension_names[name] = name
        return name

    def _dimension(self, size: Size, unnamed: str) -> int | str:
        if isinstance(size, int):
            return size
        name = unnamed if size is None else self.dimension_names[size]
        self.free_names.add(name)
        return self.settings.sizes.get(name, name)

    # ----------------------------------------------------------------------------------------------- outputs

    def _taken(self, specs: Sequence[TensorSpec]) -> dict[str, TensorSpec]:
        """Outputs by port name: those the user chose, under the names the user gave."""
        chosen = self.settings.outputs
        if chosen is None:
            taken = [(spec.name, spec) for spec in specs]
        elif isinstance(chosen, Mapping):
            taken = [(port, self.outputs[name]) for name, port in chosen.items()]
        else:
            taken = [(name, self.outputs[name]) for name in chosen]
        if not taken:
            raise self._error("no output is left for a port", f"one of {_listed(self.outputs)} that is no state")
        if len({name for name, _ in taken}) < len(taken):
            raise self._error(f"outputs {_listed([name for name, _ in taken])}", "each name once")
        return dict(taken)

    def _taken_outputs(
        self, taken: Mapping[str, TensorSpec], fed: Sequence[TensorSpec], inputs: Sequence[FedInput]
    ) -> tuple[TakenOutput, ...]:
        ports = identifiers(taken, taken_names={spec.port for spec in inputs})
        timed: dict[Size, str] = {}
        for spec, place in zip(fed, inputs, strict=True):
            if spec.shape and place.has_time and not place.context:
                timed.setdefault(spec.shape[place.time_axis], place.port)
        return tuple(self._taken_output(spec, ports[name], timed) for name, spec in taken.items())

    def _taken_output(self, spec: TensorSpec, port: str, timed: Mapping[Size, str]) -> TakenOutput:
        shape = spec.shape
        if shape is None:
            return TakenOutput(spec.name, port, f"{spec.dtype}[...]", False, None)
        first = shape[0] if shape else 0
        batched = self._batched(spec, self.batched_by_rule and (first in (1, None) or first in self.batch_names))
        rest = shape[1:] if batched else shape
        names = [self._dimension(size, f"{port}_{axis}") for axis, size in enumerate(rest)]
        rate_from = next((timed[size] for size in rest if isinstance(size, str) and size in timed), None)
        return TakenOutput(spec.name, port, f"{spec.dtype}[{', '.join(map(str, names))}]", batched, rate_from)

    # -------------------------------------------------------------------------------------- states, constants

    def _single(
        self,
        inputs: Sequence[FedInput],
        outputs: Sequence[TakenOutput],
        states: Sequence[Recurrence],
        step: TensorSpec | None,
    ) -> str:
        """What keeps the model from taking several streams at a time."""
        if step is not None:
            return f"input '{step.name}' has one time step for all"
        for fed in inputs:
            shape = self.inputs[fed.name].shape
            if not fed.batched or (shape is not None and shape[0] == 1):
                return f"input '{fed.name}' is {self.inputs[fed.name]}"
        for state in states:
            if state.batch_axis is None:
                return f"state '{state.input}' is {self.inputs[state.input]}"
        return next((f"output '{taken.name}' has no batch axis" for taken in outputs if not taken.batched), "")

    def _recurrence(self, name: str, target: str) -> Recurrence:
        spec, following = self.inputs[name], self.outputs[target]
        self._portable([spec])
        if spec.dtype != following.dtype or not _compatible(spec.shape, following.shape):
            raise self._error(f"state '{name}' is {spec} and its next value '{target}' {following}", "the same")
        if name in self.settings.initial:
            start = self._constant(spec, self.settings.initial[name])
            found = None if spec.shape is None else self._free_axis(spec, self._batch_axis(spec))
            return Recurrence(name, target, start, found if found is not None and start.shape[found] == 1 else None)
        if spec.shape is None:
            raise self._error(f"state '{name}' has no known rank", "one", f"initial={{'{name}': array}}")
        axis = self._batch_axis(spec)
        sizes = [
            1 if index == axis and not isinstance(size, int) else self._dimension(size, f"{name}_{index}")
            for index, size in enumerate(spec.shape)
        ]
        known = tuple(size for size in sizes if isinstance(size, int))
        if len(known) < len(sizes):
            free = [index for index, size in enumerate(sizes) if not isinstance(size, int)]
            where = "axis " + " and ".join(map(str, free))
            hint = f"say which axis is the batch with batch_axis, the rest with sizes or initial={{'{name}': array}}"
            raise self._error(f"state '{name}' is {spec}, free at {where}", "sizes", hint)
        return Recurrence(name, target, np.zeros(known, spec.dtype), self._free_axis(spec, axis))

    def _free_axis(self, spec: TensorSpec, axis: int | None) -> int | None:
        """The batch axis where it takes more than one."""
        return None if axis is None or spec.shape is None or isinstance(spec.shape[axis], int) else axis

    def _batch_axis(self, spec: TensorSpec) -> int | None:
        """The axis that the user named; else the only free one."""
        said = self.settings.batch_axis
        if isinstance(said, Mapping):
            said = said.get(spec.name)
        shape = spec.shape or ()
        if said is None:
            free = [
                axis for axis, size in enumerate(shape)
                if size is None or (isinstance(size, str) and self.dimension_names[size] not in self.settings.sizes)
            ]  # fmt: skip
            return free[0] if len(free) == 1 else None
        if not -len(shape) <= said < len(shape) or (isinstance(shape[said], int) and shape[said] != 1):
            raise self._error(f"batch_axis {said} of state '{spec.name}', which is {spec}", "an axis that is 1 or free")
        return said % len(shape)

    def _constant(self, spec: TensorSpec, value: Any) -> Array:
        """`value` as the dtype and shape of the input; a single number fills the shape, free dimensions being 1."""
        self._portable([spec])
        given = np.asarray(value)
        try:
            array = given.astype(spec.dtype)
        except (TypeError, ValueError):
            raise self._error(f"{value!r} for '{spec.name}'", f"{spec}") from None
        if array.ndim == 0 and spec.shape:
            array = np.full(tuple(size if isinstance(size, int) else 1 for size in spec.shape), array)
        changed = array.dtype.kind in "iu" and not np.all(array == given)
        if changed or not _compatible(spec.shape, array.shape):
            shown = f"{value!r}" if given.ndim == 0 else f"{given.dtype}{list(given.shape)}"
            raise self._error(f"{shown} for '{spec.name}'", f"{spec}")
        return array


def identifiers(names: Iterable[str], taken_names: Collection[str] = ()) -> dict[str, str]:
    """Each name as a Python identifier of its own: 'input.1' → input_1, '758' → _758; twins get a number."""
    found: dict[str, str] = {}
    used = set(taken_names)
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        if not plain or plain[0].isdigit():
            plain = f"_{plain}"
        unique, number = plain, 2
        while unique in used:
            unique, number = f"{plain}_{number}", number + 1
        used.add(unique)
        found[name] = unique
    return found


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _may_be_batch(spec: TensorSpec) -> bool:
    shape = spec.shape
    return shape is not None and len(shape) >= 2 and (shape[0] == 1 or not isinstance(shape[0], int))


def _time_axis(shape: Sequence[Size], *, has_columns: bool) -> int | None:
    """Counted from the end; None where there is no axis for it."""
    axes = range(len(shape) - has_columns)
    free = [axis for axis in axes if not isinstance(shape[axis], int)]
    if not axes:
        return None
    return (free[0] if len(free) == 1 else axes[-1]) - len(shape)


def _compatible(a: Sequence[Size] | None, b: Sequence[Size] | None) -> bool:
    if a is None or b is None:
        return True
    return len(a) == len(b) and all(
        left == right or not isinstance(left, int) or not isinstance(right, int)
        for left, right in zip(a, b, strict=True)
    )
