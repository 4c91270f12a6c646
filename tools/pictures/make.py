"""Makes the pictures of the README: `python -m tools.pictures.make`, beside this file; needs Textual and Chromium.

Of a run of `rover` with more load than its detector can do, for a few seconds of which a stage breaks.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from streamflow.runtime.rundir import RunFolder
from tools.browser import browser, picture
from tools.claims.command import a_run
from tools.claims.monitor_screens import ROVER, end, wait_for_data
from tools.monitor.app import MonitorApp
from tools.monitor.model import View
from tools.monitor.observation import Observation

HERE = Path(__file__).parent
SIZE = (96, 26)
WARM_S = 14.0
SHOWN = {View.PATHS: "paths", View.GRAPH: "graph", View.MISSES: "misses"}
PAGE_SIZE = (1280, 1180)
WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def main() -> int:
    page = Path(tempfile.mkdtemp()) / "report.html"
    with a_run(ROVER, ("--report", str(page)), {"load": 1.3, "crash": 0.006}) as run:
        wait_for_data(run)
        time.sleep(WARM_S)
        folder = RunFolder(next(path for path in run.scratch.glob("*/[!.]*")))
        for name, text in asyncio.run(screens(folder)).items():
            (HERE / f"{name}.svg").write_text(text)
            print(HERE / f"{name}.svg", len(text))
        end(run)
    if browser() is None:
        print("there is no Chromium: the picture of the page stays as it was", file=sys.stderr)
        return 1
    picture(page, HERE / "report.png", *PAGE_SIZE)
    print(HERE / "report.png", (HERE / "report.png").stat().st_size)
    shutil.rmtree(page.parent)
    return 0


async def screens(folder: RunFolder) -> dict[str, str]:
    """SVG by name; no font is fetched from anywhere."""
    app = MonitorApp(Observation(folder))
    found = {}
    async with app.run_test(size=SIZE) as pilot:
        for view, name in SHOWN.items():
            app.model.view = view
            await pilot.pause(1.5)
            found[name] = WEB_FONT.sub("", app.export_screenshot(title=f"streamflow top: {view.value}"))
    return found


if __name__ == "__main__":
    sys.exit(main())
