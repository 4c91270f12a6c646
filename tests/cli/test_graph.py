"""`streamflow graph` draws in four formats; that the drawings are right is `tests/core/test_drawing.py`."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest


@pytest.mark.parametrize(
    ("form", "beginning"),
    [("text", "host: "), ("mermaid", '---\ntitle: "host"\n'), ("dot", 'digraph "host" {'), ("svg", "<svg xmlns=")],
)
def test_each_format_is_drawn_on_standard_output(streamflow, form, beginning):
    ended = streamflow("graph", "pipelines.host", "--format", form)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(beginning)
    assert "SchedulerJitter" in ended.out


def test_text_is_drawn_unless_told(streamflow):
    assert streamflow("graph", "pipelines.host").out == streamflow("graph", "pipelines.host", "--format", "text").out


def test_the_picture_is_well_formed(streamflow):
    ElementTree.fromstring(streamflow("graph", "pipelines.host", "--format", "svg").out)


def test_settings_are_taken(streamflow, write):
    write("pipelines/named.py", """\
        from nodes.ingest import Tone
        from nodes.postprocess import JsonLines
        from streamflow import Pipeline

        def build(name: str) -> Pipeline:
            p = Pipeline(name)
            p.connect(p.add("tone", Tone()).signal, p.add("log", JsonLines()))
            return p
        """)  # fmt: skip
    assert streamflow("graph", "pipelines/named.py", "--set", "name=other").out.startswith("other: 2 stages")
    assert streamflow("graph", "pipelines/named.py").code == 2


def test_a_pipeline_with_faults_is_not_drawn(streamflow, write):
    write("pipelines/faulty.py", "from streamflow import Pipeline\ndef build(): return Pipeline('faulty')")
    ended = streamflow("graph", "pipelines/faulty.py")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("streamflow: pipeline faulty: no stages")
