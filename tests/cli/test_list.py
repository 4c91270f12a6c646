"""`streamflow list` finds pipelines and nodes by reading files, so that nothing broken breaks it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from streamflow.runtime.loading.catalogue import Found, find_classes, find_nodes, find_pipelines
from streamflow.runtime.loading.description import describe_node, describe_pipeline


@pytest.fixture
def listing(streamflow):
    """The whole listing as scripts get it: one part, by name."""

    def read(part: str) -> dict[str, dict]:
        return {one["name"]: one for one in json.loads(streamflow("list", "--json").out)[part]}

    return read


@pytest.fixture
def pipelines(folder) -> Callable[[], dict[str, Found]]:
    """The pipelines of the working folder alone, by name."""
    return lambda: {one.name: one for one in find_pipelines([str(folder)])}


@pytest.fixture
def nodes(folder) -> Callable[[], dict[str, Found]]:
    """The nodes of the working folder alone, by name."""
    return lambda: {one.name: one for one in find_nodes([str(folder)])}


def test_shipped_pipelines_and_nodes_are_listed_from_anywhere(listing):
    assert {"pipelines.minimal", "pipelines.host", "pipelines.speech"} <= set(listing("pipelines"))
    assert {"nodes.ingest.WavFile", "nodes.infer.OnnxModel", "nodes.postprocess.JsonLines"} <= set(listing("nodes"))


def test_each_comes_with_the_first_line_of_its_docstring(pipelines, nodes, write):
    write("pipelines/mine.py", '"""Mine, all mine.\n\nAnd more.\n"""\ndef build(): ...')
    write("nodes/mine_too.py", 'from streamflow import Node\nclass Thing(Node):\n    """Does things.\n\n    More."""\n')
    assert pipelines()["pipelines.mine"].summary == "Mine, all mine."
    assert nodes()["nodes.mine_too.Thing"].summary == "Does things."


def test_a_sentence_that_goes_on_in_the_next_line_is_not_cut(nodes, write):
    text = "It runs in as many\n    threads as there are; v1.5 of it\n    does. And\n    more."
    write("nodes/mine_too.py", f'from streamflow import Node\nclass Thing(Node):\n    """{text}"""\n')
    assert nodes()["nodes.mine_too.Thing"].summary == "It runs in as many threads as there are; v1.5 of it does."


def test_a_pipeline_is_shown_with_its_parameters(pipelines, write, streamflow):
    write("pipelines/mine.py", "def build(wav: str, *, rate: float = 1.5, out='-', model): ...")
    assert pipelines()["pipelines.mine"].parameters == ("wav", "model", "rate=1.5", "out='-'")
    assert "--set wav, model, rate=1.5, out='-'" in streamflow("list").out


def test_a_pipeline_in_this_folder_goes_by_its_file_and_a_shipped_one_by_its_module(write, streamflow):
    write("pipelines/mine.py", '"""Mine."""\ndef build(): ...')
    lines = streamflow("list").out.splitlines()
    assert "  pipelines/mine.py" in {line[:19] for line in lines}
    assert any(line.startswith("  pipelines.minimal ") for line in lines)


def test_a_module_of_ones_own_hides_the_shipped_one_of_its_name(write, listing):
    write("pipelines/host.py", '"""Another host."""\ndef build(): ...')
    assert listing("pipelines")["pipelines.host"]["summary"] == "Another host."


def test_every_function_that_returns_a_pipeline_is_one(write, pipelines):
    write("pipelines/several.py", """\
        def build_short() -> "Pipeline":
            "The short one."
        def build_long() -> streamflow.Pipeline: ...
        def helper() -> int: ...
        """)  # fmt: skip
    found = pipelines()
    assert found["pipelines.several:build_short"].summary == "The short one."
    assert "pipelines.several:build_long" in found
    assert "pipelines.several:helper" not in found


@pytest.mark.parametrize("text", ["build = make_it(3)", "from pipelines.minimal import build"])
def test_a_build_that_comes_from_elsewhere_is_one_too(write, pipelines, text):
    write("pipelines/indirect.py", text)
    assert pipelines()["pipelines.indirect"].fault == ""


def test_a_module_with_a_syntax_error_is_listed_as_such(write, pipelines, nodes, streamflow):
    write("pipelines/broken.py", "x = 1\ndef build(:\n")
    write("nodes/broken_too.py", "class (:\n")
    assert pipelines()["pipelines.broken"].fault == "a syntax error in line 2: invalid syntax"
    assert nodes()["nodes.broken_too"].fault.startswith("a syntax error in line 1")
    ended = streamflow("list")
    assert ended.code == 0
    assert "[a syntax error in line 2: invalid syntax]" in ended.out


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"x = 1\0"], ids=["not UTF-8", "a null byte"])
def test_a_file_that_is_no_text_is_listed_as_such(folder, pipelines, content):
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "garbage.py").write_bytes(content)
    assert pipelines()["pipelines.garbage"].fault


def test_a_module_without_build_is_listed_as_such(write, pipelines):
    write("pipelines/empty.py", '"""Not yet."""')
    found = pipelines()["pipelines.empty"]
    assert (found.summary, found.parameters, found.fault) == ("Not yet.", (), "no function build")


def test_a_missing_library_hinders_nothing_for_nothing_is_imported(write, pipelines, nodes):
    write("pipelines/importing.py", "import no_such_library\ndef build(): ...")
    write("nodes/importing_too.py", "import no_such_library\nfrom streamflow import Node\nclass Thing(Node): ...")
    assert pipelines()["pipelines.importing"].fault == ""
    assert "nodes.importing_too.Thing" in nodes()
    assert "nodes.importing_too" not in sys.modules


def test_a_class_that_derives_from_a_node_through_another_module_is_a_node(write, nodes):
    write("nodes/first_thing.py", "import streamflow\nclass First(streamflow.Node): ...\nclass Plain: ...")
    write("nodes/second_thing.py", "from nodes.first_thing import First\nclass Second(First): ...")
    found = nodes()
    assert {"nodes.first_thing.First", "nodes.second_thing.Second"} <= set(found)
    assert "nodes.first_thing.Plain" not in found


def test_what_is_private_is_not_listed(write, pipelines, nodes):
    write("nodes/some_thing.py", "from streamflow import Node\nclass _Base(Node): ...")
    write("nodes/_hidden.py", "from streamflow import Node\nclass Hidden(Node): ...")
    write("pipelines/_hidden.py", "def build(): ...")
    assert not [name for name in (*nodes(), *pipelines()) if "_Base" in name or "hidden" in name]


def test_a_package_lists_what_it_exports_by_its_short_name(write, nodes):
    write("nodes/pack/__init__.py", "from nodes.pack.inner import Thing\n__all__ = ['Thing']")
    write("nodes/pack/inner.py", "from streamflow import Node\nclass Thing(Node): ...\nclass Other(Node): ...")
    assert [name for name in nodes() if name.startswith("nodes.pack")] == ["nodes.pack.Thing"]


def test_where_there_is_nothing_nothing_is_found(tmp_path):
    assert find_pipelines([str(tmp_path)]) == []
    assert find_nodes([str(tmp_path)]) == []


def test_every_shipped_pipeline_and_node_has_a_docstring_and_no_fault(listing):
    for one in [*listing("pipelines").values(), *listing("nodes").values()]:
        assert one["summary"], one["name"]
        assert not one["fault"], one["name"]


# ----------------------------------------------------------------------------------------- one of them


THING = """\
    import no_such_library
    from streamflow import In, Node, Out

    class Root(Node):
        samples = In("float32[time]", rate_hz=8000)

        def __init__(self, path: str, *sizes: int, gain: float = 1.0, **rest):
            \"\"\"`gain`: what is multiplied.\"\"\"
            self.scaled = Out(f"float32[{sizes[0]}]")

    class Thing(Root):
        \"\"\"Does things.

        And more.
        \"\"\"

        events = Out("int64[]")
