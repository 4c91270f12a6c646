"""What `streamflow record` says when the run is over, and what it does for a recorder that could not end its file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from nodes.mcap_files.reader import open_recording
from nodes.mcap_files.writer import mend
from nodes.postprocess.mcap_recorder import LOGGER, McapRecorder
from streamflow import InputError
from streamflow.core.graph import Graph

FAILED: Final = "failed"  # a stage that ended before its streams
ENDED_BEFORE: Final = "the recorder ended before the run"


def conclude(path: Path, graph: Graph, report: dict[str, Any]) -> dict[str, Any]:
    """What the file has, by the file itself; what was offered to the recorder, by the run's own accounts.

    A recorder that was killed has not ended the file: that is done here, with the counts it could not write any more.
    `failure` is why the recording failed; what it merely could not keep up with is `not_kept`, and no failure.
    """
    recorder = [stage.name for stage in graph.stages if stage.node == McapRecorder.__name__][-1]
    edges = {f"{edge.source}.{edge.output}": edge.name for edge in graph.edges_into(recorder)}
    sent = {output: report["edges"][name] for output, name in edges.items() if name in report["edges"]}
    offered = sum(edge["sent"] for edge in sent.values())
    told: dict[str, Any] = {
        "file": str(path), "size": None, "offered": offered, "kept": None, "not_kept": None, "reasons": {},
        "outputs": {}, "failure": _failure(recorder, report), "is_whole": False,
    }  # fmt: skip
    if report.get("failure") and not offered:  # it may never have begun, and the file be another's
        return {**told, "failure": report["failure"], "sentence": ""}
    if not path.is_file():
        told["reasons"] = dict(sum((Counter(_dropped(edge)) for edge in sent.values()), Counter()))
        told["not_kept"] = sum(told["reasons"].values())
        parts = [f"{path}: no regular file, what is in it is not looked at"]
        if told["not_kept"]:
            parts.append(f"{told['not_kept']:,} of {offered:,} could not be kept")
        return {**told, "sentence": "; ".join([*parts, *_failed(told["failure"])])}
    try:
        recording = open_recording(path)
        if not recording.is_whole and sent:
            losses = _losses(sent, {name: output.count for name, output in recording.outputs.items()})
            with suppress(OSError):  # it stays as it is, and can be read up to there
                mend(path, {"losses": json.dumps(losses)})
            recording = open_recording(path)
    except InputError as error:
        return {**told, "failure": told["failure"] or error.found, "sentence": f"{error}"}
    kept, counts = recording.count, {name: output.count for name, output in recording.outputs.items()}
    reasons: Counter[str] = Counter()
    for output in recording.losses.get("outputs", ()):
        reasons.update(output["reasons"])
    told |= {"size": path.stat().st_size, "kept": kept, "not_kept": max(offered - kept, 0), "reasons": dict(reasons)}
    told |= {"outputs": counts, "failure": recording.losses.get("failure") or told["failure"]}
    told["is_whole"] = recording.is_whole and not told["not_kept"] and not told["failure"]
    parts = [f"{path}: {kept:,} data of {len(counts)} outputs, {told['size'] / 1e6:,.1f} MB"]
    if told["not_kept"]:
        had_come = sum(max(edge["delivered"] - counts.get(name, 0), 0) for name, edge in sent.items())
        rest = f", {had_come:,} of them had been delivered" if had_come else ""
        parts.append(f"{told['not_kept']:,} of {offered:,} could not be kept{rest}")
    return {**told, "sentence": "; ".join([*parts, *_failed(told["failure"])])}


def _dropped(edge: Mapping[str, Any]) -> dict[str, int]:
    """By a full mailbox, by reason."""
    return {reason: count for reason, count in edge["dropped"].items() if count}


def _failed(failure: str) -> list[str]:
    return [f"the recording failed: {failure}"] if failure else []


def _failure(recorder: str, report: Mapping[str, Any]) -> str:
    """As the run knows it: of a file that cannot be read again, as a pipe."""
    if report["stages"].get(recorder, {}).get("state") == FAILED:
        return ENDED_BEFORE
    own = ("logged", recorder, LOGGER, "error")
    events = report["events"]
    told = [one for one in events if tuple(map(one.get, ("event", "stage", "logger", "level"))) == own]
    return str(told[0]["sentence"]) if told else ""


def _losses(sent: Mapping[str, Mapping[str, Any]], kept: Mapping[str, int]) -> dict[str, Any]:
    """As a recorder would have written it at the end, by what the run knows of its edges."""
    outputs = []
    for name, edge in sent.items():
        reasons = _dropped(edge)
        rest = edge["sent"] - kept.get(name, 0) - sum(reasons.values())
        reasons |= {"lost": rest} if rest > 0 else {}
        not_kept = sum(reasons.values())
        outputs.append(
            {
                "output": name,
                "offered": edge["sent"],
                "kept": kept.get(name, 0),
                "not_kept": not_kept,
                "reasons": reasons,
            }
        )
    totals = {what: sum(one[what] for one in outputs) for what in ("offered", "kept", "not_kept")}
    return {**totals, "outputs": outputs, "failure": ENDED_BEFORE}
