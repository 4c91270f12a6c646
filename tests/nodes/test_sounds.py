"""Sounds that only a memory tells apart, and the small network that does so."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from nodes.infer import CupyFunction, RecurrentModel
from nodes.infer.recurrent_weights import read_network
from nodes.ingest import Sounds
from nodes.kernels.recurrent import network_step
from nodes.kernels.sounds import CHUNK, RATE_HZ, SOUNDS, chunks
from nodes.kernels.spectrum import spectral_shape
from nodes.postprocess import Labels
from streamflow import InputError, Message
from streamflow.testing import drive
from tools.models.spectrum_gpu import MODEL, arrays_of, made, signals


def test_each_channel_is_a_stream_with_a_signal_of_its_own_in_whole_sounds() -> None:
    sent = drive(Sounds(3, duration_s=4.0))["signal"]
    assert len(sent) == 3 * 125
    times = [message.event_time_ns for message in sent]
    assert times == sorted(times)
    for channel in range(3):
        own = [message for message in sent if message.stream == f"channel{channel}"]
        assert [message.seq for message in own] == list(range(125))
        assert [message.attributes["sample"] for message in own] == [256 * nth for nth in range(125)]
        expected = list(islice(chunks((0, channel), RATE_HZ, CHUNK), 125))
        assert all(np.array_equal(message.array, one) for message, (one, _, _) in zip(own, expected, strict=True))
        assert [message.attributes["sound"] for message in own] == [SOUNDS[kind] for _, kind, _ in expected]
        starts = [nth for nth, message in enumerate(own) if message.attributes["since"] == 0]
        assert min(np.diff(starts)) >= 0.8 * RATE_HZ / CHUNK - 1


def test_a_chirp_goes_its_way_and_a_tone_stays() -> None:
    features, kinds, since = signals(3, 20, 200)
    for kind, name in enumerate(SOUNDS):
        moves = []
        for signal in range(20):
            for first in np.flatnonzero((since[signal] == 0) & (kinds[signal] == kind)):
                places = features[signal, first : first + 25, 0]
                if len(places) == 25:
                    moves.append(places[-3:].mean() - places[:3].mean())
        if name != "noise":
            low, high = {"tone": (-0.02, 0.02), "rising": (0.2, 2), "falling": (-2, -0.2)}[name]
            assert low < min(moves)
            assert max(moves) < high


def test_three_numbers_tell_place_spread_and_loudness_of_a_spectrum() -> None:
    time_s = np.arange(CHUNK) / RATE_HZ
    low, high = (np.sin(2 * np.pi * hz * time_s).astype(np.float32) for hz in (500, 3000))
    noise = np.random.default_rng(1).standard_normal(CHUNK).astype(np.float32)
    shapes = spectral_shape(np.stack([low, high, 0.1 * high, noise, 0 * low]))
    assert shapes.dtype == np.float32
    assert np.isfinite(shapes).all()
    np.testing.assert_allclose(shapes[:3, 0], [4 * (500 / 4000 - 0.5), 1.0, 1.0], atol=0.02)
    assert max(shapes[:3, 1]) < -0.9 < 0 < shapes[3, 1]
    assert shapes[1, 2] - shapes[2, 2] == pytest.approx(2 / 3, abs=1e-3)
    assert shapes[4, 2] == pytest.approx(-2)


def test_the_network_knows_fresh_sounds_that_nothing_without_a_memory_tells_apart() -> None:
    """0.98 of the chunks from a third of a second into a sound on; from its state alone, without a past, 0.4."""
    network = read_network(MODEL)
    features, kinds, since = signals(1000, 24, 150)
    channels = [f"channel{nth}" for nth in range(24)]
    given = [
        Message({"x": features[nth, chunk]}, name, chunk) for chunk in range(150) for nth, name in enumerate(channels)
    ]
    scores = drive(RecurrentModel(MODEL, rows_max=24, snapshot_every=50), given, batch=24).arrays
    found = np.argmax(np.reshape(scores, (150, 24, 4)), axis=-1).T
    assert (found == kinds)[since >= 10].mean() > 0.95
    alone, _ = network_step(network, features.reshape(-1, 3), np.zeros((24 * 150, *network.state_shape), np.float32))
    assert (alone.argmax(axis=-1) == kinds.ravel())[since.ravel() >= 10].mean() < 0.6


def test_the_committed_network_is_what_its_script_makes() -> None:
    with np.load(MODEL) as file:
        for name, array in arrays_of(made()).items():
            np.testing.assert_allclose(file[name], array, rtol=1e-2, atol=1e-3 * np.abs(array).max(), err_msg=name)


def test_spectra_of_many_channels_are_one_batch() -> None:
    sent = drive(Sounds(4, duration_s=0.2))["signal"]
    node = CupyFunction(spectral_shape, input=f"float32[{CHUNK}]", output="float32[3]", rows_max=4)
    found = drive(node, sent, batch=4).arrays
    np.testing.assert_allclose(found, spectral_shape(np.stack([one.array for one in sent])), atol=1e-6)


def test_a_label_is_the_name_of_the_largest_score() -> None:
    sent = drive(Labels(["a", "b", "c"]), [np.float32([0, 2, 1]), np.float32([5, 2, 1])]).messages
    assert [message.attributes["label"] for message in sent] == ["b", "a"]
    with pytest.raises(InputError, match="Labels"):
        Labels([])


@pytest.mark.parametrize("settings", [{"channels": 0}, {"chunk": 0}, {"rate_hz": 0.0}, {"duration_s": -1.0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="Sounds"):
        Sounds(**settings)  # type: ignore[arg-type]
