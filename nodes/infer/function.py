"""A function of NumPy arrays as a node, with a state per stream if it has one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from nodes.kernels.streams import PerStream
from streamflow import In, InputError, Message, Node, Out
from streamflow.runtime.node import Port


class Function(Node):
    """`f(x) -> y` for every message; with `state`, `f(x, state) -> (y, next state)`.

    One input and output: `input="float32[n]"`, `output="float32[n]"`, ports of these names. Several:
    `inputs={"left": ..., "right": ...}`, joined by event time and given to `f` by name (the state too, as
    `state`); `outputs={...}`: `f` returns a mapping of them. A result of None sends nothing. `state` is the
    initial value, copied for each stream; it is kept in the process, and begins anew when that is started again (a node
    with `state_tensors` goes on). `rate_hz` is the result's sampling rate, or the In port whose rate
    it keeps. Arrays that `f` gets are read-only.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        *,
        input: str | None = None,
        output: str | None = None,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        state: Any = None,
        rate_hz: float | str | None = None,
    ) -> None:
        given = _one_of("input", input, inputs)
        returned = _one_of("output", output, outputs)
        twins = ", ".join(sorted(given.keys() & returned.keys()))
        if twins:
            raise InputError("Function", f"{twins} among inputs and outputs", "names of their own")
        if state is not None and "state" in given:
            raise InputError("Function(inputs)", "'state', which is what f gets its state as", "another name")
        self._f = f
        self._state = state
        self._one_input = inputs is None
        self._function_ports: dict[str, Port] = {name: In(text) for name, text in given.items()}
        self._function_ports.update((name, Out(text, rate_hz=rate_hz)) for name, text in returned.items())

    def ports(self) -> dict[str, Port]:
        return dict(self._function_ports)

    def open(self) -> None:
        self._streams = PerStream(lambda: _Kept(copy.deepcopy(self._state)))

    def process(self, message: Message | None = None, /, **joined: Message) -> Any:
        if message is not None:
            joined = {next(iter(self._function_ports)): message}
        else:
            message = next(iter(joined.values()))
        arrays = {name: part.array for name, part in joined.items()}
        positional = tuple(arrays.values()) if self._one_input else ()
        named = {} if self._one_input else arrays
        if self._state is None:
            return self._f(*positional, **named)
        kept = self._streams[message.stream]
        if self._one_input:
            positional = (*positional, kept.state)
        else:
            named = {**named, "state": kept.state}
        returned = self._f(*positional, **named)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise TypeError(f"f returned a {type(returned).__name__}, expected (result, next state)")
        result, kept.state = returned
        return result

    def state(self, stream: str) -> Any:
        """A copy of a stream's state."""
        return copy.deepcopy(self._streams[stream].state)


class _Kept:
    __slots__ = ("state",)

    def __init__(self, state: Any) -> None:
        self.state = state


def _one_of(name: str, single: str | None, several: Mapping[str, str] | None) -> dict[str, str]:
    if (single is None) == (not several):
        raise InputError("Function", f"both or none of {name} and {name}s", f"one of them: {name}='float32[n]'")
    return dict(several) if several else {name: str(single)}
