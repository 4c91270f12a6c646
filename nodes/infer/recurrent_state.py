"""What one stream of a model carries from step to step, and each step's inputs made with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nodes.infer.onnx_bindings import Bindings, FedInput
from streamflow import Message

Array = npt.NDArray[Any]


class RecurrentState:
    """States, context samples and the time of the last datum; a step is committed whole, or not if it fails."""

    __slots__ = ("_assembled", "_bindings", "_carrying", "_newest_s", "_rate_hz", "_tails", "feed")

    def __init__(self, bindings: Bindings, constants: Mapping[str, Array], rate_hz: float | None) -> None:
        """`constants`: the inputs that are the same in all steps. `rate_hz`: of the signal, where known."""
        self.feed = dict(constants)  # what the session is given: constants, states, and the step's own inputs
        self.feed.update((state.input, state.start) for state in bindings.states)
        self._bindings = bindings
        self._carrying = [fed for fed in bindings.inputs if fed.context]
        self._tails: dict[str, Array] = {}
        self._assembled: dict[str, Array] = {}
        self._newest_s: float | None = None
        self._rate_hz = rate_hz

    def arrays(self) -> dict[str, Array]:
        """Copies of the state tensors and context samples, by the names of the model's inputs."""
        states = {state.input: self.feed[state.input] for state in self._bindings.states}
        return {name: array.copy() for name, array in {**states, **self._tails}.items()}

    def prepare(self, arrays: Sequence[Array], message: Message) -> dict[str, Array]:
        """The step's inputs. `arrays` face the bindings' inputs; `message` is the one that gives the time."""
        bindings, feed = self._bindings, self.feed
        for fed, array in zip(bindings.inputs, arrays, strict=True):
            if fed.context or fed.dt_column is not None:
                array = self._assemble(fed, array, message)
            feed[fed.name] = array[None] if fed.batched else array
        if bindings.step is not None:
            dt_s = self._elapsed_s(message)
            if dt_s is None:
                dt_s = self._period_s
            feed[bindings.step_name] = np.full_like(bindings.step, dt_s)
        return feed

    def commit(self, following: Sequence[Array], message: Message) -> None:
        """The step succeeded: `following` are the next states, in the order of the bindings."""
        for state, array in zip(self._bindings.states, following, strict=False):
            self.feed[state.input] = array
        for fed in self._carrying:
            whole, tail = self._assembled[fed.name], self._tails[fed.name]
            end = whole.shape[fed.time_axis]
            tail[...] = _span(whole, fed.time_axis, end - fed.context, end)
        self._newest_s = _recorded_s(message)

    @property
    def _period_s(self) -> float:
        return 1.0 / self._rate_hz if self._rate_hz else 0.0

    def _elapsed_s(self, message: Message) -> float | None:
        """Recorded seconds since the last datum; None for a stream's first. Time that jumped back counts as 0."""
        return None if self._newest_s is None else max(_recorded_s(message) - self._newest_s, 0.0)

    def _assemble(self, fed: FedInput, array: Array, message: Message) -> Array:
        """Context, then the new samples, with a column for dt where the model wants one; in a kept buffer."""
        shape = list(array.shape)
        if fed.context:
            shape[fed.time_axis] += fed.context
        if fed.dt_column is not None:
            shape[-1] += 1
        whole = self._assembled.get(fed.name)
        if whole is None or list(whole.shape) != shape:
            whole = self._assembled[fed.name] = np.zeros(shape, fed.dtype)
        new = whole
        if fed.context:
            new = _span(whole, fed.time_axis, fed.context, shape[fed.time_axis])
        if fed.dt_column is None:
            new[...] = array
        else:
            new[..., : fed.dt_column] = array[..., : fed.dt_column]
            new[..., fed.dt_column + 1 :] = array[..., fed.dt_column :]
            self._fill_dt(new[..., fed.dt_column], fed, message)
        if fed.context:
            front = _span(whole, fed.time_axis, 0, fed.context)
            tail = self._tails.get(fed.name)
            if tail is None:
                tail = self._tails[fed.name] = np.zeros_like(front)
            front[...] = tail
        return whole

    def _fill_dt(self, column: Array, fed: FedInput, message: Message) -> None:
        """Each sample's time step: a period of the signal, and for a chunk's first what is left of the time."""
        dt_s = self._elapsed_s(message)
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


def _recorded_s(message: Message) -> float:
    """When the newest sample was taken, on the recording's own clock, which `--speed` does not bend."""
    time_s = message.attributes.get("time_s")
    return time_s if isinstance(time_s, float) else message.event_time_ns * 1e-9


def _span(array: Array, axis: int, start: int, end: int) -> Array:
    """A view along `axis`, which counts from the end."""
    index: tuple[Any, ...] = (..., slice(start, end), *(slice(None),) * (-1 - axis))
    view: Array = array[index]
    return view
