"""A run whose links between processes go through a relay: `streamflow run --keep`, and nothing else is different.

Senders are told the relay's address in place of the receiver's, whenever a receiver says where it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from streamflow.core.rollcall import Instruction
from streamflow.runtime.loading.loader import Loaded, Reference, load
from streamflow.runtime.supervision.run_options import RunOptions
from streamflow.runtime.supervision.supervisor import Supervisor
from tools.campaigns.relay import RelayClient

SCHEME = "ipc://"


class Silent:
    """Nobody looks on."""

    def seen(self, state: Mapping[str, Any]) -> None: ...
    def happened(self, event: str, fields: Mapping[str, Any]) -> None: ...
    def waiting_for(self, stages: Sequence[str]) -> None: ...
    def draining(self, limit_s: float) -> None: ...


class RelayedSupervisor(Supervisor):
    """Reroutes what `bound` tells."""

    def __init__(self, loaded: Loaded, options: RunOptions, relay: RelayClient) -> None:
        super().__init__(loaded, options, Silent())
        self._relay = relay

    def _heard(self, process: str, telegram: Mapping[str, Any]) -> list[Instruction]:
        if telegram["is"] == "bound":
            endpoints = {edge: self._rerouted(edge, endpoint) for edge, endpoint in telegram["endpoints"].items()}
            telegram = {**telegram, "endpoints": endpoints}
        return super()._heard(process, telegram)

    def _rerouted(self, edge: str, endpoint: str) -> str:
        far = endpoint.removeprefix(SCHEME)
        near = f"{far}r"
        self._relay.listen(edge, near=near, far=far)
        return SCHEME + near


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline")
    parser.add_argument("--relay", type=Path, required=True)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--duration", type=float, required=True)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE")
    asked = parser.parse_args(arguments)
    loaded = load(Reference(asked.pipeline, dict(setting.split("=", 1) for setting in asked.settings)))
    relay = RelayClient(asked.relay)
    supervisor = RelayedSupervisor(loaded, RunOptions(duration_s=asked.duration, keep=asked.keep), relay)
    outcome = trio.run(supervisor.run)
    relay.close()
    asked.report.write_text(json.dumps(outcome.report))
    if outcome.failure is not None:
        print(outcome.failure.sentence, file=sys.stderr)
    return 1 if outcome.failure else 0


if __name__ == "__main__":
    sys.exit(main())
