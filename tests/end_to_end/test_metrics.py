"""A real run, scraped by HTTP: what is served parses, agrees with the report, and comes and goes with the run."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic

from streamflow.core.metrics import CATALOGUE
from tests.end_to_end.project import Command, Project, eventually

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
BURSTS = """
    from pathlib import Path

    class Bursts(Node):
        number = Out("int64[]")

        async def run(self):
            for word in ("second", "end"):
                for number in range(150):
                    await trio.sleep(0.001)
                    await self.emit(np.int64(number))
                while not Path(word).exists():  # who scrapes steps back, and may come late on a busy machine
                    await trio.sleep(0.02)

    class Slow(Pass):
        def process(self, message):
            time.sleep(0.003)
            return message.array

    def build():
        p = Pipeline("bursts")
        slow = p.add("slow", Slow())
        keep = p.add("keep", Keep("kept"))
        bursts = p.add("bursts", Bursts())
        p.connect(bursts.number, slow, capacity=8, overflow=Overflow.DROP_OLDEST)
        p.connect(slow, keep)
        p.deadline("quick", bursts, keep, within=10_000_000, firm=(1, 2))
        return p
"""
ENDLESS = """
    def build():
        p = Pipeline("endless")
        p.connect(p.add("numbers", Numbers(rate_hz=50)).number, p.add("keep", Keep("kept")))
        return p
