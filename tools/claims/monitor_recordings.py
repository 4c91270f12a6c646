"""Recordings: replayed they give the same bits, what could not be kept is counted in the file, others can read them."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.claims.framework import ROOT, AbsentError, Claim, Options, Row, ShortfallError, recording

ROVER = str(ROOT / "tools" / "pictures" / "rover.py")
SECONDS, QUICK_S = 20, 4
SLOW_BYTES = 1 << 15  # so many every 50 ms: a disk of 0.65 MB/s, and the sensors send more
LIMIT_S = 300.0


def _require() -> None:
    try:
        importlib.import_module("mcap.reader")
        importlib.import_module("mcap_protobuf.decoder")
    except ImportError as error:
        raise AbsentError(f"{error.name} is not installed") from None


def _streamflow(folder: Path, *words: object) -> str:
    command = [str(Path(sys.executable).with_name("streamflow")), *map(str, words), "--quiet"]
    environment = os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode:
        raise ShortfallError(f"{' '.join(map(str, words[:2]))}: exit code {done.returncode}: {done.stderr[-300:]}")
    return done.stdout


def _compared(folder: Path, names: dict[str, tuple[str, str]]) -> Iterator[str]:
    for what, (former, latter) in names.items():
        then, now = (folder / former).read_bytes(), (folder / latter).read_bytes()
        if then != now or not then:
            yield f"{what} differ: {len(then):,} and {len(now):,} bytes"


def speech(options: Options) -> Iterator[Row]:
    """Speech in real time through a recurrent model: recorded, and replayed offline and at its pace."""
    _require()
    settings = ("--set", f"wav={recording('silero_vad/test.wav')}",
                "--set", f"model={recording('silero_vad/silero_vad.onnx')}")  # fmt: skip
    pipeline = ROOT / "pipelines" / "speech.py"
    speed = "8" if options.is_quick else "1"
    with tempfile.TemporaryDirectory(prefix="claim-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        live = ("--set", "out=live.jsonl", "--set", "out_probs=live.npy", "--speed", speed)
        _streamflow(folder, "record", pipeline, "a.mcap", *settings, *live, "--report", "report.json")
        told = json.loads((folder / "report.json").read_text())["recording"]
        for mode, words in {"offline": ("--offline",), "at the pace of then": ()}.items():
            out = mode.partition(" ")[0]
            now = ("--set", f"out={out}.jsonl", "--set", f"out_probs={out}.npy")
            _streamflow(folder, "replay", pipeline, "a.mcap", *settings, *now, *words)
            pairs = {"probabilities": ("live.npy", f"{out}.npy"), "segments": ("live.jsonl", f"{out}.jsonl")}
            wrong = list(_compared(folder, pairs))
            measured = (f"{told['kept']:,} of {told['offered']:,} chunks kept; "
                        f"{'; '.join(wrong) or 'probabilities and segments the same'}")  # fmt: skip
            yield Row(f"a live run, replayed {mode}", "the same bits", measured, not wrong and not told["not_kept"])


def cabin(options: Options) -> Iterator[Row]:
    """Four sensors at their own rates, joined; recorded and replayed without a clock."""
    _require()
    seconds = QUICK_S if options.is_quick else SECONDS
    pipeline = ROOT / "pipelines" / "cabin.py"
    with tempfile.TemporaryDirectory(prefix="claim-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        report = ("--report", "report.json")
        started = time.monotonic()
        then = ("--set", f"seconds={seconds}", "--set", "out=then")
        _streamflow(folder, "record", pipeline, "a.mcap", "--offline", *then, *report)
        took_s = time.monotonic() - started
        told = json.loads((folder / "report.json").read_text())["recording"]
        now = ("--set", f"seconds={seconds}", "--set", "out=now")
        _streamflow(folder, "replay", pipeline, "a.mcap", "--offline", *now)
        wrong = list(_compared(folder, {"records": ("then", "now")}))
        size_mb = (folder / "a.mcap").stat().st_size / 1e6
        count = len((folder / "then").read_bytes().splitlines())
        measured = (f"{told['kept']:,} data of {len(told['outputs'])} outputs, {size_mb:.0f} MB in {took_s:.0f} s; "
                    f"{'; '.join(wrong) or f'{count:,} records the same'}")  # fmt: skip
        yield Row("four sensors --offline", "the same bits", measured, not wrong and not told["not_kept"])
        yield _read_by_others(folder / "a.mcap")


def _read_by_others(path: Path) -> Row:
    """With mcap's own reader and the schemas that are in the file."""
    reader = importlib.import_module("mcap.reader").make_reader
    decoder = importlib.import_module("mcap_protobuf.decoder").DecoderFactory
    protobuf = decoder()
    counts: dict[str, int] = {}
    with path.open("rb") as file:
        for schema, channel, message in reader(file).iter_messages():
            decode = json.loads
            if channel.message_encoding != "json":
                decode = protobuf.decoder_for(channel.message_encoding, schema)
            assert decode(message.data)
            counts[schema.name] = counts.get(schema.name, 0) + 1
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
    has_known = any(name.startswith("foxglove.") for name in counts)
    return Row("read by mcap's own reader", "all, with Foxglove's schemas", told, has_known)


