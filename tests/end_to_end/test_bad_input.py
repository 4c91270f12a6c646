"""Bad input through the command line: one sentence each, before anything starts where a look at the file tells."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zmq

from streamflow.core.message import Message
from streamflow.wire.packets import PROTOCOL_VERSION, Data, Goodbye, Hello, Packet, Refuse, decode, encode
from tests.end_to_end.project import Project, eventually

MODELS = Path(__file__).resolve().parent.parent / "models"

INGEST = """
from nodes.infer import OnnxModel
from nodes.ingest import CsvFile, Hdf5File, Tone, UdpDatagrams, VideoFile, WavFile
from nodes.postprocess import JsonLines


def into_log(name: str, node: Node, out: str = "out.jsonl") -> Pipeline:
    p = Pipeline(name)
    p.connect(p.add("source", node), p.add("log", JsonLines(out)))
    return p
"""

ALL_AT_ONCE = (
    INGEST
    + """
def build() -> Pipeline:
    p = Pipeline("bad")
    sources = {
        "missing": WavFile("none.wav", chunk=512),
        "empty_wav": WavFile("empty", chunk=512),
        "text_wav": WavFile("text", chunk=512),
        "empty_video": VideoFile("empty"),
        "text_video": VideoFile("text"),
        "cut_video": VideoFile("cut.mp4"),
        "empty_hdf5": Hdf5File("empty", {"x": "x"}, rate_hz=100),
        "text_hdf5": Hdf5File("text", {"x": "x"}, rate_hz=100),
        "cut_hdf5": Hdf5File("cut.hdf5", {"x": "x"}, rate_hz=100),
        "no_field": Hdf5File("good.hdf5", {"x": "imu_acc"}, rate_hz=100),
        "empty_csv": CsvFile("empty", rate_hz=100),
        "no_column": CsvFile("good.csv", columns=["c"], rate_hz=100),
    }
    for number, (name, node) in enumerate(sources.items()):
        p.connect(p.add(name, node), p.add(f"log{number}", JsonLines("out.jsonl")))
    tone = p.add("tone", Tone(duration_s=1, chunk=512))
    for name, path in {"missing_model": "none.onnx", "empty_model": "empty", "text_model": "text"}.items():
        p.connect(tone.signal, p.add(name, OnnxModel(path)))
    p.connect(tone.signal, p.add("nowhere", JsonLines("no/such/folder/out.jsonl")))
    return p
"""
)


@pytest.fixture
def files(project: Project) -> Project:
    """The project with good and bad files of every kind."""
    h5py = pytest.importorskip("h5py")
    soundfile = pytest.importorskip("soundfile")
    av = pytest.importorskip("av")
    folder = project.folder
    (folder / "empty").touch()
    (folder / "text").write_text("neither sound nor picture nor table\n" * 20)
    (folder / "good.csv").write_text("a,b\n1,2\n3,4\n")
    (folder / "bad.csv").write_text("a,b\n1,2\n3,four\n5,6\n")
    sound = np.sin(np.arange(16_000) / 10).astype(np.float32)
    soundfile.write(folder / "good.wav", sound, 16_000, subtype="PCM_16")
    soundfile.write(folder / "slow.wav", sound, 8_000, subtype="PCM_16")
    (folder / "cut.wav").write_bytes((folder / "good.wav").read_bytes()[:20_001])
    with h5py.File(folder / "good.hdf5", "w") as file:
        file["x"] = np.zeros((100, 3))
        file["y"] = np.where(np.arange(12)[:, None] == [4, -1, -1], np.nan, np.arange(12.0)[:, None])
    (folder / "cut.hdf5").write_bytes((folder / "good.hdf5").read_bytes()[:1500])
    with av.open(folder / "good.mp4", "w") as video:
        stream = video.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
        for level in range(20):
            picture = np.full((48, 64, 3), 10 * level, np.uint8)
            video.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        video.mux(stream.encode(None))
    (folder / "cut.mp4").write_bytes((folder / "good.mp4").read_bytes()[:1000])
    return project


def test_every_bad_file_is_told_at_once_before_anything_starts(files: Project) -> None:
    ended = files.run(files.pipeline(ALL_AT_ONCE))
    assert ended.code == 2
    assert ended.stderr.count("\n") == len(ended.sentences)
    told = dict(sentence.removeprefix("stage ").split(": ", 1) for sentence in ended.sentences)
    beginnings = {
        "missing": "none.wav: No such file",
        "empty_wav": "empty: is empty, expected a WAV",
        "text_wav": "text: cannot be read",
        "empty_video": "empty: is empty, expected a video",
        "text_video": "text: cannot be read",
        "cut_video": "cut.mp4: cannot be read",
        "empty_hdf5": "empty: is empty, expected an HDF5",
        "text_hdf5": "text: cannot be read",
        "cut_hdf5": "cut.hdf5: cannot be read (Unable to synchronously open file (truncated file",
        "no_field": "good.hdf5: ",
        "empty_csv": "empty: is empty, expected a CSV",
        "no_column": "good.csv: has no column named c",
        "missing_model": "none.onnx: cannot be read (No such file",
        "empty_model": "empty: empty, expected an ONNX model",
        "text_model": "text: not an ONNX model",
        "nowhere": "no/such/folder/out.jsonl: its folder does not exist",
    }
    assert list(told) == list(beginnings)
    for stage, beginning in beginnings.items():
        assert told[stage].startswith(beginning), told[stage]
    assert not (files.folder / "out.jsonl").exists()


BAD_ROW = (
    INGEST
    + """
