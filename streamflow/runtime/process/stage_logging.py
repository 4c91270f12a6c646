"""What nodes log by Python's `logging` reaches standard error with the stage's name, in the run's form and level.

A pipeline that sets up logging by itself, at import, keeps what it set up. What nodes print is theirs alone.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from streamflow.runtime.clock import now_ns

_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}


def name_in_logs(stages: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Of all that this process logs. `settings`: `level` as `run --log-level` has it, and `is_json`."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    stage = ", ".join(stages)
    handler.setFormatter(_Json(stage) if settings.get("is_json") else _Text(stage))
    root.addHandler(handler)
    root.setLevel(_LEVELS.get(str(settings.get("level")), logging.WARNING))


class _Text(logging.Formatter):
    def __init__(self, stage: str) -> None:
        named = stage.replace("%", "%%")
        super().__init__(f"stage {named}: %(levelname)s %(name)s: %(message)s")


class _Json(logging.Formatter):
    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "at_ns": now_ns(),
            "level": "error" if level == "critical" else level,
            "event": "logged",
            "sentence": record.getMessage(),
            "stage": self._stage,
            "logger": record.name,
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told)
