"""`streamflow check` says what is wrong before anything starts, or that nothing is."""

from __future__ import annotations


def test_a_pipeline_without_faults_is_summed_up(streamflow):
    ended = streamflow("check", "pipelines.minimal")
    assert ended.code == 0
    assert ended.out.startswith("minimal: ")
    assert ended.out.splitlines()[0].endswith(", no faults")
    assert ended.err == ""


def test_an_output_that_is_connected_to_nothing_is_noted_and_no_fault(streamflow):
    ended = streamflow("check", "pipelines.minimal")
    assert ended.code == 0
    assert ended.out.splitlines()[1:] == ["note: tone.truth is connected to nothing"]


def test_a_stage_that_could_take_tensors_on_a_device_and_has_none_is_noted(streamflow, write):
    write(
        "pipelines/lacks.py",
        """\
        from streamflow import In, Node, Out, Pipeline

        class Source(Node):
            x = Out("float32[4]", on_device=True)
            async def run(self): ...

        class Sink(Node):
            x = In("float32[4]", on_device=True)
            def process(self, message): ...

        def build():
            p = Pipeline("lacks")
            p.connect(p.add("source", Source(), device=["cuda:0", "host"]), p.add("sink", Sink()))
            return p
    """,
    )
    ended = streamflow("check", "pipelines/lacks.py")
    assert ended.code == 0
    assert ended.out.splitlines()[1:] == [
        "note: what source sends from its GPU is copied to the host for sink.x, which would take it there: "
        'sink has no device=["cuda:0", "host"]'
    ]


def test_files_that_settings_name_are_looked_at(streamflow, write):
    write("empty.onnx", "")
    ended = streamflow("check", "pipelines.speech", "--set", "wav=none.wav", "--set", "model=empty.onnx")
    assert ended.code == 2
    assert ended.out == ""
    assert ended.sentences[0].startswith("streamflow: stage mic: none.wav: ")
    assert ended.sentences[1].startswith("streamflow: stage vad: empty.onnx: ")


def test_types_are_followed_through_the_graph(streamflow, write):
    write("pipelines/typed.py", """\
        from streamflow import In, Node, Out, Pipeline

        class Source(Node):
            pixels = Out("uint8[4, 4]")
            async def run(self): ...

        class Sink(Node):
            samples = In("float32[time]")
            def process(self, message): ...

        def build():
            p = Pipeline("typed")
            p.connect(p.add("source", Source()), p.add("sink", Sink()))
            return p
        """)  # fmt: skip
    ended = streamflow("check", "pipelines/typed.py")
    assert ended.code == 2
    assert ended.sentences == ["streamflow: edge source.pixels->sink.samples: uint8[4, 4] sent, float32[time] expected"]
