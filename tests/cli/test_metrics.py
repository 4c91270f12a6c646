"""Where metrics are served: what is an address and what is none, and that a dead run has none."""

from __future__ import annotations

import pytest

from streamflow.cli.metrics import address, listening
from streamflow.errors import UsageError
from tests.left_behind import LeftBehind


@pytest.mark.parametrize(
    ("text", "told"), [("localhost:0", "127.0.0.1"), (":0", "localhost"), ("127.0.0.1:0", "127.0.0.1")]
)
def test_an_address_is_told_as_a_browser_takes_it(text: str, told: str) -> None:
    with listening(text, "--metrics") as door:
        assert address(door) == f"http://{told}:{door.getsockname()[1]}/metrics"


@pytest.mark.parametrize("wrong", ["9464", "localhost:", "localhost:http", ":70000", "no.such.host.invalid:0"])
def test_what_is_no_address_is_told(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"^--metrics ") as caught:
        listening(wrong, "--metrics")
    assert caught.value.subject == f"--metrics {wrong}"


def test_a_dead_run_is_not_served(streamflow, folder) -> None:
    LeftBehind(folder / "run").state()
    ended = streamflow("metrics", "run", "--listen", "localhost:0")
    assert ended.code == 2
    assert (
        ended.err == "streamflow: run run: it was killed, expected a live one; streamflow status tells how it ended\n"
    )