"""
Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def told(command: Command) -> str:
    """The address, as the run tells it first of all."""
    assert command.process.stderr is not None
    line = command.process.stderr.readline()
    found = re.search(r"metrics at (http://\S+)", line)
    assert found, line
    return found[1]


def fetched(address: str, headers: dict[str, str] | None = None) -> str:
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers or {}), timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def is_refused(address: str) -> bool:
    try:
        fetched(address)
    except OSError as error:
        return "refused" in str(error)  # else it is just going
    return False


def values(text: str) -> Values:
    return {
        (sample.name, frozenset(sample.labels.items()) - {("pipeline", "bursts")}): sample.value
        for family in classic(text)
        for sample in family.samples
    }


def one(found: Values, name: str, **labels: str) -> float:
    return found[f"streamflow_{name}", frozenset(labels.items())]


def settled(address: str, produced: int) -> str:
    """Once so many data were produced and none is under way, those neither that were given up and come all the same."""

    def look() -> str | None:
        text = fetched(address)
        found = values(text)
        try:
            is_settled = one(found, "path_produced_total", path="quick") == produced
            return text if is_settled and not one(found, "path_in_flight", path="quick") else None
        except KeyError:
            return None  # no state was written yet

    before, text = "", eventually(look)
    while arrived_count(before) != arrived_count(text):
        time.sleep(0.7)  # longer than a stage takes to come back, or the run to tell its state
        before, text = text, eventually(look)
    return str(text)


def arrived_count(text: str) -> float | None:
    return one(values(text), "path_latency_seconds_count", path="quick") if text else None


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """After the first burst, after the second (as text and as OpenMetrics), and the report; between them a stage was
    killed."""
    project = Project(tmp_path_factory.mktemp("bursts"))
    report = project.folder / "report.json"
    command = project.start("run", project.pipeline(BURSTS), "--metrics", "localhost:0", "--report", report)
    try:
        address = told(command)
        before = settled(address, 150)
        os.kill(command.stage("slow"), signal.SIGKILL)
        (project.folder / "second").touch()
        after = settled(address, 300)
        as_openmetrics = fetched(address, OPENMETRICS)
        assert fetched(address.removesuffix("metrics")) == "how the run is, for Prometheus: /metrics\n"
        for elsewhere in ("/", "x", "/../metrics"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                fetched(address + elsewhere)
        (project.folder / "end").touch()
        ended = command.wait()
        assert ended.code == 0, ended.stderr
        assert is_refused(address)
        yield before, after, as_openmetrics, json.loads(report.read_text())
    finally:
        command.process.kill()
        project.assert_nothing_left()


def test_what_is_served_is_what_the_report_says(bursts) -> None:
    _, text, _, report = bursts
    found = values(text)
    path = report["paths"]["quick"]
    assert path["missed"] > 0
    assert sum(path["culprits"].values()) == path["missed"]
    for outcome in ("met", "missed", "absorbed", "shed", "dropped", "rejected", "lost"):
        assert one(found, "path_settled_total", path="quick", outcome=outcome) == path[outcome]
    blamed = {labels: value for (name, labels), value in found.items() if name == "streamflow_deadline_missed_total"}
    assert sum(blamed.values()) == path["missed"]
    assert {f"{dict(one)['culprit']} {dict(one)['stage']}".strip(): n for one, n in blamed.items()} == path["culprits"]
    assert one(found, "deadline_bound_seconds", path="quick") == path["within_ms"] / 1e3
    assert one(found, "path_latency_seconds_count", path="quick") == path["arrived"]
    assert one(found, "path_latency_seconds_sum", path="quick") == pytest.approx(path["histogram"]["sum_ms"] / 1e3)
    assert one(found, "deadline_contract_breaches_total", path="quick") == path["firm"]["breaches"] > 0
    for name, edge in report["edges"].items():
        for key in ("sent", "delivered", "lost"):
            assert one(found, f"edge_{key}_total", edge=name) == edge[key]
        for reason, count in edge["dropped"].items():
            assert one(found, "edge_dropped_total", edge=name, reason=reason) == count > 0
    for name, stage in report["stages"].items():
        for key in ("processed", "emitted", "restarts"):
            assert one(found, f"stage_{key}_total", stage=name) == stage[key]
    assert one(found, "edge_capacity", edge="bursts.number->slow.data") == 8
    for name in ("edge_depth", "edge_capacity"):
        told = {dict(labels)["edge"] for key, labels in found if key == f"streamflow_{name}"}
        assert told == report["edges"].keys()
    assert one(found, "run_conserved") == 1
    assert report["conserved"] is True
    assert one(found, "process_resident_memory_bytes", process="slow") > 1e7
    slept_s = 0.003 * report["stages"]["slow"]["processed"]
    assert one(found, "stage_service_seconds_sum", stage="slow") >= 0.9 * slept_s > 0
    assert one(found, "stage_busy_seconds_total", stage="slow") >= 0.9 * slept_s


def test_counters_go_on_over_a_restart(bursts) -> None:
    before, after, _, _ = bursts
    earlier, later = values(before), values(after)
    assert one(later, "stage_restarts_total", stage="slow") == 1
    grown = [name for name in earlier if re.search("_(total|bucket|count|sum)$", name[0])]
    assert len(grown) > 100
    assert [name for name in grown if later[name] < earlier[name]] == []
    for name in ("stage_busy_seconds_total", "stage_service_seconds_count"):
        assert one(later, name, stage="slow") > one(earlier, name, stage="slow")


def test_every_metric_has_help_and_type_and_only_known_ones_are_served(bursts) -> None:
    _, text, as_openmetrics, _ = bursts
    known = {metric.name: metric for metric in CATALOGUE}
    families = list(openmetrics(as_openmetrics))  # raises for what the standard forbids
    assert {family.name for family in families} <= known.keys()
    assert {family.name: (family.type, family.unit, family.documentation) for family in families} == {
        family.name: (known[family.name].kind, known[family.name].unit, known[family.name].help) for family in families
    }
    served = {line.split("{")[0] for line in text.splitlines() if not line.startswith("#")}
    for family in classic(text):
        assert family.documentation
        assert family.type != "unknown"
        served -= {sample.name for sample in family.samples}
    assert served == set()


def test_histograms_are_cumulative_and_have_the_same_edges_always(bursts) -> None:
    edges = []
    for text in bursts[:2]:
        buckets: dict[tuple[str, frozenset[tuple[str, str]]], list[tuple[float, float]]] = {}
        found = values(text)
        for (name, labels), value in found.items():
            if name.endswith("_bucket"):
                le = float(dict(labels)["le"])
                buckets.setdefault((name, frozenset(one for one in labels if one[0] != "le")), []).append((le, value))
        for (name, labels), steps in buckets.items():
            counts = [count for _, count in sorted(steps)]
            assert counts == sorted(counts)
            assert counts[-1] == found[name.removesuffix("_bucket") + "_count", labels]
        edges.append({series: sorted(le for le, _ in steps) for series, steps in buckets.items()})
    assert edges[0] == edges[1]
    assert len(edges[0]) == 3  # one path, and two stages that are no source


def test_a_port_in_use_is_told_before_anything_is_started(project: Project) -> None:
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        ended = project.run(project.pipeline(ENDLESS), "--metrics", f"localhost:{port}")
    assert ended.code == 2
    assert ended.sentence == (
        f"--metrics localhost:{port}: cannot be served there: address already in use; port 0 takes any that is free"
    )


def test_without_the_library_the_extra_is_named(project: Project, tmp_path: Path) -> None:
    program = tmp_path / "without.py"
    program.write_text(
        "import importlib.util as u, sys\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'prometheus_client' else find(name, *rest)\n"
        "from streamflow.cli.main import main\nmain()\n"
    )
    command = project.start(
        "run", project.pipeline(ENDLESS), "--metrics", "localhost:0", program=(sys.executable, str(program))
    )
    ended = command.wait()
    assert ended.code == 2
    hint = "pip install 'streamflow[metrics]' brings it"
    assert ended.sentence == f"--metrics: prometheus_client is not installed; {hint}"


def serving(command: Command) -> int | None:
    return next((pid for pid, line in command.processes().items() if "streamflow.cli.metrics" in line), None)


def test_killing_what_serves_leaves_the_run_alone(project: Project) -> None:
    command = project.start("run", project.pipeline(ENDLESS), "--metrics", "localhost:0", "--duration", 1)
    address = told(command)
    assert "streamflow_stage_processed_total" in eventually(lambda: fetched(address))
    pid = serving(command)
    assert pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: is_refused(address))
    ended = command.wait()
    assert (ended.code, ended.sentences) == (0, [])


def test_killing_a_run_takes_along_what_serves_it(project: Project) -> None:
    command = project.start("run", project.pipeline(ENDLESS), "--metrics", "localhost:0")
    fetched(told(command))
    assert serving(command)
    command.process.kill()
    command.wait()
    eventually(lambda: not command.processes())


def test_a_run_that_goes_can_be_served_from_beside_it(project: Project) -> None:
    command = project.start("run", project.pipeline(ENDLESS), "--duration", 2.5)
    eventually(lambda: (command.folder / "recordings" / "state.json").exists())
    beside = project.start("metrics", "endless", "--listen", "localhost:0", temporary=command.temporary)
    text = fetched(told(beside))
    assert f'streamflow_run_info{{pipeline="endless",run="{command.folder.name}"' in text
    assert command.wait().code == 0
    ended = beside.wait()
    assert (ended.code, ended.stderr.splitlines()[-1].endswith("it is over")) == (0, True)
