"""The command line itself: help, version, mistyped commands, shared options, broken pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import click
import pandas as pd
import pytest

from factory_lib.cli import app, common, main
from factory_lib.results import JobResult

FACTORY = [sys.executable, "-m", "factory_lib.cli"]


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]], ids=["bare", "long", "short"])
def test_the_help_lists_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in app.COMMANDS)
    assert app.EXIT_CODES in " ".join(text.split())


@pytest.mark.parametrize("name", [name for name in app.COMMANDS if name != "simulate"])
def test_every_command_has_the_help_of_the_list(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    assert app.COMMANDS[name][1] in " ".join(capsys.readouterr().out.split())


def all_commands() -> list[tuple[str, click.Command]]:
    """Return every command and subcommand."""
    commands = []
    for name, (module, _) in app.COMMANDS.items():
        command = import_module(f"factory_lib.cli.{module}").commands.commands[name]
        commands.append((name, command))
        if isinstance(command, click.Group):
            commands += [(f"{name} {sub}", part) for sub, part in command.commands.items()]
    return commands


@pytest.mark.parametrize(("name", "command"), all_commands(), ids=[n for n, _ in all_commands()])
def test_every_option_has_a_help_and_every_command_takes_the_shared_ones(
    name: str, command: click.Command
) -> None:
    if name == "simulate":  # its options are the simulator's own
        return
    options = {p.name: p for p in command.params if isinstance(p, click.Option)}
    assert {"profile", "as_json"} <= set(options)
    assert all(option.help for option in options.values())
    assert command.help


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"factory, version {metadata.version('factory-lib')}\n"


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["gasp"], "gaps"),
        (["backfil", "--dry-run"], "backfill"),
        (["quarantine", "lst"], "list"),
        (["gaps", "--sinse", "2026-01-01"], "--since"),
    ],
)
def test_a_mistyped_word_names_the_nearest(
    words: list[str], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Did you mean" in line
    assert f"'{nearest}'" in line
    assert "--help`." in line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["index", "x"], "Got unexpected extra argument (x). See `factory index --help`."),
        (
            ["--json", "plan", "--pin", "a"],
            "'--pin' requires 3 arguments. See `factory plan --help`.",
        ),
    ],
    ids=["argument", "option"],
)
def test_unusable_words_end_in_the_help_to_read(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.endswith(f"{line}\n")


def test_a_group_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alerts"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("Usage: factory alerts ")
    assert "See `" not in text


@pytest.mark.parametrize(
    "words",
    [
        ["--profile", "demo", "--json", "config", "check"],
        ["config", "--profile", "demo", "--json", "check"],
        ["config", "check", "--profile", "demo", "--json"],
    ],
    ids=["before", "between", "after"],
)
def test_shared_options_may_stand_anywhere(
    home: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["profile"] == "demo"


def test_help_and_completion_import_nothing_heavy(home: Path) -> None:
    program = (
        "import sys; from factory_lib.cli import main; main(['--help']);"
        "print(sorted({'pandas', 'numpy', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("factory ba", {"backfill", "backup"}),
        ("factory run ml_", {"ml_training", "ml_predictions"}),
    ],
    ids=["command", "job"],
)
def test_a_shell_completes_commands_and_jobs(home: Path, line: str, expected: set[str]) -> None:
    env = {
        **os.environ,
        "_FACTORY_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    done = subprocess.run(FACTORY, env=env, capture_output=True, text=True, check=False)
    assert {entry.partition(",")[2] for entry in done.stdout.splitlines()} == expected


def test_work_goes_on_when_the_reader_of_the_output_went_away() -> None:
    program = (
        "import sys; from factory_lib.cli.common import write\n"
        "for _ in range(9): write('x' * 99_999)\n"
        "sys.stderr.write('done')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == "done"
    assert process.returncode == 0


def test_empty_fields_of_a_row_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    common.write_rows([{"a": 1, "b": "", "c": None}, {"a": 0}], as_json=False)
    common.write_rows([], as_json=False)
    assert capsys.readouterr().out == "a 1\na 0\nnone\n"


def test_a_table_is_written_with_two_decimals(capsys: pytest.CaptureFixture[str]) -> None:
    calls = pd.DataFrame({"target": ["ree"], "median_ms": [13936.962263]})
    assert common.write_result(JobResult("ok", "Well.", {}, {"calls": calls}), False) == 0
    assert "13,936.96\n" in capsys.readouterr().out


def test_a_table_has_no_empty_column_and_no_word_for_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobs = pd.DataFrame(
        {
            "job": ["ingest", "health_check"],
            "begun": pd.to_datetime([None, "2026-11-27T22:57:43.378057Z"]),
            "ended": pd.to_datetime([None, None], utc=True),
            "pause": ["", ""],
            "rate": [float("nan"), 1.0],
        }
    )
    assert common.write_result(JobResult("ok", "Well.", {}, {"jobs": jobs}), False) == 0
    lines = capsys.readouterr().out.splitlines()[3:]
    assert [line.split() for line in lines] == [
        ["job", "begun", "rate"],
        ["ingest"],
        ["health_check", "2026-11-27", "23:57", "CET", "1.00"],
    ]
