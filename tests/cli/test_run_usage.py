"""How the command line is used: help, suggestions, exit codes, commands of others; and what `run` refuses at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streamflow.cli.main import OWN_COMMANDS

FALLING_BACK = """
from nodes.ingest import Tone
from nodes.postprocess import JsonLines
from streamflow import Pipeline

def build() -> Pipeline:
    p = Pipeline("falls")
    tone = p.add("tone", Tone(duration_s=0.1)).signal
    for name in ("first", "second"):
        p.connect(tone, p.add(name, JsonLines(f"{name}.jsonl"), device=["cuda:63", "host"]))
    return p
"""
SCRIPT = Path(sys.executable).with_name("streamflow")


def test_alone_it_shows_every_command(streamflow):
    ended = streamflow()
    assert ended.code == 0
    assert ended.out.startswith("Usage: streamflow [OPTIONS] [COMMAND]")
    for name in OWN_COMMANDS:
        assert f"\n  {name} " in ended.out


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_help_is_what_it_shows_alone(streamflow, arguments):
    assert streamflow(*arguments).out == streamflow().out


@pytest.mark.parametrize("name", OWN_COMMANDS)
def test_every_command_has_help_with_a_line_in_the_list_that_is_not_cut(streamflow, name):
    ended = streamflow(name, "--help")
    assert ended.code == 0
    assert ended.out.startswith(f"Usage: streamflow {name} ")
    (line,) = [line for line in streamflow().out.splitlines() if line.startswith(f"  {name} ")]
    assert line.endswith(".")
    assert not line.endswith("...")


@pytest.mark.parametrize("name", ["run", "record", "replay"])
def test_what_q_and_ctrl_c_do_to_a_watched_run_is_told(streamflow, name):
    text = " ".join(streamflow(name, "--help").out.split())
    assert "q leaves the screen and the run goes on, Ctrl-C drains and ends it" in text


def test_it_tells_its_version(streamflow):
    assert streamflow("--version").out.startswith("streamflow, version 0.")


@pytest.mark.parametrize(
    ("name", "hint"), [("rnu", "did you mean run?"), ("docter", "did you mean doctor?"), ("x", "streamflow --help")]
)
def test_an_unknown_command_is_answered_with_the_nearest(streamflow, name, hint):
    ended = streamflow(name, "pipelines.minimal")
    assert ended.code == 2
    assert ended.err.startswith(f"streamflow: {name}: no such command; {hint}")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run"], "Missing argument 'PIPELINE'"),
        (["run", "pipelines.minimal", "--sped", "2"], "No such option"),
        (["run", "pipelines.minimal", "--speed", "fast"], "'--speed'"),
        (["run", "pipelines.minimal", "--speed", "0"], "'--speed'"),
        (["run", "pipelines.minimal", "--duration", "-1"], "'--duration'"),
        (["run", "pipelines.minimal", "--link", "smoke"], "'--link'"),
        (["graph", "pipelines.minimal", "--format", "png"], "'--format'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(streamflow, arguments, told):
    ended = streamflow(*arguments)
    assert ended.code == 2
    (sentence,) = ended.sentences
    assert told in sentence
    assert sentence.endswith(f"; streamflow {arguments[0]} --help shows what there is")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--wait-for", "nobody"], "--wait-for: no stage nobody, expected one of tone, "),
        (["--inline", "--wait-for", "tone"], "--inline: together with stages to be started by hand"),
        (["--report", "no/such/report.json"], "--report no/such/report.json: its folder does not exist"),
    ],
)
def test_run_refuses_what_cannot_be_before_it_starts_anything(streamflow, small, options, sentence):
    ended = streamflow("run", small, *options)
    assert ended.code == 2
    assert ended.err.startswith(f"streamflow: {sentence}")
    assert len(ended.sentences) == 1


def test_node_says_how_to_start_a_run_that_waits_and_leaves_nothing(streamflow, small, tmp_path_factory, monkeypatch):
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    ended = streamflow("node", small, "tone")
    assert ended.code == 2
    assert ended.sentences == [
        "streamflow: stage tone: no run waits for it; start one with streamflow run pipelines/small.py --wait-for tone"
    ]
    assert list(temporary.iterdir()) == []


def test_node_refuses_a_stage_that_the_pipeline_does_not_have(streamflow, small):
    ended = streamflow("node", small, "tune")
    assert ended.code == 2
    assert ended.sentences == ["streamflow: tune: no stage of small, expected one of tone, log"]


def test_an_error_of_streamflows_own_is_a_sentence_and_with_debug_a_traceback(streamflow, write):
    write("plugin.py", "import click\n@click.command()\ndef command():\n    {}['key']\n")
    register(write, "broken = plugin:command")
    ended = streamflow("broken")
    assert ended.code == 1
    assert ended.sentences == ["streamflow: a fault of streamflow's own, KeyError: 'key'; --debug shows the traceback"]
    assert "plugin.py" in streamflow("broken", "--debug").err


# --------------------------------------------------------------------------------- commands of others


def register(write, *entries: str) -> None:
    """Install, as far as Python can tell, a distribution that registers commands."""
    sys.path.insert(0, str(Path.cwd()))
    write("plugin-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    write("plugin-1.0.dist-info/entry_points.txt", "\n".join(["[streamflow.commands]", *entries, ""]))


def test_a_command_that_another_distribution_registers_is_listed_and_called(streamflow, write):
    write("plugin.py", """\
        import click

        @click.command()
        @click.argument("word")
        def command(word: str) -> int:
            "Say a word."
            click.echo(f"said {word}")
            return 3
        """)  # fmt: skip
    register(write, "say = plugin:command")
    assert re.search(r"\n  say +Say a word\.", streamflow("--help").out)
    ended = streamflow("say", "hello")
    assert (ended.out, ended.code) == ("said hello\n", 3)
    assert streamflow("sya").sentences == ["streamflow: sya: no such command; did you mean say?"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("import no_such_library", "cannot be loaded from plugin:command, ModuleNotFoundError"),
        ("command = 3", "plugin:command is a int, expected a click command"),
    ],
)
def test_a_command_that_cannot_be_loaded_hinders_no_other(streamflow, write, content, told):
    write("plugin.py", content)
    register(write, "say = plugin:command")
    assert re.search(r"\n  say +\(cannot be loaded\)", streamflow("--help").out)
    ended = streamflow("say", "--loud", "hello")
    assert ended.code == 2
    assert told in ended.err
    assert streamflow("check", "pipelines.minimal").code == 0


def test_a_name_of_streamflows_own_cannot_be_taken(streamflow, write):
    write("plugin.py", "import click\n@click.command()\ndef command():\n    click.echo('mine')\n")
    register(write, "list = plugin:command")
    assert streamflow("list").out.startswith("Pipelines:")


# ------------------------------------------------------------------------------- as a process of its own


def test_the_console_script_exits_2_with_one_sentence_for_a_missing_file(folder):
    done = subprocess.run([SCRIPT, "run", "nope.py"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "streamflow: nope.py: no such file, expected a pipeline's file or module; streamflow list shows them"
    ]


def test_a_reader_that_leaves_early_is_no_traceback(folder):
    script = f"'{SCRIPT}' list --json | head -c 10"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


def test_a_shell_completes_commands_and_pipelines(folder, write):
    write("pipelines/of_mine.py", "def build(): ...")

    def complete(words: str, index: int) -> list[str]:
        variables = {"_STREAMFLOW_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
        done = subprocess.run([SCRIPT], env=os.environ | variables, capture_output=True, text=True, timeout=60)
        return done.stdout.splitlines()

    assert complete("streamflow do", 1) == ["plain,doctor"]
    assert complete("streamflow run pipelines/", 2) == ["plain,pipelines/of_mine.py"]
    assert complete("streamflow run else/where", 2) == ["file,else/where"]


def test_a_report_of_a_run_is_json(folder, small):
    arguments = [small, "--set", "out=out.jsonl", "--report", "report.json", "--inline", "--offline", "--quiet"]
    done = subprocess.run([SCRIPT, "run", *arguments], timeout=60, check=False)
    assert done.returncode == 0
    assert json.loads((folder / "report.json").read_text())["conserved"] is True
    assert len((folder / "out.jsonl").read_text().splitlines()) == 10


def test_quiet_leaves_out_the_table_and_not_what_warns(streamflow, write):
    write("pipelines/falls.py", FALLING_BACK)
    ended = streamflow("run", "pipelines/falls.py", "--inline", "--offline", "--quiet")
    assert ended.code == 0
    (sentence,) = ended.sentences
    assert sentence.startswith("streamflow: stages first, second: work on host instead of cuda:63 (")


@pytest.mark.parametrize("value", ["200us", "0.5", "abc"])
def test_a_spin_that_is_no_number_is_told_its_unit(streamflow, value):
    ended = streamflow("run", "pipelines/minimal.py", "--spin-us", value)
    assert ended.code == 2
    assert f"'{value}' is not a valid whole number of microseconds" in ended.err


def test_nobody_may_wait_awake_in_a_loop_that_all_stages_share(streamflow):
    ended = streamflow("run", "pipelines.minimal", "--inline", "--spin-us", "200")
    assert ended.code == 2
    (sentence,) = ended.err.splitlines()
    assert sentence.startswith("streamflow: --spin-us: together with --inline, expected one of the two;")
    assert sentence.endswith("; stages of one process share its loop")
