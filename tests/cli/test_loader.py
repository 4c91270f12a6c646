"""What is wrong with a pipeline's module or its settings is one sentence each, exit 2, and nothing is started."""

from __future__ import annotations

import enum
import re
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal, NewType

import pytest

from streamflow.errors import PipelineError, UsageError
from streamflow.runtime.loading.loader import Reference, find_build, load
from streamflow.runtime.loading.settings import convert, convert_settings
from tests.cli.conftest import SMALL

# ------------------------------------------------------------------------------------- how it is named


@pytest.mark.parametrize(
    "name", ["pipelines/small.py", "./pipelines/small.py", "pipelines.small", "pipelines/small.py:build"]
)
def test_a_pipeline_goes_by_its_file_or_its_module(write, streamflow, name):
    write("pipelines/small.py", SMALL)
    assert streamflow("check", name).out.startswith("small: 2 stages in 2 processes, 1 edge, no faults\n")


@pytest.mark.parametrize("name", ["pipelines/two.py:build_long", "pipelines.two:build_long"])
def test_a_function_other_than_build_is_named_after_a_colon(write, streamflow, name):
    write("pipelines/two.py", SMALL.replace("def build(", "def build_long("))
    assert streamflow("check", name).code == 0


def test_a_shipped_pipeline_goes_by_its_module_from_anywhere(streamflow):
    assert streamflow("check", "pipelines.minimal").code == 0


def test_a_pipeline_outside_pipelines_may_import_what_lies_beside_it(write, streamflow):
    write("beside_it.py", "NAME = 'beside'")
    write("alone.py", "from beside_it import NAME\n" + dedent(SMALL).replace('"small"', "NAME"))
    assert streamflow("check", "alone.py").out.startswith("beside: ")


def test_nodes_of_ones_own_merge_with_the_shipped_ones(write, streamflow):
    write("nodes/own_thing.py", "from nodes.ingest import Tone\nclass OwnTone(Tone): ...")
    write("pipelines/own.py", SMALL.replace("nodes.ingest import Tone", "nodes.own_thing import OwnTone as Tone"))
    assert streamflow("check", "pipelines/own.py").code == 0


def test_the_module_stands_in_the_table_of_modules_so_that_its_annotations_can_be_read(write):
    path = write("pipelines/strings.py", "from __future__ import annotations\n" + "def build(n: int): return n")
    reference = Reference(str(path), {"n": "3"})
    assert convert_settings(find_build(reference), reference.settings, "x") == {"n": 3}


# -------------------------------------------------------------------------------------- what is not there


def refused(ended) -> str:
    """The only sentence of a command that was refused."""
    assert ended.code == 2
    assert ended.out == ""
    (sentence,) = ended.sentences
    return sentence


def test_a_missing_file_is_named_with_the_nearest_there_is(write, streamflow):
    write("pipelines/small.py", SMALL)
    assert refused(streamflow("run", "pipelines/smal.py")) == (
        "streamflow: pipelines/smal.py: no such file, expected a pipeline's file or module; "
        "did you mean pipelines/small.py?"
    )


def test_a_missing_file_that_is_like_no_other_points_to_list(streamflow):
    assert refused(streamflow("run", "xylophone.py")).endswith("; streamflow list shows them")


def test_a_bare_name_is_answered_with_the_pipeline_it_may_mean(streamflow):
    assert refused(streamflow("run", "minimal")).endswith("no such module, expected a pipeline's file or module; "
                                                          "did you mean pipelines.minimal?")  # fmt: skip


@pytest.mark.parametrize("name", ["pipelines.nothing_like_it", "nowhere.at_all", "", "..", "a b", ":build"])
def test_a_module_that_is_not_there_is_no_traceback(streamflow, name):
    assert refused(streamflow("run", name)).startswith(f"streamflow: {name.partition(':')[0]}")


def test_a_folder_is_no_pipeline(folder, streamflow):
    (folder / "pipelines").mkdir()
    sentence = refused(streamflow("run", "pipelines/"))
    assert sentence.startswith("streamflow: pipelines: a folder, expected a pipeline's file or module")


def test_a_file_that_is_not_python_is_refused(write, streamflow):
    write("pipelines/notes.txt", "words")
    assert "not a Python file" in refused(streamflow("run", "pipelines/notes.txt"))


# ------------------------------------------------------------------------------------ what is wrong in it


