"""What is told of a run beside the screen: misses, a trace, metrics and log lines, against the run's own report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tools.browser import browser, picture, shown
from tools.claims.command import Run, a_run
from tools.claims.framework import AbsentError, Claim, Options, Row, ShortfallError
from tools.claims.monitor_screens import ROVER, end, wait_for_data

SECONDS, QUICK_S = 10.0, 4.0
FAULTY = {"load": 1.3, "crash": 0.01}
SLACK_US = 0.002  # microseconds in a trace are thousandths exact
SCRAPE_MS_MAX = 100.0
BLANK_SIZE = 50_000  # bytes; a white page of that size has a tenth


class Series(NamedTuple):
    """What a value is found under."""

    name: str
    labels: frozenset[tuple[str, str]]


def misses(options: Options) -> Iterator[Row]:
    """Every miss that the report counts is in the list, with the culprit that it is counted under."""
    with _folder() as kept, a_run(ROVER, ("--keep", kept, "--duration", str(_seconds(options))), FAULTY) as run:
        report = run.succeed()
        told = json.loads(_streamflow(run, "misses", kept, "-n", "1000000", "--json"))["misses"]
        wrong = []
        for name, path in report["paths"].items():
            mine = Counter(f"{one['culprit']} {one['stage']}".strip() for one in told if one["path"] == name)
            if dict(mine) != path["culprits"] or sum(mine.values()) != path["missed"]:
                wrong.append(f"{name}: {dict(mine)} is not {path['culprits']}")
        blamed = sorted({one["culprit"] for one in told})
        for culprit in blamed:
            listed = _streamflow(run, "misses", kept, "-n", "1000000", "--culprit", culprit, "--json")
            found = json.loads(listed)
            if len(found["misses"]) != sum(one["culprit"] == culprit for one in told):
                wrong.append(f"--culprit {culprit}: {len(found['misses'])}")
        measured = f"{len(told)} misses, {len(blamed)} culprits; {'; '.join(wrong[:2]) or 'the same'}"
        yield Row("the list against the report", "the same, by path and culprit", measured, bool(told) and not wrong)


def trace(options: Options) -> Iterator[Row]:
    """A trace of a run that ended, and of one that was killed: loaded back, and looked through."""
    for how in ("ended", "killed"):
        with _folder() as kept, a_run(ROVER, ("--keep", kept), FAULTY) as run:
            wait_for_data(run)
            time.sleep(_seconds(options))
            if how == "killed":
                os.kill(run.pid, signal.SIGKILL)
                run.wait()
                time.sleep(1.0)  # the janitor saves what there is
                source = "rover"
            else:
                end(run)
                source = kept
            out = run.folder / "trace.json"
            _streamflow(run, "trace", source, str(out))
            events = json.loads(out.read_text())["traceEvents"]
        faults = list(_trace_faults(events))
        kinds = Counter(event["ph"] for event in events)
        flows = len({event["id"] for event in events if event["ph"] == "s"})
        counters = len({event["name"] for event in events if event["ph"] == "C"})
        measured = (f"{kinds['X']:,} slices, {flows:,} flows, {kinds['i']:,} instants, {counters} counters; "
                    f"{'; '.join(faults[:2]) or 'all nest and connect'}")  # fmt: skip
        is_whole = bool(kinds["X"] and flows and kinds["i"] and counters)
        yield Row(f"a run that {how}", "slices nest, flows connect", measured, is_whole and not faults)


def _trace_faults(events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    slices = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for track, spans in slices.items():
        open_until: list[float] = []
        for begin, finish in sorted(spans, key=lambda span: (span[0], -span[1])):
            while open_until and open_until[-1] <= begin + SLACK_US:
                open_until.pop()
            if open_until and finish > open_until[-1] + SLACK_US:
                yield f"track {track}: a slice from {begin} to {finish} leaves the one it began in"
            open_until.append(finish)
    flows = defaultdict(list)
    for event in events:
        if event["ph"] in "stf":
            flows[event["id"]].append(event)
    for number, steps in flows.items():
        if [step["ph"] for step in steps] != ["s", *"t" * (len(steps) - 2), "f"]:
            yield f"flow {number}: {''.join(step['ph'] for step in steps)}"
        if any(one["ts"] > other["ts"] + SLACK_US for one, other in pairwise(steps)):
            yield f"flow {number}: back in time"
        for step in steps:
            passed = slices[step["pid"], step["tid"]]
            if not any(begin - SLACK_US <= step["ts"] <= finish + SLACK_US for begin, finish in passed):
                yield f"flow {number}: no slice where it passes"
    for event in events:
        if event["ph"] == "C" and any(value < 0 for value in event["args"].values()):
            yield f"counter {event['name']}: below zero"


def page(options: Options) -> Iterator[Row]:
    """The report as a page, of a run that went badly, in a real browser without a network."""
    if browser() is None:
        raise AbsentError("there is no Chromium")
    for name, settings in {"healthy": {"load": 0.4}, "faulty": FAULTY}.items():
        with _folder() as folder:
            out = Path(folder) / "report.html"
            with a_run(ROVER, ("--report", str(out), "--duration", str(_seconds(options))), settings) as run:
                report = run.succeed()
            loaded = shown(out)
            picture(out, Path(folder) / "page.png", 1280, 2000)
            size = (Path(folder) / "page.png").stat().st_size
            foreign = re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*|<script|@import|url\(""", out.read_text())
        plots = loaded.document.count('class="plot"')
        expected = 3 * sum(bool(path["arrived"]) for path in report["paths"].values())
        measured = (f"{len(loaded.complaints)} complaints, {plots} plots of {expected}, {len(foreign)} addresses asked "
                    f"for, {len(loaded.document):,} bytes, a picture of {size:,}")  # fmt: skip
        holds = not loaded.complaints and plots == expected and not foreign and size > BLANK_SIZE
        yield Row(f"{name}, in Chromium", "no complaint, every plot, no network", measured, holds)


