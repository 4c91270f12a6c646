"""The program of the monitor's screen: `streamflow top` starts it, in a session of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from streamflow.runtime.process.background import step_back


def main() -> int:
    """Arguments: the run's folder, the view to begin with, what to filter by, and what else than this run is shown."""
    step_back()
    # What takes time is imported by a process that has stepped back.
    from streamflow.errors import StreamflowError
    from streamflow.runtime.rundir import RunFolder
    from tools.monitor.app import MonitorApp, Scope
    from tools.monitor.model import View
    from tools.monitor.observation import Observation

    folder, view, wanted, scope = sys.argv[1:]
    try:
        app = MonitorApp(Observation(RunFolder(Path(folder))), Scope(scope))
    except StreamflowError as error:
        print(f"streamflow: {error}", file=sys.stderr)
        return error.exit_code
    app.model.view, app.model.wanted = View[view], wanted
    app.run()
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(main())
