"""On what a run took place, for its report: figures of one machine say little of another."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

from streamflow import compilation


@cache
def environment() -> dict[str, Any]:
    """Of this process: plain values."""
    import numpy
    import trio

    from streamflow.transport.zmq_socket import capabilities

    zeromq = capabilities()
    return {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "pyzmq": zeromq["pyzmq"],
        "zeromq": zeromq["libzmq"],
        "trio": trio.__version__,
        "compiled": not compilation.reason,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _processor() -> str:
    """As the system calls it; empty where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else ""