def metrics(options: Options) -> Iterator[Row]:
    """Scraped while it runs, read by the library's own parser, and compared with the state of the same second."""
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ImportError:
        raise AbsentError("prometheus_client is not installed") from None
    with a_run(ROVER, ("--metrics", "localhost:0", "--log-level", "error"), FAULTY) as run:
        wait_for_data(run)
        time.sleep(_seconds(options))
        address = _address(run)
        texts, took_ms = [], []
        for _ in range(20):
            began = time.perf_counter()
            with urllib.request.urlopen(address, timeout=10) as answer:
                texts.append(answer.read().decode())
            took_ms.append((time.perf_counter() - began) * 1e3)
            time.sleep(0.05)
        end(run)
        report = run.report()
    series = [
        {
            Series(one.name, frozenset(one.labels.items())): one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
        }
        for text in texts
    ]
    back = [
        key
        for one, other in pairwise(series)
        for key, value in one.items()
        if key.name.endswith(("_total", "_bucket", "_count")) and other.get(key, 0) < value
    ]
    last = series[-1]
    beyond = [
        name
        for name, path in report["paths"].items()
        for outcome in ("met", "missed", "shed", "lost")
        if (_value(last, "streamflow_path_settled_total", path=name, outcome=outcome)) > path[outcome]
    ]
    names = {key.name for key in last}
    strange = [name for name in names if not re.fullmatch(r"streamflow(_[a-z]+)+", name) or name.endswith("_ms")]
    measured = (f"{len(last):,} series in {len(names)} names; {len(back)} counters went back, "
                f"{len(beyond)} beyond the report, {len(strange)} strange names")  # fmt: skip
    yield Row("20 scrapes", "all parsed, none goes back", measured, bool(last) and not (back or beyond or strange))
    median = sorted(took_ms)[len(took_ms) // 2]
    yield Row("a scrape", f"<= {SCRAPE_MS_MAX:g} ms", f"{median:.1f} ms, median of 20", median <= SCRAPE_MS_MAX)


def _value(series: Mapping[Series, float], name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return next((value for key, value in series.items() if key.name == name and wanted <= key.labels), 0.0)


def _address(run: Run) -> str:
    for line in run.errors():
        if match := re.search(r"http://\S+", line):
            return match[0]
    raise ShortfallError(f"no address was told: {run.errors()}")


def logs(options: Options) -> Iterator[Row]:
    """Every line on standard error is JSON, and has what happened; a stage's exception has the user's traceback."""
    arguments = ("--log-json", "--log-level", "info", "--duration", str(_seconds(options)))
    with a_run(ROVER, arguments, FAULTY | {"crash": 0.05}) as run:
        report = run.succeed()
        lines = run.errors()
    told = []
    for line in lines:
        try:
            told.append(json.loads(line))
        except ValueError:
            told.append({})
    broken = sum(not one for one in told)
    restarts = sum(stage["restarts"] for stage in report["stages"].values())
    back = sum(one.get("event") == "back" for one in told)
    has_trace = any("worn out" in one.get("traceback", "") and "rover.py" in one["traceback"] for one in told)
    of_stages = [one for one in told if one.get("event") in ("back", "hung", "raised")]
    nameless = [one for one in of_stages if "detect" not in one["sentence"]]
    traceback = "there" if has_trace else "MISSING"
    measured = (f"{len(lines)} lines, {broken} no JSON, {back} of {restarts} restarts told, "
                f"{len(nameless)} without their stage, the user's traceback {traceback}")  # fmt: skip
    holds = not broken and back == restarts and has_trace and not nameless
    yield Row("--log-json", "each line JSON, each restart told", measured, holds)


def _folder() -> AbstractContextManager[str]:
    """One that is gone in the end."""
    return tempfile.TemporaryDirectory(prefix="claim-", ignore_cleanup_errors=True)


def _streamflow(run: Run, *words: str) -> str:
    """The command beside that run, and what it says. Raises ShortfallError."""
    command = [str(Path(sys.executable).with_name("streamflow")), *words]
    environment = os.environ | {"TMPDIR": str(run.scratch)}
    done = subprocess.run(command, cwd=run.folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ShortfallError(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr[-300:]}")
    return done.stdout


def _seconds(options: Options) -> float:
    return QUICK_S if options.is_quick else SECONDS


CLAIMS = [
    Claim("misses", misses),
    Claim("trace", trace),
    Claim("report", page),
    Claim("metrics", metrics),
    Claim("logs", logs),
]