def test_a_syntax_error_is_told_with_file_and_line(write, streamflow):
    write("pipelines/broken.py", '"""Broken."""\n\ndef build(:\n    pass\n')
    assert refused(streamflow("run", "pipelines/broken.py")) == (
        "streamflow: pipelines/broken.py: a syntax error, invalid syntax; at pipelines/broken.py:3"
    )


def test_a_syntax_error_in_a_module_it_imports_is_told_with_that_modules_line(write, streamflow):
    write("nodes/bad_thing.py", "x = 1\ny = = 2\n")
    write("pipelines/small.py", "import nodes.bad_thing\n")
    assert refused(streamflow("run", "pipelines/small.py")).endswith("; at nodes/bad_thing.py:2")


@pytest.mark.parametrize("content", [b"x = '\xff'\n", b"x = 1\0\n"], ids=["not UTF-8", "a null byte"])
def test_a_file_that_is_no_text_is_refused(folder, streamflow, content):
    (folder / "garbage.py").write_bytes(content)
    assert "garbage.py: " in refused(streamflow("run", "garbage.py"))


def test_a_module_without_build_is_told_what_to_define(write, streamflow):
    write("pipelines/empty.py", "")
    assert refused(streamflow("run", "pipelines/empty.py")) == (
        "streamflow: pipelines/empty.py: no function build; define build(...) -> Pipeline"
    )


def test_a_misspelt_build_is_found(write, streamflow):
    write("pipelines/typo.py", SMALL.replace("def build(", "def biuld("))
    assert refused(streamflow("run", "pipelines/typo.py")).endswith("no function build; did you mean :biuld?")


def test_a_failing_import_is_told_with_the_module_and_the_line(write, streamflow):
    write("pipelines/importing.py", '"""Imports."""\n\nimport no_such_library\n')
    assert refused(streamflow("run", "pipelines/importing.py")) == (
        "streamflow: pipelines/importing.py: an import failed at pipelines/importing.py:3, "
        "No module named 'no_such_library'"
    )


def test_an_import_that_fails_deeper_is_told_with_that_modules_line(write, streamflow):
    write("nodes/deep_thing.py", "\n\nimport no_such_library\n")
    write("pipelines/importing.py", "from nodes.deep_thing import x\n")
    assert "at nodes/deep_thing.py:3" in refused(streamflow("run", "pipelines/importing.py"))


def test_a_missing_module_that_begins_like_the_pipelines_name_is_a_failed_import(write, streamflow):
    write("pipelines/pipe.py", "import pipelines.pip\n")
    assert "an import failed at pipelines/pipe.py:1" in refused(streamflow("run", "pipelines.pipe"))


def test_a_missing_name_is_told_with_the_line(write, streamflow):
    write("pipelines/importing.py", "from nodes.ingest import WavFiel\n")
    sentence = refused(streamflow("run", "pipelines/importing.py"))
    assert "ImportError: cannot import name 'WavFiel'" in sentence
    assert sentence.endswith("; at pipelines/importing.py:1")


def test_a_missing_optional_library_is_told_with_the_command_that_brings_it(write, streamflow, monkeypatch):
    class Absent:
        def find_spec(self, name: str, *rest: object) -> None:
            if name == "soundfile":
                raise ModuleNotFoundError("No module named 'soundfile'", name="soundfile")

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "soundfile", raising=False)
    write("pipelines/importing.py", "import soundfile\n")
    assert refused(streamflow("run", "pipelines/importing.py")).endswith("; pip install 'streamflow[audio]' brings it")


@pytest.mark.parametrize(
    ("statement", "told"),
    [("1 / 0", "ZeroDivisionError: division by zero"), ("raise SystemExit(0)", "SystemExit: 0")],
)
def test_what_a_module_raises_when_it_is_imported_is_told_with_the_line(write, streamflow, statement, told):
    write("pipelines/raising.py", f"\n{statement}\n")
    assert refused(streamflow("run", "pipelines/raising.py")) == (
        f"streamflow: pipelines/raising.py: {told} when it was imported; at pipelines/raising.py:2"
    )


def test_what_build_raises_is_told_with_the_users_own_line(write, streamflow):
    write("pipelines/raising.py", "import json\n\ndef build():\n    return json.loads('{')\n")
    sentence = refused(streamflow("run", "pipelines/raising.py"))
    assert "JSONDecodeError" in sentence
    assert sentence.endswith(" while it built the pipeline; at pipelines/raising.py:4")