def slow(options: Options) -> Iterator[Row]:
    """A disk that is too slow: what was kept and what was not are all that was offered, and nobody waits for it."""
    _require()
    seconds = QUICK_S if options.is_quick else SECONDS // 2
    with tempfile.TemporaryDirectory(prefix="claim-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.mkfifo(folder / "pipe")
        reader = threading.Thread(target=_drip, args=(folder / "pipe", folder / "a.mcap"), daemon=True)
        reader.start()
        words = ("--mailbox", "2", "--duration", seconds, "--report", "report.json", "--drain-timeout", "60")
        _streamflow(folder, "record", ROOT / "pipelines" / "cabin.py", "pipe", *words, "--set", "out=records")
        reader.join(60)
        report = json.loads((folder / "report.json").read_text())
        losses, kept = _losses(folder / "a.mcap")
        edges = report["edges"].items()
        offered = {edge.partition("->")[0]: told["sent"] for edge, told in edges if "->recorder." in edge}
        wrong = [one for one, count in offered.items() if kept.get(one, 0) + losses.get(one, 0) != count]
        missed = sum(path["missed"] + path["dropped"] for path in report["paths"].values() if path["within_ms"])
        totals = f"{sum(offered.values()):,} offered = {sum(kept.values()):,} kept + {sum(losses.values()):,} counted"
        measured = f"{totals} in the file; {len(wrong)} outputs wrong; conserved {report['conserved'] is True}"
        holds = not wrong and sum(losses.values()) > 0 and report["conserved"] is True
        yield Row("a disk that is too slow", "kept + counted = offered", measured, holds)
        produced = sum(path["produced"] for path in report["paths"].values() if path["within_ms"])
        yield Row("its pipeline meanwhile", "", f"{missed} of {produced:,} missed or dropped", None)


def _drip(pipe: Path, copy: Path) -> None:
    with pipe.open("rb") as source, copy.open("wb") as target:
        while part := source.read(SLOW_BYTES):
            target.write(part)
            time.sleep(0.05)


def _losses(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Not kept, and kept, by output: the first as the file's own metadata say, the second as counted in it."""
    open_recording: Any = importlib.import_module("nodes.mcap_files.reader").open_recording
    found = open_recording(path)
    losses = {one["output"]: sum(one["reasons"].values()) for one in found.losses["outputs"]}
    return losses, {name: output.count for name, output in found.outputs.items()}


CLAIMS = [
    Claim("recorded speech", speech),
    Claim("recorded cabin", cabin),
    Claim("recorder too slow", slow),
]