def build() -> Pipeline:
    return into_log("row", CsvFile("bad.csv", rate_hz=100))
"""
)


@pytest.mark.parametrize("place", [[], ["--inline"]], ids=["processes", "inline"])
def test_a_bad_row_ends_the_run_with_its_number_and_the_rows_before_are_kept(files: Project, place: list[str]) -> None:
    ended = files.run(files.pipeline(BAD_ROW), "--offline", *place, "--quiet")
    assert ended.code == 1
    assert ended.stderr == "streamflow: stage source: bad.csv, row 3, column b: is 'four', expected a number\n"
    lines = (files.folder / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["array"] for line in lines] == [[[1, 2]]]


def test_sound_that_was_cut_off_is_told_before_anything_starts(files: Project) -> None:
    body = (
        INGEST
        + """
def build() -> Pipeline:
    return into_log("cut", WavFile("cut.wav", chunk=512))
"""
    )
    ended = files.run(files.pipeline(body))
    assert ended.code == 2
    assert ended.sentence.startswith("stage source: cut.wav: has 19957 bytes of sound, expected the 32000")


NOT_A_NUMBER = (
    INGEST
    + """
def build(nan: str) -> Pipeline:
    return into_log("nan", Hdf5File("good.hdf5", {"y": "y"}, rate_hz=100, nan=nan))
"""
)


@pytest.mark.parametrize(
    ("rule", "fourth"), [("pass", [[3], [None], [5]]), ("drop", [[3], [5]]), ("hold", [[3], [3], [5]])]
)
def test_a_row_that_is_not_a_number_is_passed_dropped_or_held_as_declared(
    files: Project, rule: str, fourth: list[list[float | None]]
) -> None:
    reference = files.pipeline(NOT_A_NUMBER)
    ended = files.run(reference, "--offline", "--inline", "--quiet", "--set", f"nan={rule}")
    assert ended.code == 0, ended.stderr
    rows = [json.loads(line)["y"] for line in (files.folder / "out.jsonl").read_text().splitlines()]
    assert [[row[0][0]] for row in rows[3 : 3 + len(fourth)]] == fourth


MISMATCHED = (
    INGEST
    + """
def build(folder: str) -> Pipeline:
    p = Pipeline("mismatched")
    mic = p.add("mic", WavFile("slow.wav", chunk=8))
    p.connect(mic, p.add("fast", OnnxModel(f"{folder}/echo.onnx", rate_hz=16_000)))
    pair = p.add("pair", OnnxModel(f"{folder}/weighted_pair.onnx"))
    p.connect(mic, pair.left)
    p.connect(mic, pair.write)
    return p
"""
)


def test_a_model_that_does_not_fit_what_is_connected_is_told_before_anything_starts(files: Project) -> None:
    ended = files.run(files.pipeline(MISMATCHED), "--set", f"folder={MODELS}")
    assert ended.code == 2
    told = "\n".join(ended.sentences)
    assert "8000 Hz sent, 16000 Hz expected" in told
    assert "float32[8] sent, float32[1, 4] expected" in told
    assert "OnnxModel has no input write, expected one of left, right, gain" in told
    assert "input pair.gain: not connected" in told  # one wrong edge does not account for two open inputs


def test_sound_of_another_rate_than_the_speech_model_s_is_refused(
    files: Project, recordings: Callable[[str], Path]
) -> None:
    model = recordings("silero_vad/silero_vad.onnx")
    ended = files.run("pipelines.speech", "--set", "wav=slow.wav", "--set", f"model={model}")
    assert ended.code == 2
    assert "8000 Hz" in ended.sentence
    assert "16000 Hz" in ended.sentence


def test_a_port_that_is_taken_is_told_by_the_stage_that_wants_it(project: Project) -> None:
    body = (
        INGEST
        + """