@pytest.mark.parametrize(("value", "told"), [("None", "nothing"), ("{}", "a dict"), ("'x'", "a str")])
def test_build_must_return_a_pipeline(write, streamflow, value, told):
    write("pipelines/other.py", f"def build():\n    return {value}\n")
    assert refused(streamflow("run", "pipelines/other.py")) == (
        f"streamflow: pipelines/other.py: build returned {told}, expected a Pipeline"
    )


def test_a_nodes_bad_setting_is_told_as_the_node_says_it(write, streamflow):
    write("pipelines/small.py", SMALL.replace("duration_s=seconds", "rate_hz=-1"))
    assert refused(streamflow("run", "pipelines/small.py")) == (
        "streamflow: Tone: rate_hz = -1, expected a rate above 0"
    )


def test_every_fault_of_the_graph_is_told_at_once(write, streamflow):
    write("pipelines/faulty.py", """\
        from nodes.ingest import Tone
        from nodes.postprocess import JsonLines
        from streamflow import Pipeline

        def build():
            p = Pipeline("faulty")
            tone = p.add("tone", Tone())
            p.connect(tone.singal, p.add("log", JsonLines()))
            p.add("idle", JsonLines())
            return p
        """)  # fmt: skip
    ended = streamflow("check", "pipelines/faulty.py")
    assert ended.code == 2
    assert [sentence for sentence in ended.sentences if "did you mean signal?" in sentence]
    assert [sentence for sentence in ended.sentences if sentence.startswith("streamflow: input idle.data")]


def test_debug_shows_the_traceback_wherever_it_stands(write, streamflow):
    write("pipelines/raising.py", "def build():\n    1 / 0\n")
    for arguments in (["--debug", "check", "pipelines/raising.py"], ["check", "pipelines/raising.py", "--debug"]):
        ended = streamflow(*arguments)
        assert ended.code == 2
        assert "ZeroDivisionError: division by zero\n\nThe above exception" in ended.err
        assert ended.sentences[-1].startswith("streamflow: pipelines/raising.py: ZeroDivisionError")


def test_without_debug_there_is_no_traceback(write, streamflow):
    write("pipelines/raising.py", "def build():\n    1 / 0\n")
    assert "Traceback" not in streamflow("check", "pipelines/raising.py").err


# ---------------------------------------------------------------------------------------------- settings


def test_everything_wrong_with_the_settings_is_told_at_once(write, streamflow):
    write("pipelines/set.py", "def build(wav: str, rate: float, count: int = 1): ...\n")
    ended = streamflow("run", "pipelines/set.py", "--set", "rate=fast", "--set", "cuont=2", "--set", "count=1.5")
    assert ended.code == 2
    assert sorted(ended.sentences) == [
        "streamflow: --set count: '1.5', expected a whole number",
        "streamflow: --set cuont: pipelines/set.py has no such parameter, expected one of wav, rate, count; "
        "did you mean count?",
        "streamflow: --set rate: 'fast', expected a number",
        "streamflow: pipelines/set.py: no value for wav, expected a text; --set wav=...",
    ]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["wav"], "--set wav: not a setting, expected NAME=VALUE"),
        (["=x"], "--set =x: not a setting, expected NAME=VALUE"),
        (["wav=a", "wav=b"], "--set wav: given twice"),
    ],
)
def test_a_setting_that_is_none_is_refused(write, streamflow, settings, sentence):
    write("pipelines/set.py", "def build(wav: str): ...\n")
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert refused(streamflow("run", "pipelines/set.py", *arguments)) == f"streamflow: {sentence}"


def test_a_value_may_hold_an_equals_sign_and_spaces(write, streamflow):
    write("pipelines/set.py", SMALL.replace("return p", "assert out == 'a = b '; return p"))
    assert streamflow("check", "pipelines/set.py", "--set", "out=a = b ").code == 0


class Colour(enum.Enum):
    RED = "rouge"
    DARK_BLUE = 2


