"""The program as a whole: help, usage errors, exit codes, pipes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from runpod_comfy.cli.app import run_command_line
from tests.program import start_python

COMMANDS = ["create", "resolve", "diff", "realize", "run", "test", "remove", "bundle", "init"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command_line([command, "--help"])
    assert ended.value.code == 0
    assert f"runpod-comfy {command}" in capsys.readouterr().out.split("examples:")[1]


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["create"], ["create", "x"], ["realize", "--no-such-flag"], ["remove", "x"]],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command_line(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_an_error_is_one_sentence_and_a_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "versions").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run_command_line(["resolve", "nowhere"]) == 3
    told = capsys.readouterr()
    assert told.out == ""
    error, remedy = told.err.splitlines()
    assert error.startswith("error: ")
    assert "nowhere" in error
    assert remedy.startswith("  → ")


def test_with_json_an_error_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["resolve", "one", "--version-id", "two", "--json"]) == 2
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert set(document) == {"error", "remedy", "exit_code"}
    assert document["exit_code"] == 2
    assert document["error"] in told.err


def test_two_different_ids_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["resolve", "one", "--version-id", "two"]) == 2
    assert "'one' and 'two'" in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_the_program_quietly() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as stdout:
        program = start_python(
            "-m", "runpod_comfy.cli.app", "--help", stdout=stdout, stderr=subprocess.PIPE
        )
        _, told = program.communicate()
    assert told == ""
    assert program.returncode == 0


def test_help_imports_neither_pydantic_nor_a_network_library() -> None:
    program = (
        "import sys\n"
        "from runpod_comfy.cli.app import build_parser\n"
        "build_parser().format_help()\n"
        "print([name for name in ('pydantic', 'requests', 'aiohttp') if name in sys.modules])\n"
    )
    assert start_python("-c", program).communicate()[0] == "[]\n"
