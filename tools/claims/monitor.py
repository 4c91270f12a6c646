"""The claims of all that shows a run: the monitor, misses, traces, the report, metrics, recordings."""

from __future__ import annotations

import sys

from tools.claims.framework import main
from tools.claims.monitor_cost import CLAIMS as COST
from tools.claims.monitor_files import CLAIMS as FILES
from tools.claims.monitor_recordings import CLAIMS as RECORDINGS
from tools.claims.monitor_screens import CLAIMS as SCREENS

CLAIMS = [*SCREENS, *COST, *FILES, *RECORDINGS]

if __name__ == "__main__":
    sys.exit(main("monitor", CLAIMS))
