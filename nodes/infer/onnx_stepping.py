"""A model's steps: what it carries for each stream from one to the next, and each step's inputs made with it.

What is carried is declared as state tensors, which the runtime keeps: the states, the newest samples of inputs with
context, and, where a gap is filled by repeating, the last input. Streams stand side by side in a batch of any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nodes.infer.onnx_bindings import Bindings, FedInput
from streamflow import Message, StateTensor
from streamflow.core.gaps import Step, StepKind
from streamflow.core.timebase import seconds
from streamflow.runtime.stream_states import Stepping

Array = npt.NDArray[Any]

_FROM_THE_START = (StepKind.START, StepKind.RESET)
_AS_USUAL = (StepKind.FREEZE, StepKind.REPEAT)


@dataclass(slots=True)
class Repeat:
    """A step of one stream that stands for one of the data that are missing; who makes it says what followed."""

    rows: Sequence[Sequence[Array]]
    carried: Sequence[Array]
    step: Step
    following: Sequence[Array] = ()


class Stepper:
    """Of one model."""

    def __init__(
        self, bindings: Bindings, constants: Mapping[str, Array], rate_hz: float | None, *, repeats: bool
    ) -> None:
        """`constants`: the inputs that are the same in all steps. `rate_hz`: of the signal, where known."""
        self._bindings = bindings
        self._feed = dict(constants)
        self._carrying = [fed for fed in bindings.inputs if fed.context]
        self._repeated = list(bindings.inputs) if repeats else []
        self._kept: dict[str, Array] = {}
        self._period_s = 1.0 / rate_hz if rate_hz else 0.0
        self.tensors = self._tensors()

    def _tensors(self) -> tuple[StateTensor, ...]:
        found = []
        for state in self._bindings.states:
            start, axis = state.start, state.batch_axis
            found.append(
                StateTensor(state.input, start.dtype.name, start.shape, None, start)
                if axis is None
                else StateTensor(state.input, start.dtype.name, start.take(0, axis).shape, axis, start.take(0, axis))
            )
        for fed in self._carrying:
            shape = list(_known(fed, fed.time_axis))
            shape[fed.time_axis] = fed.context
            if fed.dt_column is not None:
                shape[-1] += 1
            found.append(StateTensor(fed.name, fed.dtype, tuple(shape), _axis(fed), is_input=True))
        for fed in self._repeated:
            found.append(StateTensor(f"{fed.name} before", fed.dtype, _known(fed), _axis(fed), is_input=True))
        if not found and (self._bindings.step is not None or any(fed.has_dt for fed in self._bindings.inputs)):
            found.append(StateTensor("steps", "int64", (), 0))  # only that a step was made, and when
        return tuple(found)

    def feed(
        self,
        rows: Sequence[Sequence[Array]],
        arrays: Sequence[Array],
        messages: Sequence[Message],
        steps: Sequence[Step],
    ) -> dict[str, Array]:
        """The inputs of a step of several streams, in the same order everywhere; written over by the next.

        `rows`: for each stream arrays that face the bindings' inputs, of the same shapes. `arrays`: what is carried, as
        `tensors` says. `messages`: the ones that give the time.
        """
        feed = self.assembled(rows, arrays, messages, steps)
        for nth, fed in enumerate(self._bindings.inputs):
            if fed.is_plain and fed.batched:
                feed[fed.name] = rows[0][nth][None] if len(rows) == 1 else np.stack([row[nth] for row in rows])
            elif fed.is_plain:
                feed[fed.name] = rows[0][nth]
        return feed

    def first_feed(self) -> dict[str, Array]:
        """Of a stream's first datum, which is zeros."""
        arrays = [np.zeros([size or 1 for size in fed.shape or ()], fed.dtype) for fed in self._bindings.inputs]
        carried = [_side_by_side(tensor) for tensor in self.tensors]
        return self.feed([arrays], carried, [Message({})], [Step(StepKind.START)])

    def assembled(
        self,
        rows: Sequence[Sequence[Array]],
        arrays: Sequence[Array],
        messages: Sequence[Message],
        steps: Sequence[Step],
    ) -> dict[str, Array]:
        """Of the same inputs those that are made here; which leaves out the plain ones."""
        bindings, feed = self._bindings, self._feed
        for state, array in zip(bindings.states, arrays, strict=False):
            feed[state.input] = array
        tails = dict(zip((fed.name for fed in self._carrying), arrays[len(bindings.states) :], strict=False))
        for nth, fed in enumerate(bindings.inputs):
            if not fed.is_plain:
                whole = self._whole(fed, [row[nth] for row in rows], tails.get(fed.name), messages, steps)
                feed[fed.name] = whole if fed.batched else whole[0]
        if bindings.step is not None:
            elapsed_s = self._elapsed_s(steps[0])
            feed[bindings.step_name] = np.full_like(bindings.step, self._period_s if elapsed_s is None else elapsed_s)
        return feed

    def following(
        self,
        feed: Mapping[str, Array],
        results: Sequence[Array],
        rows: Sequence[Sequence[Array]],
        arrays: Sequence[Array],
    ) -> list[Array]:
        """What is carried after the step that these were the inputs of: `results` begin with the next states."""
        following = list(results[: len(self._bindings.states)])
        for fed in self._carrying:
            whole = feed[fed.name]
            end = whole.shape[fed.time_axis]
            following.append(_span(whole, fed.time_axis, end - fed.context, end))
        for nth, fed in enumerate(self._bindings.inputs if self._repeated else ()):
            following.append(np.stack([row[nth] for row in rows]) if fed.batched else rows[0][nth])
        if len(following) < len(arrays):
            following.append(arrays[-1] + 1)
        return following

    def repeats(self, stepping: Stepping) -> Iterator[Repeat]:
        """The steps with the last input in place of what is missing, a stream at a time: no gap is as long as another.

        Each is to be made before the next is asked for; after them the stepping's states are those before its own step.
        """
        for nth, step in enumerate(stepping.steps):
            if not step.repeat_count:
                continue
            carried = [row[...] for row in stepping.rows(nth)]
            before = self._before(carried)
            for _ in range(step.repeat_count):
                repeat = Repeat([before], carried, step)
                yield repeat
                # Copies: some are views of what the next step is made in.
                carried = [array.copy() for array in repeat.following]
            for row, array in zip(stepping.rows(nth), carried, strict=True):
                row[...] = array

    def _before(self, arrays: Sequence[Array]) -> list[Array]:
        """The last input of one stream, of what it carries; where gaps are filled by repeating it."""
        last = arrays[len(self.tensors) - len(self._repeated) :]
        return [array[0] if fed.batched else array for fed, array in zip(self._repeated, last, strict=True)]

    def _elapsed_s(self, step: Step) -> float | None:
        """Recorded seconds that the step stands for; None: as many as the datum usually has, by the signal's rate."""
        if step.kind in _FROM_THE_START or (step.kind in _AS_USUAL and self._period_s):
            return None
        return seconds(step.elapsed_ns)

    def _whole(
        self,
        fed: FedInput,
        arrays: Sequence[Array],
        tail: Array | None,
        messages: Sequence[Message],
        steps: Sequence[Step],
    ) -> Array:
        """Context, then the new samples, with a column for dt where the model wants one; a stream in each row."""
        shape = list(arrays[0].shape)
        if fed.context:
            shape[fed.time_axis] += fed.context
        if fed.dt_column is not None:
            shape[-1] += 1
        whole = self._room(fed, len(arrays), shape)
        new = _span(whole, fed.time_axis, fed.context, shape[fed.time_axis]) if fed.context else whole
        for row, array, message, step in zip(new, arrays, messages, steps, strict=True):
            if fed.dt_column is None:
                row[...] = array
            else:
                row[..., : fed.dt_column] = array[..., : fed.dt_column]
                row[..., fed.dt_column + 1 :] = array[..., fed.dt_column :]
                self._fill_dt(row[..., fed.dt_column], fed, message, step)
        if tail is not None:
            _span(whole, fed.time_axis, 0, fed.context)[...] = tail
        return whole

    def _room(self, fed: FedInput, count: int, shape: list[int]) -> Array:
        kept = self._kept.get(fed.name)
        if kept is None or len(kept) < count or list(kept.shape[1:]) != shape:
            kept = self._kept[fed.name] = np.zeros([count, *shape], fed.dtype)
        return kept[:count]

    def _fill_dt(self, column: Array, fed: FedInput, message: Message, step: Step) -> None:
        """Each sample's time step: a period of the signal, and for a chunk's first what is left of the time."""
        dt_s = self._elapsed_s(step)
        count = column.shape[fed.time_axis + 1] if fed.has_time else 1
        if dt_s is None:
            column[...] = self._period_s
        elif count == 1:
            column[...] = dt_s
        else:
            real = message.attributes.get("valid", count)
            count = real if isinstance(real, int) and 0 < real < count else count
            period_s = self._period_s or dt_s / count
            column[...] = period_s
            _span(column, fed.time_axis + 1, 0, 1)[...] = max(dt_s - (count - 1) * period_s, 0.0)


def _side_by_side(tensor: StateTensor) -> Array:
    """What a new stream has, in a batch of one."""
    shape = tensor.shape if tensor.batch_axis is None else tensor.shape_of(1)
    return np.zeros(shape, tensor.dtype) if tensor.initial is None else tensor.initial.reshape(shape)


def _axis(fed: FedInput) -> int | None:
    return 0 if fed.batched else None


def _known(fed: FedInput, but: int | None = None) -> tuple[int, ...]:
    """The shape of a message, of which the binder has found that all that is carried is fixed; 1 `but` there."""
    shape = list(fed.shape or ())
    if but is not None:
        shape[but] = 1
    return tuple(size or 1 for size in shape)


def _span(array: Array, axis: int, start: int, end: int) -> Array:
    """A view along `axis`, which counts from the end."""
    index: tuple[Any, ...] = (..., slice(start, end), *(slice(None),) * (-1 - axis))
    view: Array = array[index]
    return view
