"""The report as a page: of runs in real processes, in a real browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from streamflow.runtime.inspection import read_courses
from streamflow.runtime.rundir import RunFolder
from tests.conftest import ROOT
from tests.end_to_end.project import Project, eventually
from tools.browser import browser, picture, shown

ROVER = ROOT / "tools" / "pictures" / "rover.py"
PNG = b"\x89PNG"


class Parsed(HTMLParser):
    """Tags by name, how often; and every address that is asked for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory):
    """A run with too much load and a fault: its page, and its report as JSON."""
    project = Project(tmp_path_factory.mktemp("report"))
    page, report = project.folder / "report.html", project.folder / "report.json"
    options = ["--set", "load=1.5", "--set", "crash=0.2", "--duration", 5]
    ended = project.run(ROVER, *options, "--report", page, "--report", report, "--keep", project.folder / "kept")
    assert ended.code == 0, ended.stderr
    yield project, page, json.loads(report.read_text())
    project.assert_nothing_left()


def test_the_page_asks_for_nothing_and_runs_nothing(pages) -> None:
    _, page, _ = pages
    parsed = Parsed(page.read_text())
    assert "script" not in parsed.tags
    assert all(address.startswith(("data:", "#")) for address in parsed.addresses)


def test_the_page_has_every_path_stage_edge_and_culprit_of_the_report(pages) -> None:
    _, page, report = pages
    text = page.read_text()
    for kind in ("paths", "stages"):
        assert all(f">{name}<" in text for name in report[kind] if "->" not in name)
    assert all(name.replace("->", "-&gt;") in text for name in report["edges"])
    culprits = {who for path in report["paths"].values() for who in path["culprits"]}
    assert culprits
    assert all(f"<span>{who}</span>" in text for who in culprits)
    assert "ages and skew of rows" in text
    assert "worn out" in text


def test_the_plots_are_there(pages) -> None:
    _, page, report = pages
    parsed = Parsed(page.read_text())
    arrived = [name for name, path in report["paths"].items() if path["arrived"]]
    assert parsed.tags["svg"] >= 3 * len(arrived)
    assert sum("image/svg+xml" in address for address in parsed.addresses) == 1


@pytest.mark.skipif(browser() is None, reason="there is no Chromium")
def test_a_browser_shows_it_without_a_complaint(pages, tmp_path) -> None:
    _, page, _ = pages
    found = shown(page)
    assert found.complaints == []
    assert len(re.findall(r"<svg[^>]*class=\"plot\"", found.document)) >= 6
    for width in (1280, 400):
        picture(page, tmp_path / f"{width}.png", width, 1200)
        assert (tmp_path / f"{width}.png").read_bytes().startswith(PNG)
        assert (tmp_path / f"{width}.png").stat().st_size > 20_000


def test_a_page_is_made_of_the_json_and_of_what_was_kept_and_is_the_same(pages) -> None:
    project, page, _ = pages
    for source in ("report.json", "kept"):
        ended = project.start("report", source, "again.html").wait()
        assert ended.code == 0, ended.stderr
        assert (project.folder / "again.html").read_text().count("<svg") == page.read_text().count("<svg")
    project.start("report", "report.json", "again.html").wait()
    assert (project.folder / "again.html").read_text() == page.read_text()


def test_an_inline_run_is_kept_as_any(project: Project) -> None:
    ended = project.run(ROOT / "pipelines" / "minimal.py", "--inline", "--keep", "kept")
    assert ended.code == 0, ended.stderr
    ended = project.run(ROOT / "pipelines" / "minimal.py", "--inline", "--keep", "kept")
    assert (ended.code, ended.sentence.split(",")[0]) == (2, "kept: a run was kept there already")
    ended = project.start("report", "kept", "out.html").wait()
    assert (ended.code, ended.stderr) == (0, "run kept has ended; out.html\n")
    assert "tone-&gt;log" in (project.folder / "out.html").read_text()


def test_a_run_that_was_killed_has_a_report_so_far(project: Project) -> None:
    run = project.start("run", ROVER)
    state = run.folder / "recordings" / "state.json"
    eventually(lambda: state.exists() and json.loads(state.read_text())["elapsed_s"] > 2)
    run.process.kill()
    run.wait()
    ended = project.start("report", "rover", "dead.html", temporary=run.temporary).wait()
    assert ended.code == 0, ended.stderr
    assert ">killed<" in (project.folder / "dead.html").read_text()
    project.start("report", "rover", "dead.json", temporary=run.temporary).wait()
    report = json.loads((project.folder / "dead.json").read_text())
    assert report["ending"] == "killed"
    assert {stage["state"] for stage in report["stages"].values()} == {"killed"}


def test_a_run_that_goes_on_for_longer_than_a_minute_is_told_from_its_begin(tmp_path: Path) -> None:
    """What was told of the last minute, and before that of the whole."""
    folder = RunFolder(tmp_path)
    folder.recordings.mkdir()
    kinds = ("on_time", "missed", "failed", "p50_ms", "p99_ms", "max_ms")
    whole = {"end_s": [float(at) for at in range(1, 101)]} | {kind: [1.0] * 100 for kind in kinds}
    recent = {"end_s": [float(at) for at in range(46, 106)]} | {kind: [2.0] * 60 for kind in kinds}
    folder.course(0).write_text(json.dumps({"path": "quick", "course": whole}))
    course = read_courses(folder, {"quick": {"recent": {"steps": recent}}})["quick"]
    assert course["end_s"] == [float(at) for at in range(1, 106)]
    assert course["missed"] == [1.0] * 100 + [2.0] * 5


def test_a_live_runs_report_has_every_second_so_far(project: Project) -> None:
    run = project.start("run", ROVER)
    state = run.folder / "recordings" / "state.json"
    eventually(lambda: state.exists() and json.loads(state.read_text())["elapsed_s"] > 3)
    ended = project.start("report", "rover", "live.json", temporary=run.temporary).wait()
    assert ended.code == 0, ended.stderr
    run.interrupt()
    run.wait()
    report = json.loads((project.folder / "live.json").read_text())
    assert report["ending"] == "running"
    for path in report["paths"].values():
        ends_s = path["course"]["end_s"]
        assert ends_s[0] < 1.6
        assert all(0.4 < after - before < 1.6 for before, after in pairwise(ends_s))
        assert sum(sum(path["course"][kind]) for kind in ("on_time", "missed", "failed")) <= path["produced"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nosuch.json", "out.html"], "nosuch.json: cannot be read: No such file or directory"),
        (["odd.json", "out.html"], "odd.json: no report, expected what run --report has written"),
        (["text.json", "out.html"], "text.json: no JSON"),
        (["odd.json", "no/out.html"], "report no/out.html: its folder does not exist"),
        (["a", "b", "c"], "report: 3 names, expected [RUN|FILE.json] OUT.html"),
    ],
)
def test_what_is_no_report_is_one_sentence(project: Project, words, sentence) -> None:
    project.write("odd.json", "{}")
    project.write("text.json", "no")
    ended = project.start("report", *words).wait()
    assert ended.code == 2
    assert ended.sentence.startswith(sentence)
    assert not (project.folder / "out.html").exists()


def test_an_offline_run_has_a_page_that_says_why_there_is_no_latency(project: Project) -> None:
    body = """
    def build():
        p = Pipeline("small")
        p.connect(p.add("numbers", Numbers(50)), p.add("keep", Keep("kept")))
        return p
    """
    ended = project.run(project.pipeline(body), "--offline", "--report", "small.html")
    assert ended.code == 0, ended.stderr
    assert "data have a time of their own" in (project.folder / "small.html").read_text()
