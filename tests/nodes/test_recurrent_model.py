"""Recurrent networks with states on a device: each stream as by itself, whatever is batched, evicted or missing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from nodes.infer import RecurrentModel, recurrent_slab
from nodes.infer.recurrent_cells import NumpyCells
from nodes.kernels.recurrent import SOURCE, Cell, Network
from streamflow import Eviction, InputError, Message, OnGap, ms
from streamflow.device.contract import Capabilities, Device, DeviceError, DeviceLostError, Kernel, WorkError
from streamflow.device.cuda import CudaDevice
from streamflow.device.host import Delays, HostDevice, HostQueue
from streamflow.testing import Driven, drive
from streamflow.testing.device_faults import DeviceFaults, FaultyDevice
from tests.device.cuda_on_host import COMPILER, HostKernel, parameters_of
from tests.marks import on_gpu
from tests.nodes.recurrent_streams import OnAnyDevice, Streams, network, state_dict

SLOW = Delays(launch_ns=2 * ms, copy_ns=ms)
TOLERANCE = 1e-5
WARM_UP_TICKETS = 8  # two of each size that is tried when the node opens


class QuickGraphs(HostDevice):
    """What is launched takes its time, and a graph of it does not. Said to have kernels, else nothing is tried."""

    capabilities = Capabilities(is_async=True, has_graphs=True, has_ipc=False, has_kernels=True, in_flight_max=2)

    def __init__(self) -> None:
        super().__init__(Delays(launch_ns=ms))

    def queue(self, priority: int = 0) -> HostQueue:
        queue = super().queue(priority)

        def replay(graph: Any) -> None:
            queue._given.put((lambda: graph.work(*graph.arrays), 0))

        queue.replay = replay  # type: ignore[method-assign]
        return queue


class KernelsOnHost(QuickGraphs):
    """Has kernels, and runs them."""

    def kernel(self, source: str, name: str, constants: Mapping[str, int]) -> Kernel:
        assert source == SOURCE.read_text()
        key = (name, *constants.values())
        if key not in self._compiled:
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            self._compiled[key] = HostKernel(SOURCE, name, constants, parameters_of(SOURCE, name), folder)
        return self._compiled[key]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._compiled: dict[tuple[Any, ...], HostKernel] = {}


def data(stream: str, seqs: Sequence[int], inputs: int = 5) -> list[Message]:
    """Each with numbers of its own."""
    found = []
    for seq in seqs:
        x = np.random.default_rng([*stream.encode(), seq]).standard_normal(inputs).astype(np.float32)
        found.append(Message({"x": x}, stream, seq, seq * 10 * ms))
    return found


def interleaved(streams: Sequence[str], count: int, missing: frozenset[int] = frozenset()) -> list[Message]:
    """So many of each, in an order of chance that keeps each stream's."""
    random = np.random.default_rng(5)
    left = {stream: data(stream, [seq for seq in range(count) if seq not in missing]) for stream in streams}
    found = []
    while left:
        stream = str(random.choice(sorted(left)))
        found.append(left[stream].pop(0))
        if not left[stream]:
            del left[stream]
    return found


def require_exact(
    sent: Driven | Sequence[Message], given: Sequence[Message], streams: Streams, repeats: int = 0
) -> None:
    """Each result is what its stream has by itself; `gap` says how many are missing, of which so many are repeated."""
    messages = sent.messages if isinstance(sent, Driven) else sent
    by_name = {(message.stream, message.seq): message for message in given}
    assert len(messages) == len(by_name)
    for result in messages:
        marks = result.attributes
        if marks.get("gap_action") == "reset":
            streams.begin_anew(result.stream)
        again = min(int(marks.get("gap", 0)), repeats) if marks.get("gap_action") == "repeat" else 0
        expected = streams.step(result.stream, by_name[result.stream, result.seq].array, again)
        np.testing.assert_allclose(result.array, expected, atol=TOLERANCE)


NETWORKS = pytest.mark.parametrize(
    "made", [network(), network(outputs=3), network(Cell.LSTM, layers=2, outputs=2)], ids=["gru", "head", "lstm2"]
)


def require_as_alone(made: Network, device: Device, every: int, batch: int | None) -> RecurrentModel:
    given = interleaved("abcdefgh", 12, missing=frozenset({5, 6}))
    node = OnAnyDevice(made, device, snapshot_every=every, rows_max=8, on_gap=OnGap.REPEAT)
    require_exact(drive(node, given, batch=batch), given, Streams(made), repeats=8)
    return node


