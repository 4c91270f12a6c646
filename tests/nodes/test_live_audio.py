"""The microphone: what is missing is said in one sentence; where there is one, chunks come from it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import trio

from nodes.ingest import Microphone, live_audio
from streamflow import InputError
from streamflow.testing import drive


def _inputs() -> list[str] | None:
    """Names of the input devices, or None without PortAudio."""
    try:
        import sounddevice
    except (ImportError, OSError):
        return None
    return [device["name"] for device in sounddevice.query_devices() if device["max_input_channels"] > 0]


@pytest.mark.skipif(_inputs() is not None, reason="PortAudio is installed here")
def test_a_machine_without_portaudio_is_an_input_error() -> None:
    with pytest.raises(
        InputError, match=r"Microphone: (the PortAudio library|sounddevice) is not installed; .*install"
    ):
        drive(Microphone(), limit=1)


@pytest.mark.skipif(_inputs() != [], reason="needs PortAudio and a machine without a microphone")
def test_a_machine_without_a_microphone_is_an_input_error() -> None:
    with pytest.raises(InputError, match="Microphone default device: this machine has no microphone"):
        drive(Microphone(), limit=1)


@pytest.mark.skipif(not _inputs(), reason="needs a microphone")
def test_an_unknown_device_is_an_input_error_that_names_those_there_are() -> None:
    with pytest.raises(InputError, match=r"device no such device: .*there are: "):
        drive(Microphone(device="no such device"), limit=1)


@pytest.mark.skipif(not _inputs(), reason="needs a microphone")
def test_chunks_of_the_microphone_follow_each_other() -> None:
    sent = drive(Microphone(chunk=160), limit=3).messages
    assert [message.attributes["sample"] for message in sent] == [0, 160, 320]
    assert all(message.array.shape == (160,) and message.array.dtype == np.float32 for message in sent)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rate_hz": 0.0}, "Microphone rate_hz: is 0, expected a rate above 0"),
        ({"chunk": 0}, "Microphone chunk: is 0, expected at least 1 sample"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_starts(settings: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Microphone(**settings)


def test_the_drivers_age_is_believed_only_where_it_can_be_true() -> None:
    assert live_audio.digitised_ns(10_000_000_000, 0.25) == 9_750_000_000
    assert live_audio.digitised_ns(10_000_000_000, -0.001) == 10_000_000_000
    assert live_audio.digitised_ns(10_000_000_000, 86_400.0) == 10_000_000_000


async def test_what_the_driver_hands_over_is_copied_and_waits_in_order() -> None:
    heard = live_audio._Heard(trio.lowlevel.current_trio_token(), 16000.0)
    buffer = np.zeros((4, 1), dtype=np.float32)
    for value in range(3):
        buffer[:] = value
        await trio.to_thread.run_sync(heard.keep, buffer, 4, _CLOCK, SimpleNamespace(input_overflow=value == 1))
    chunks = [await heard.receive.receive() for _ in range(3)]
    assert [chunk.samples.tolist() for chunk in chunks] == [[0.0] * 4, [1.0] * 4, [2.0] * 4]
    assert chunks[-1].overflow_count == 1


async def test_what_nobody_takes_is_counted_and_never_waits() -> None:
    heard = live_audio._Heard(trio.lowlevel.current_trio_token(), 16000.0)
    for _ in range(live_audio.HEARD_CHUNKS_LIMIT + 5):
        heard._offer(np.zeros(4, dtype=np.float32), 0)
    for _ in range(live_audio.HEARD_CHUNKS_LIMIT):
        heard.receive.receive_nowait()
    heard._offer(np.zeros(4, dtype=np.float32), 0)
    assert heard.receive.receive_nowait().overflow_count == 5


async def test_a_stream_that_stopped_ends_the_run_with_an_error() -> None:
    node = Microphone()
    node._heard = live_audio._Heard(trio.lowlevel.current_trio_token(), 16000.0)
    node._stream = SimpleNamespace(start=node._heard.end)
    with pytest.raises(InputError, match="default device: stopped delivering, expected sound; was it unplugged"):
        await node.run()


_CLOCK = SimpleNamespace(currentTime=1.0, inputBufferAdcTime=0.99)