def build(port: int) -> Pipeline:
    p = Pipeline("udp")
    source = p.add("source", UdpDatagrams(port))
    p.connect(source.arrays, p.add("log", JsonLines("out.jsonl")))
    p.connect(source.malformed, p.add("malformed", JsonLines("malformed.jsonl")))
    return p
"""
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        ended = project.run(project.pipeline(body), "--quiet", "--set", f"port={port}")
    assert ended.code == 1
    assert ended.sentence.startswith(f"stage source: UdpDatagrams 127.0.0.1:{port}: ")


def test_a_disk_that_fills_is_told(project: Project) -> None:
    body = (
        INGEST
        + """
def build() -> Pipeline:
    return into_log("full", Numbers(10), out="/dev/full")
"""
    )
    ended = project.run(project.pipeline(body), "--offline", "--inline", "--quiet")
    assert ended.code == 1
    assert ended.sentence.startswith("stage log: /dev/full: the disk is full")


def test_a_report_that_cannot_be_written_is_told(project: Project) -> None:
    reference = project.pipeline(LINE)
    ended = project.run(reference, "--report", "no/such/folder/report.json")
    assert (ended.code, ended.sentence) == (2, "--report no/such/folder/report.json: its folder does not exist")
    assert not (project.folder / "kept.txt").exists()
    ended = project.run(reference, "--inline", "--offline", "--quiet", "--report", "/dev/full")
    assert (ended.code, ended.sentence) == (1, "--report /dev/full: cannot be written: No space left on device")
    assert project.kept("kept.txt").is_closed


def test_a_temporary_folder_whose_name_is_too_long_for_sockets_is_told(project: Project) -> None:
    temporary = project.folder / ("long" * 30)
    temporary.mkdir()
    ended = project.run(project.pipeline(LINE), temporary=temporary)
    assert ended.code == 1
    assert "a socket path that is too long" in ended.sentence
    assert "set TMPDIR to a shorter one" in ended.sentence


LINE = """
def build() -> Pipeline:
    p = Pipeline("line")
    p.connect(p.add("source", Numbers(1000)), p.add("sink", Keep("kept.txt")))
    return p
"""


def test_a_stranger_at_a_running_run_s_socket_is_refused_and_disturbs_nobody(project: Project) -> None:
    report = project.folder / "report.json"
    run = project.start("run", project.pipeline(LINE), "--quiet", "--report", report)
    kept = project.folder / "kept.txt"
    eventually(lambda: kept.exists() and "got" in kept.read_text())
    edge, datum = "source.number->sink.data", Message({"array": np.int64(7)[...]}, "source", 3)
    strangers: list[list[bytes | memoryview]] = [
        [b"\xc1 no header"],
        [b""],
        encode(Hello(0, edge, "another", 0)),
        encode(Hello(PROTOCOL_VERSION, edge, "another pipeline's", 0)),
        encode(Hello(PROTOCOL_VERSION, "other->edge", "another", 0)),
        encode(Data(0, datum)),
        encode(Goodbye()),
    ]
    with zmq.Context() as context:
        answers = [answer_to(context, f"ipc://{run.folder}/e0g0", frames) for frames in strangers]
        answer_to(context, f"ipc://{run.folder}/control", [b"\xc1 no telegram"], is_answered=False)
    assert all(isinstance(answer, Refuse) for answer in answers)
    reasons = [answer.reason for answer in answers if isinstance(answer, Refuse)]
    assert reasons[2].startswith(f"protocol version 0, expected {PROTOCOL_VERSION}")
    assert reasons[3].startswith("schema another pipeline's, expected ")
    assert reasons[5] == "a Data without a hello"
    ended = run.wait()
    assert (ended.code, ended.stderr) == (0, "")
    assert project.kept("kept.txt").numbers == list(range(1000))
    told = json.loads(report.read_text())
    assert told["conserved"] is True
    assert sum(edge["strangers"] for edge in told["edges"].values()) == len(answers)


def answer_to(
    context: zmq.Context[zmq.Socket[bytes]],
    endpoint: str,
    frames: list[bytes | memoryview],
    *,
    is_answered: bool = True,
) -> Packet | None:
    """What the one who listens there answers to a stranger's frames."""
    with context.socket(zmq.DEALER) as stranger:
        stranger.linger = 1000
        stranger.connect(endpoint)
        stranger.send_multipart(frames)
        if not is_answered:
            return None
        assert stranger.poll(10_000), f"no answer to {frames}"
        return decode(stranger.recv_multipart())
