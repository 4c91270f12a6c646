"""What `streamflow record` says when the run is over, and what it does for a recorder that could not end its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nodes.mcap_files.reader import open_recording
from nodes.mcap_files.writer import mend
from streamflow import InputError
from streamflow.core.graph import Graph


def conclude(path: Path, graph: Graph, report: dict[str, Any]) -> dict[str, Any]:
    """What the file has, by the file itself; what was offered to the recorder, by the run's own accounts.

    A recorder that was killed has not ended the file: that is done here, with the counts it could not write any more.
    """
    told: dict[str, Any] = {"file": str(path), "offered": 0, "kept": None, "not_kept": None, "is_whole": False}
    edges = {f"{edge.source}.{edge.output}": edge.name for edge in graph.edges if edge.target in graph.observers}
    sent = {output: report["edges"][name] for output, name in edges.items() if name in report["edges"]}
    told["offered"] = sum(edge["sent"] for edge in sent.values())
    if not path.is_file():
        return {**told, "sentence": f"{path}: no regular file; what is in it is not looked at"}
    try:
        recording = open_recording(path)
        if not recording.is_whole and sent:
            losses = _losses(sent, {name: output.count for name, output in recording.outputs.items()})
            with suppress(OSError):  # it stays as it is, and can be read up to there
                mend(path, {"losses": json.dumps(losses)})
            recording = open_recording(path)
    except InputError as error:
        return {**told, "sentence": f"{error}"}
    kept = recording.count
    told |= {"kept": kept, "not_kept": max(told["offered"] - kept, 0), "is_whole": recording.is_whole}
    told["outputs"] = {name: output.count for name, output in recording.outputs.items()}
    told["failure"] = recording.losses.get("failure", "")
    parts = [f"{path}: {kept:,} data of {len(recording.outputs)} outputs, {path.stat().st_size / 1e6:,.1f} MB"]
    if told["not_kept"]:
        parts.append(f"{told['not_kept']:,} of {told['offered']:,} could not be kept")
    if told["failure"]:
        parts.append(told["failure"])
    return {**told, "sentence": "; ".join(parts)}


def _losses(sent: Mapping[str, Mapping[str, Any]], kept: Mapping[str, int]) -> dict[str, Any]:
    """As a recorder would have written it at the end, by what the run knows of its edges."""
    outputs = []
    for name, edge in sent.items():
        reasons = {reason: count for reason, count in edge["dropped"].items() if count}
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
    return {**totals, "outputs": outputs, "failure": "the recorder ended before the run"}
