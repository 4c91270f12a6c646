"""Which ports can be joined."""

from __future__ import annotations

import pytest

from streamflow import In, Out
from streamflow.core.ports import unify_ports
from streamflow.errors import Fault


@pytest.mark.parametrize(
    "sent", [Out("float32[channels, time]"), Out("str[]"), Out(box="float32[n, 4]", name="str[n]"), Out("any[...]")]
)
def test_an_in_without_tensors_takes_whatever_is_sent(sent: Out) -> None:
    assert unify_ports(sent.type, In().type, {"time": 5}) == {"time": 5}
    assert str(In().type) == "any tensors"


def test_an_out_says_what_it_sends() -> None:
    with pytest.raises(Fault, match="one unnamed tensor or several named ones"):
        Out()


def test_a_port_has_one_unnamed_tensor_or_named_ones() -> None:
    with pytest.raises(Fault, match="one unnamed tensor or several named ones"):
        In("float32[time]", other="int64[]")