"""


@pytest.mark.parametrize("name", ["Thing", "nodes.mine.Thing"])
def test_a_node_is_told_with_docstring_signature_and_ports_and_is_not_imported(write, streamflow, name):
    write("nodes/mine.py", THING)
    assert streamflow("list", name).out == (
        "nodes.mine.Thing  (nodes/mine.py)\n\n"
        "Thing(path: str, *sizes: int, gain: float = 1.0, **rest)\n\n"
        "Does things.\n\nAnd more.\n\n"
        "`gain`: what is multiplied.\n\n"
        "Ports:\n"
        "  samples: In('float32[time]', rate_hz=8000)\n"
        "  events: Out('int64[]')\n"
        "  scaled: Out, its type depends on the settings\n"
    )


def test_a_long_signature_has_a_line_for_each_parameter(streamflow):
    text = streamflow("list", "nodes.ingest.CsvFile").out
    assert "\nCsvFile(\n    path: str | os.PathLike[str],\n" in text
    assert "\n    *,\n    dt: bool = False,\n" in text
    assert "\n  samples: Out('any[...]')\n" in text


def test_every_shipped_node_and_pipeline_can_be_told_about(folder):
    classes = find_classes(sys.path)
    for one in find_pipelines(sys.path):
        assert describe_pipeline(one).startswith(f"{one.name}  (")
    for one in find_nodes(sys.path):
        assert describe_node(one, classes).startswith(f"{one.name}  (")


@pytest.mark.parametrize("name", ["mine", "pipelines.mine", "pipelines/mine.py"])
def test_a_pipeline_is_told_with_docstring_and_parameters(write, streamflow, name):
    write("pipelines/mine.py", '"""Mine.\n\nAll mine.\n"""\ndef build(wav: str, rate=1.5): ...')
    assert streamflow("list", name).out == (
        "pipelines.mine  (pipelines/mine.py)\n\nMine.\n\nAll mine.\n\n"
        "Parameters:\n  --set wav=...  (required)\n  --set rate=1.5\n"
    )


def test_a_function_that_builds_a_pipeline_is_told_by_its_own_docstring(write, streamflow):
    write("pipelines/mine.py", '"""Mine."""\ndef build_short() -> Pipeline:\n    """Short."""')
    assert streamflow("list", "pipelines.mine:build_short").out == (
        "pipelines.mine:build_short  (pipelines/mine.py)\n\nShort.\n\nParameters: none\n"
    )


def test_a_broken_file_is_told_as_such(write, streamflow):
    write("pipelines/broken.py", "def build(:\n")
    ended = streamflow("list", "broken")
    assert ended.code == 0
    assert ended.out.endswith("\n\n[a syntax error in line 1: invalid syntax]\n")


def test_a_name_that_is_not_found_is_told_with_the_nearest(streamflow):
    ended = streamflow("list", "CsvFlie")
    assert ended.code == 2
    assert ended.sentences == ["streamflow: CsvFlie: no such pipeline or node; did you mean CsvFile?"]


def test_a_script_gets_the_one_it_names(streamflow):
    found = json.loads(streamflow("list", "CsvFile", "--json").out)
    assert found["pipelines"] == []
    assert [one["name"] for one in found["nodes"]] == ["nodes.ingest.CsvFile"]
