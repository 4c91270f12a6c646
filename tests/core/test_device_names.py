"""Devices by name, as pipelines say them and as their settings do."""

from __future__ import annotations

import pytest

from streamflow.core.device_names import devices_named, devices_of
from streamflow.errors import Fault


@pytest.mark.parametrize(
    ("text", "names"),
    [("", ()), (" ", ()), ("host", ("host",)), ("cuda", ("cuda:0",)), ("cuda:0,host", ("cuda:0", "host")),
     (" cuda:1 , cuda:01,host", ("cuda:1", "host"))],
)  # fmt: skip
def test_a_setting_names_devices_with_commas_between_them_or_none(text: str, names: tuple[str, ...]) -> None:
    assert devices_named("stage x", devices_of(text)) == names


@pytest.mark.parametrize("text", ["cuda:x", "host,,cuda", "gpu", "host;cuda:0", ","])
def test_what_is_no_device_in_a_setting_is_a_fault_of_the_stage(text: str) -> None:
    with pytest.raises(Fault, match=r"stage x: device .*, expected host, cuda or cuda:1"):
        devices_named("stage x", devices_of(text))