Metres = NewType("Metres", float)


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("x", str, "x"),
        ("", str, ""),
        ("3", int, 3),
        ("-3", int, -3),
        ("2.5e3", float, 2500.0),
        ("3", float, 3.0),
        ("true", bool, True),
        ("Off", bool, False),
        ("1", bool, True),
        ("a/b", Path, Path("a/b")),
        ("fast", Literal["fast", "slow"], "fast"),
        ("2", Literal[1, 2], 2),
        ("red", Colour, Colour.RED),
        ("rouge", Colour, Colour.RED),
        ("dark_blue", Colour, Colour.DARK_BLUE),
        ("2", Colour, Colour.DARK_BLUE),
        ("none", int | None, None),
        ("", float | None, None),
        ("4", int | None, 4),
        ("4", int | str, 4),
        ("four", int | str, "four"),
        ("1, 2,3", list[int], [1, 2, 3]),
        ("", list[int], []),
        ("a,b", list, ["a", "b"]),
        ("1,2", tuple[int, ...], (1, 2)),
        ("1,x", tuple[int, str], (1, "x")),
        ("a,b", set[str], {"a", "b"}),
        ("3.5", Metres, 3.5),
        ("x", Any, "x"),
    ],
)
def test_a_setting_becomes_what_the_annotation_says(text, annotation, value):
    converted = convert(text, annotation)
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("text", "annotation", "expected"),
    [
        ("x", int, "a whole number"),
        ("1.0", int, "a whole number"),
        ("", float, "a number"),
        ("maybe", bool, "true or false"),
        ("medium", Literal["fast", "slow"], "one of fast, slow"),
        ("green", Colour, "one of red, dark_blue"),
        ("x", int | None, "a whole number"),
        ("x", int | bool, "a whole number or true or false"),
        ("1,x", list[int], "a whole number"),
        ("1", tuple[int, float], "a whole number, a number, with commas between them"),
        ("a", dict[str, int], "dict[str, int], which cannot be written with --set"),
        ("a", Reference, "Reference, which cannot be written with --set"),
    ],
)
def test_a_setting_that_does_not_convert_says_what_was_expected(text, annotation, expected):
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        convert(text, annotation)


def test_annotations_may_be_strings_and_names_of_the_module(write):
    write("pipelines/strings.py", """\
        from __future__ import annotations
        from pathlib import Path
        from typing import Optional

        def build(path: Path, count: Optional[int] = None, sizes: list[int] = []): ...
        """)  # fmt: skip
    reference = Reference("pipelines/strings.py", {"path": "a/b", "count": "2", "sizes": "1,2"})
    arguments = convert_settings(find_build(reference), reference.settings, reference.text)
    assert arguments == {"path": Path("a/b"), "count": 2, "sizes": [1, 2]}


def test_an_annotation_that_cannot_be_read_is_a_sentence(write, streamflow):
    write("pipelines/strings.py", "from __future__ import annotations\ndef build(x: Nonsense): ...\n")
    assert "annotations that cannot be read, NameError: name 'Nonsense'" in refused(
        streamflow("run", "pipelines/strings.py", "--set", "x=1")
    )


def test_a_parameter_without_annotation_is_what_its_default_is():
    def build(seconds=2.5, count=3, name="x", flag=False, nothing=None): ...

    texts = {"seconds": "1", "count": "4", "name": "7", "flag": "yes", "nothing": "8"}
    assert convert_settings(build, texts, "p") == {
        "seconds": 1.0, "count": 4, "name": "7", "flag": True, "nothing": "8"
    }  # fmt: skip


def test_build_may_take_any_names():
    def build(first: int, *rest: int, **others: float): ...

    assert convert_settings(build, {"first": "1", "x": "2"}, "p") == {"first": 1, "x": 2.0}
    with pytest.raises(PipelineError, match=r"^p: no value for first, expected a whole number; --set first=\.\.\.$"):
        convert_settings(build, {}, "p")


def test_a_build_without_parameters_says_so():
    with pytest.raises(PipelineError, match=r"p has no such parameter, expected none: it has no parameters"):
        convert_settings(lambda: None, {"x": "1"}, "p")


# --------------------------------------------------------------------------------------- what is loaded


def test_offline_makes_every_edge_block(folder):
    policies = {edge.overflow.name for edge in load(Reference("pipelines.host", {})).resolved.graph.edges}
    assert policies == {"BLOCK", "DROP_OLDEST"}
    edges = load(Reference("pipelines.host", {}), offline=True).resolved.graph.edges
    assert {edge.overflow.name for edge in edges} == {"BLOCK"}


def test_the_key_tells_settings_apart(folder):
    first, again, other = (load(Reference("pipelines.host", {"score": text})).key for text in "556")
    assert first == again != other


def test_a_module_that_failed_is_not_kept(write):
    path = write("pipelines/later.py", "1 / 0")
    with pytest.raises(UsageError):
        load(Reference("pipelines/later.py", {}))
    path.write_text("def build(): return None")
    with pytest.raises(UsageError, match="build returned nothing"):
        load(Reference("pipelines/later.py", {}))