@NETWORKS
@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("batch", [None, 1, 3, 8])
def test_each_stream_of_a_batch_is_as_it_is_alone(made: Network, every: int, batch: int | None) -> None:
    require_as_alone(made, HostDevice(Delays(launch_ns=200_000)), every, batch)


@NETWORKS
@pytest.mark.parametrize("name", [pytest.param("cuda", marks=on_gpu)])
def test_so_it_is_on_a_gpu(made: Network, name: str) -> None:
    device = CudaDevice()
    require_as_alone(made, device, every=4, batch=3)
    device.close()


@NETWORKS
def test_a_graph_serves_all_batches_that_it_has_room_for_and_its_other_rows_are_nobody_s(
    made: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of one to eight, as the streams come; what REPEAT steps with before them is launched."""
    monkeypatch.setattr(recurrent_slab, "cells_of", lambda device, queue, network, rows_max: NumpyCells(network))
    node = require_as_alone(made, QuickGraphs(), every=4, batch=8)
    launches = node.device_report()["launches"]
    assert [(one["rows"], one["way"]) for one in launches] == [(size, "graph") for size in (1, 2, 4, 8)]


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("made", [network(Cell.LSTM, layers=2, outputs=3), network(hidden=33)], ids=["lstm2", "gru"])
def test_kernels_make_the_same_steps_as_numpy(made: Network, tmp_path: Path) -> None:
    given, device = interleaved("abcdef", 6, missing=frozenset({3})), KernelsOnHost(tmp_path)
    settings: dict[str, Any] = {"snapshot_every": 3, "rows_max": 2, "on_gap": OnGap.REPEAT}
    sent = drive(OnAnyDevice(made, device, **settings), given, batch=2, states=tmp_path / "x")
    streams = Streams(made)
    require_exact(sent, given, streams, repeats=8)
    more = data("c", range(6, 9))
    again = OnAnyDevice(made, device, **settings)
    require_exact(drive(again, more, states=tmp_path / "x", generation=1), more, streams)


def test_who_was_evicted_begins_anew_and_who_took_its_place_has_a_state_of_its_own() -> None:
    made = network()
    given = [*data("a", [0, 1]), *data("b", [0]), *data("c", [0, 1]), *data("b", [1]), *data("a", [2]), *data("c", [2])]
    node = OnAnyDevice(made, HostDevice(SLOW), streams_max=2, eviction=Eviction.LEAST_RECENTLY_USED, snapshot_every=10)
    results = drive(node, given, batch=1).messages
    streams = Streams(made)
    evicted_before = {("a", 2), ("c", 2)}  # c took a's slot, a that of c, and c that of b
    for result, message in zip(results, given, strict=True):
        if (message.stream, message.seq) in evicted_before:
            streams.begin_anew(message.stream)
        np.testing.assert_allclose(result.array, streams.step(message.stream, message.array), atol=TOLERANCE)


@pytest.mark.parametrize("on_gap", [OnGap.FREEZE, OnGap.REPEAT])
def test_gaps_are_marked_and_filled_as_declared(on_gap: OnGap) -> None:
    made = network(Cell.LSTM)
    given = [*data("a", [0, 1, 5, 6]), *data("b", [0, 2, 3]), *data("a", [8, 30])]
    node = OnAnyDevice(made, HostDevice(SLOW), on_gap=on_gap, max_gap=200 * ms, rows_max=4)
    sent = drive(node, given, batch=4)
    require_exact(sent, given, Streams(made), repeats=8)
    told = [(one.seq, one.attributes.get("gap"), one.attributes.get("gap_action")) for one in sent.messages]
    word = on_gap.value
    assert [one for one in told if one[1] is not None] == [(5, 3, word), (2, 1, word), (8, 1, word), (30, 21, "reset")]


def test_gaps_of_several_streams_in_one_batch_are_each_its_own() -> None:
    made = network()
    given = [*data("a", [0]), *data("b", [0]), *data("c", [0]), *data("a", [1]), *data("b", [4]), *data("c", [3])]
    sent = drive(OnAnyDevice(made, HostDevice(SLOW), on_gap=OnGap.REPEAT), given, batch=3)
    require_exact(sent, given, Streams(made), repeats=8)
    assert [one.attributes.get("gap", 0) for one in sent.messages] == [0, 0, 0, 0, 3, 2]


def test_what_comes_again_is_not_stepped_with_again() -> None:
    made = network()
    a, b = data("a", range(4)), data("b", range(3))
    sent = drive(OnAnyDevice(made, HostDevice()), [a[0], b[0], a[0], b[1], a[0], b[0], a[1], b[2]], batch=2)
    assert [(one.stream, one.seq) for one in sent.messages] == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("b", 2)]
    require_exact(sent, [a[0], b[0], b[1], a[1], b[2]], Streams(made))


def test_a_batch_may_be_given_while_the_one_before_is_under_way() -> None:
    """What each reads and writes is the device's until its turn: a state or a buffer that is used too early shows."""
    made, streams = network(outputs=2), Streams(network(outputs=2))
    node = OnAnyDevice(made, HostDevice(SLOW), stays_open=True, snapshot_every=2, streams_max=8)
    drive(node, [])

    async def run() -> None:
        batches = [[*data("a", [seq]), *data("bcd"[seq % 3], [seq // 3])] for seq in range(12)]
        given = [node.process_batch(batches[0])]
        for nth, batch in enumerate(batches):
            given += [node.process_batch(following) for following in batches[nth + 1 : nth + 2]]
            for message, result in zip(batch, await given[nth], strict=True):
                np.testing.assert_allclose(result, streams.step(message.stream, message.array), atol=TOLERANCE)

    trio.run(run)


@pytest.mark.parametrize("on_gap", [OnGap.FREEZE, OnGap.REPEAT])
@pytest.mark.parametrize(("every", "batch"), [(1, None), (4, 3)])
def test_a_datum_that_is_not_a_number_spoils_its_own_result_alone(
    every: int, batch: int | None, on_gap: OnGap, tmp_path: Path
) -> None:
    """What comes next goes on from exactly the state that it says it has; so does another run."""
    made, given = network(outputs=2), interleaved("abc", 12)
    spoilt = next(message for message in given if (message.stream, message.seq) == ("b", 6))
    spoilt.array[2] = np.nan
    more = data("b", [12])
    node = OnAnyDevice(made, HostDevice(), snapshot_every=every, rows_max=3, on_gap=on_gap)
    sent = drive(node, given, batch=batch, states=tmp_path / "x").messages
    later = OnAnyDevice(made, HostDevice(), on_gap=on_gap)
    sent += drive(later, more, states=tmp_path / "x", generation=1).messages
    streams, states = Streams(made), dict[tuple[str, int], Any]()
    by_name = {(message.stream, message.seq): message.array for message in (*given, *more)}
    for result in sent:
        missing = int(result.attributes.get("gap", 0))
        assert missing <= (every if result.seq == 7 and result.stream == "b" else 0)
        if "nan_state" in result.attributes:
            assert (result.stream, result.seq) == ("b", 6)
            continue
        before = result.seq - missing - 1
        if missing and result.attributes["gap_action"] == "repeat":
            streams.step(result.stream, by_name[result.stream, before])
        streams.set_state(result.stream, states.get((result.stream, before)))
        again = missing if result.attributes.get("gap_action") == "repeat" else 0
        expected = streams.step(result.stream, by_name[result.stream, result.seq], again)
        states[result.stream, result.seq] = streams.state(result.stream)
        np.testing.assert_allclose(result.array, expected, atol=TOLERANCE)
    assert len(sent) == len(by_name)


def test_more_batches_than_there_is_room_for_are_refused() -> None:
    node = OnAnyDevice(network(), HostDevice(SLOW), stays_open=True)
    drive(node, [])

    async def run() -> None:
        given = [node.process_batch(data("a", [seq])) for seq in range(3)]
        with pytest.raises(DeviceError, match="recurrent states: a batch more under way, expected 2 at most"):
            node.process_batch(data("a", [3]))
        for one in given:
            await one

    trio.run(run)


class Life:
    """A life of a stage that may be killed: what is not in the file then is gone."""

    def __init__(self, made: Network, path: Path, **settings: Any) -> None:
        self.node = OnAnyDevice(made, HostDevice(), stays_open=True, **settings)
        self._path = path
        self._is_begun = False

    def results(self, given: Sequence[Message]) -> list[Any]:
        if not self._is_begun:
            self._is_begun = True
            drive_without_end(self.node, self._path)

        async def one_by_one() -> list[Any]:
            return [await node.process(message) for message in given]

        node = self.node
        return trio.run(one_by_one)


def drive_without_end(node: OnAnyDevice, path: Path) -> None:
    flush = node.flush
    node.flush = _nothing  # type: ignore[method-assign]
    drive(node, [], states=path)
    node.flush = flush  # type: ignore[method-assign]


async def _nothing() -> None:
    """It is not told that its input has ended."""


@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 2, 6, 7, 13])
def test_a_life_that_dies_loses_no_more_steps_than_are_between_snapshots(
    every: int, count: int, tmp_path: Path
) -> None:
    """And the next goes on from exactly the state that it says it has, with the rest marked."""
    made, given = network(outputs=2), data("a", range(count + 3))
    Life(made, tmp_path / "x", snapshot_every=every).results(given[:count])
    later = Life(made, tmp_path / "x", snapshot_every=every).results(given[count:])
    marks = getattr(later[0], "attributes", {})
    lost = int(marks.get("gap", 0))
    assert lost <= (every if every > 1 else 0)
    assert marks.get("gap_action") == ("freeze" if lost else None)
    streams = Streams(made)
    for message in given[: count - lost]:
        streams.step("a", message.array)
    for message, result in zip(given[count:], later, strict=True):
        value = getattr(result, "value", result)
        np.testing.assert_allclose(value, streams.step("a", message.array), atol=TOLERANCE)


def test_at_its_end_a_run_commits_what_no_snapshot_was_taken_of(tmp_path: Path) -> None:
    made, given = network(), interleaved("abcdefg", 6)
    more = interleaved("abcdefg", 9)
    node = OnAnyDevice(made, HostDevice(SLOW), snapshot_every=100, rows_max=3)
    first = drive(node, given, batch=3, states=tmp_path / "x").messages
    rest = [message for message in more if message.seq >= 6]
    again = OnAnyDevice(made, HostDevice(), rows_max=3)
    second = drive(again, rest, batch=3, states=tmp_path / "x", generation=1).messages
    require_exact([*first, *second], [*given, *rest], Streams(made))


def test_another_device_goes_on_from_what_the_one_before_has_committed(tmp_path: Path) -> None:
    made, given = network(), data("a", range(10))
    device = FaultyDevice(HostDevice(), DeviceFaults(lost_at=WARM_UP_TICKETS + 2 * 4))
    with pytest.raises(DeviceLostError):
        drive(OnAnyDevice(made, device), given, states=tmp_path / "x")
    sent = drive(OnAnyDevice(made, HostDevice()), given, states=tmp_path / "x", generation=1).messages
    assert [message.seq for message in sent] == [4, 5, 6, 7, 8, 9], "what was committed is not stepped with again"
    streams = Streams(made)
    expected = [streams.step("a", message.array) for message in given]
    np.testing.assert_allclose([message.array for message in sent], expected[4:], atol=TOLERANCE)


@pytest.mark.parametrize("ticket", [0, 1], ids=["of the steps", "of the snapshot"])
def test_of_work_that_fails_nothing_is_committed(ticket: int, tmp_path: Path) -> None:
    made, given = network(), data("a", range(3))
    device = FaultyDevice(HostDevice(), DeviceFaults(raises=frozenset({WARM_UP_TICKETS + 2 + ticket})))
    with pytest.raises(WorkError):
        drive(OnAnyDevice(made, device), given, states=tmp_path / "x")
    sent = drive(OnAnyDevice(made, HostDevice()), given, states=tmp_path / "x", generation=1).messages
    assert [message.seq for message in sent] == [1, 2]


def test_nothing_is_allocated_once_it_is_open() -> None:
    made, device = network(outputs=2), HostDevice()
    node = OnAnyDevice(made, device, stays_open=True, snapshot_every=3, on_gap=OnGap.REPEAT)
    drive(node, [])
    before = device.allocation_count()

    async def run() -> None:
        for seq in (0, 1, 2, 5, 6):
            await node.process_batch([message for stream in "abc" for message in data(stream, [seq])])

    trio.run(run)
    assert device.allocation_count() == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"on_gap": OnGap.TRUE_DT}, "TRUE_DT, expected what a cell that is not told the time can do"),
        ({"snapshot_every": 0}, r"RecurrentModel\(snapshot_every\): 0, expected a whole number of 1 or more"),
        ({"rows_max": 1.5}, r"RecurrentModel\(rows_max\): 1.5"),
        ({"max_gap": 0}, "a gap of 0 ns"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        RecurrentModel(network(), **settings)


def test_the_batch_of_its_stage_comes_before_its_own() -> None:
    given = [message for stream in "abc" for message in data(stream, [0])]
    at_once = drive(RecurrentModel(network(), rows_max=2), given, batch=3)
    one_by_one = drive(RecurrentModel(network(), rows_max=1), given)
    for found, expected in zip(at_once.messages, one_by_one.messages, strict=True):
        np.testing.assert_allclose(found.array, expected.array, rtol=1e-6)


@pytest.mark.parametrize("batch", [None, 2])
def test_a_stream_too_many_has_no_results_and_the_others_have_theirs(batch: int | None) -> None:
    a, b = data("a", range(3)), data("b", range(3))
    given = [datum for pair in zip(a, b, strict=True) for datum in pair]
    require_exact(drive(RecurrentModel(network(), streams_max=1), given, batch=batch), a, Streams(network()))


@pytest.mark.parametrize("made", [network(), network(Cell.LSTM, layers=3, outputs=4)], ids=["gru", "lstm3"])
def test_a_file_of_weights_is_the_network_that_it_was_made_of(made: Network, tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", **state_dict(made))
    node = RecurrentModel(tmp_path / "net.npz")
    node.inspect()
    assert (str(node.input.type), str(node.output.type)) == ("float32[5]", f"float32[{made.outputs}]")
    given = data("a", range(4))
    require_exact(drive(node, given), given, Streams(made))


def test_weights_without_biases_have_none(tmp_path: Path) -> None:
    weights = {name: array for name, array in state_dict(network()).items() if not name.startswith("bias")}
    np.savez(tmp_path / "net.npz", **weights)
    zeros = {name: 0 * array for name, array in state_dict(network()).items() if name.startswith("bias")}
    np.savez(tmp_path / "zeros.npz", **weights, **zeros)
    first, second = (
        drive(RecurrentModel(tmp_path / name), data("a", range(3))).arrays for name in ("net.npz", "zeros.npz")
    )
    np.testing.assert_array_equal(first, second)


Change = Mapping[str, Any]
X = np.zeros((2, 2), np.float32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight_ih_l0": None}, "no weight_ih_l0 among weight_hh_l0, bias_ih_l0, bias_hh_l0"),
        ({"weight_hh_l0": None}, "no weight_hh_l0, expected one beside weight_ih_l0"),
        ({"weight_hh_l0": X}, r"weight_hh_l0 is \[2, 2\], expected \[3 \* hidden, hidden\] of a GRU, or"),
        ({"weight_ih_l0": X}, r"weight_ih_l0 is \[2, 2\], expected \[21, inputs\], as weight_hh_l0 says"),
        ({"bias_hh_l0": X[0]}, r"bias_hh_l0 is \[2\], expected \[21\]"),
        ({"weight_ih_l0_reverse": X}, "weight_ih_l0_reverse, which is not known.*networks of one direction"),
        ({"scale": X}, "scale, which is not known, expected bias_hh_l0, bias_ih_l0, head_bias, head_weight"),
        ({"head_weight": X}, r"head_weight is \[2, 2\], expected \[outputs, 7\]"),
        ({"head_bias": X[0]}, "head_bias without head_weight"),
        ({"head_weight": np.zeros((2, 7), np.float32)}, r"head_bias is missing, expected \[2\]"),
        ({"bias_ih_l0": np.zeros(21, np.int64)}, "bias_ih_l0 is of dtype int64, expected floating-point numbers"),
        ({"bias_ih_l0": np.full(21, np.nan, np.float32)}, "bias_ih_l0 has NaN or infinite values"),
        ({"bias_ih_l0": np.full(21, 1e300)}, "bias_ih_l0 has values beyond those of float32"),
        ({"bias_ih_l0": None}, "bias_hh_l0 is the only bias of layer 0, expected bias_ih and bias_hh, or neither"),
        ({"bias_hh_l0": None}, "bias_ih_l0 is the only bias of layer 0"),
        ({"bias_hh_l0": np.array([None] * 21)}, "bias_hh_l0 is no array of numbers, expected an .npz file"),
    ],
)  # fmt: skip
def test_weights_that_are_no_network_are_told_before_the_start(change: Change, words: str, tmp_path: Path) -> None:
    weights = {name: array for name, array in {**state_dict(network()), **change}.items() if array is not None}
    np.savez(tmp_path / "net.npz", **weights)
    with pytest.raises(InputError, match=words):
        RecurrentModel(tmp_path / "net.npz").inspect()


def test_what_is_no_such_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("not one")
    np.save(tmp_path / "one.npy", np.zeros(3))
    for name, words in (("none.npz", "cannot be read"), ("text.npz", "is none, "), ("one.npy", "a single array")):
        with pytest.raises(
            InputError, match=f"{name}: {words}.*expected an .npz file with the weights of a GRU or LSTM"
        ):
            RecurrentModel(tmp_path / name).inspect()
