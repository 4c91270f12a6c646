"""A number in, and out of it only the moments at which an alert starts or ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from streamflow import In, InputError, Message, Node, Out, Output
from streamflow.core.message import Attribute

ALERT_LIMIT = 4096  # values of the attribute that `by` names; more is a number taken for a name


@dataclass(slots=True)
class Hysteresis:
    """On once a value has stayed at or beyond `level` for `hold_ns`, off once one is back at or behind `release`.

    Beyond is above where `release` ≤ `level`, else below. NaN says nothing and changes nothing.
    """

    level: float
    release: float
    hold_ns: int
    is_on: bool = False
    _beyond_since_ns: int | None = None

    def judge(self, value: float, time_ns: int) -> bool | None:
        """True: the alert starts with this value; False: it ends; None: nothing changes."""
        if math.isnan(value):
            return None
        sign = 1 if self.release <= self.level else -1
        if self.is_on:
            self.is_on = sign * value > sign * self.release
            return None if self.is_on else False
        # Where the level is its own release, a value at it is quiet: it cannot both start and end an alert.
        is_beyond = sign * value >= sign * self.level if self.release != self.level else value > self.level
        if not is_beyond:
            self._beyond_since_ns = None
            return None
        since_ns = time_ns if self._beyond_since_ns is None else self._beyond_since_ns
        self._beyond_since_ns = since_ns
        if time_ns - since_ns < self.hold_ns:
            return None
        self.is_on, self._beyond_since_ns = True, None
        return True


class ThresholdAlert(Node):
    """One message when a value goes beyond a level (`started` true) and one when it is back (`started` false).

    level: at or above it is alerting. release: at or below it is quiet again; None is the level itself, and then
    alerting is strictly above it. A release above the level turns both round: alerting is at or below the level.
    hold_s: how long the value must have stayed beyond the level before the alert starts. NaN changes nothing.

    field: the tensor to watch where messages have several (`field="score"`); whatever else they carry is left
    aside. It must have one element. by: an attribute each of whose values has an alert of its own
    (`by="signal"`): that one signal is quiet does not end the alert of another.

    Output: `value` float64 that made the change; `started` bool; `time_s` float64, the attribute of that name, or
    without one the event time in seconds.

    An alert that is on when the input ends is not ended by that. Raises InputError: a value of several elements.
    """

    alert = Out(value="float64[]", started="bool[]", time_s="float64[]")

    def __init__(
        self,
        level: float,
        release: float | None = None,
        field: str | None = None,
        hold_s: float = 0.0,
        by: str | None = None,
    ) -> None:
        release = level if release is None else release
        if not np.isfinite([level, release]).all():
            raise InputError("ThresholdAlert", f"level {level:g} and release {release:g}", "finite numbers")
        if not hold_s >= 0:
            raise InputError("ThresholdAlert hold_s", f"{hold_s:g}", "0 or more")
        self.value = In("any[...]") if field is None else In(**{field: "any[...]"})
        self._field = field
        self._by = by
        self._make = partial(Hysteresis, level, release, round(hold_s * 1e9))
        self._alerts: dict[Attribute, Hysteresis] = {}

    def process(self, message: Message) -> Output | None:
        value = self._value(message)
        time_s = float(message.attributes.get("time_s", message.event_time_ns / 1e9))
        started = self._alert_of(message).judge(value, round(time_s * 1e9))
        if started is None:
            return None
        return Output({"value": np.float64(value), "started": np.bool_(started), "time_s": np.float64(time_s)})

    def _alert_of(self, message: Message) -> Hysteresis:
        key = "" if self._by is None else message.attributes.get(self._by, "")
        if key not in self._alerts:
            if len(self._alerts) == ALERT_LIMIT:
                raise InputError(f"ThresholdAlert by='{self._by}'", "a value too many", f"at most {ALERT_LIMIT:,}")
            self._alerts[key] = self._make()
        return self._alerts[key]

    def _value(self, message: Message) -> float:
        # One tensor is taken whatever it is called, as it is when ports are joined.
        single = self._field is None or len(message.tensors) == 1
        array = np.asarray(message.array if single else message[self._field or ""])
        if array.size != 1 or array.dtype.kind not in "biuf":
            found = f"{array.dtype.name}{list(array.shape)} arrived"
            raise InputError(f"ThresholdAlert {self._field or 'value'}", found, "one number")
        return float(array.item())
