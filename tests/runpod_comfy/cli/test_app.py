"""The program as a whole: help, usage errors, exit codes, pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import runpod_comfy
from comfy_errors import UnavailableError
from runpod_comfy.cli.app import run_command_line
from tests.http_server import Answer, serve
from tests.program import our_modules, start_python

COMMANDS = [
    *("create", "list", "resolve", "diff", "realize", "run", "test", "remove", "bundle", "image"),
    *("gc", "doctor", "init", "completion"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command_line([command, "--help"])
    assert ended.value.code == 0
    assert f"runpod-comfy {command}" in capsys.readouterr().out.split("examples:")[1]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command_line(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"runpod-comfy {runpod_comfy.__version__}\n"


@pytest.mark.parametrize("arguments", [["--project", "{}", "diff"], ["diff", "--project", "{}"]])
def test_the_project_folder_is_named_before_or_after_the_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    (tmp_path / "project" / "versions").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    place = str(tmp_path / "project")
    assert run_command_line([*(part.format(place) for part in arguments), "a", "b"]) == 3
    assert f"there is no version spec at {place}/versions/a.json" in capsys.readouterr().err
    nowhere = str(tmp_path / "nowhere")
    assert run_command_line([*(part.format(nowhere) for part in arguments), "a", "b"]) == 3
    assert f"there is no project folder {nowhere}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["diff", "~/x.json", "demo"],
        ["bundle", "show", "~/x.json"],
        ["bundle", "load", "~/x.json"],
        ["run", "demo", "--workflow=~/x.json"],
        ["test", "demo", "--workflow=~/x.json"],
        ["repro", "demo", "--workflow=~/x.json"],
        ["image", "run", "demo", "--workflow=~/x.json"],
        ["image", "base", "--ca-bundle=~/x.json"],
        ["image", "build", "demo", "--ca-bundle=~/x.json"],
    ],
)
def test_a_tilde_is_the_home_folder_in_every_command(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert run_command_line(arguments) in (2, 3)
    assert str(tmp_path / "x.json") in capsys.readouterr().err


def test_an_empty_id_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["resolve", ""], ["realize", ""], ["image", "push", ""]):
        assert run_command_line(arguments) == 2
        assert "the version id is empty" in capsys.readouterr().err


def test_an_interruption_has_a_next_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("runpod_comfy.upkeep.doctor.examine", interrupt)
    assert run_command_line(["doctor", "--json"]) == 130
    told = capsys.readouterr()
    assert told.err.splitlines() == ["interrupted", "  → Run the same command again to continue."]
    assert json.loads(told.out)["exit_code"] == 130


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (UnavailableError("HOME is not set", remedy="Set HOME."), 3),
        (PermissionError(13, "Permission denied", "versions"), 1),
    ],
)
def test_an_error_before_the_command_starts_is_reported_too(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("runpod_comfy.cli.app.answer_shell", fail)
    assert run_command_line(["list", "--json"]) == code
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert document["exit_code"] == code
    assert document["error"] in told.err
    assert document["remedy"] in told.err


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["list", "--json"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_an_error(
    arguments: list[str], unbuffered: str, tmp_path: Path
) -> None:
    with Path("/dev/full").open("w") as stdout:
        program = start_python(
            *("-m", "runpod_comfy.cli.app", *arguments),
            variables={"PYTHONUNBUFFERED": unbuffered, "COMFY_CACHE_ROOT": str(tmp_path / "cache")},
            cwd=tmp_path,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        _, told = program.communicate()
    assert program.returncode == 1
    assert "error: disk full" in told
    assert "Traceback" not in told
    assert "Exception ignored" not in told


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream_is_no_error(closed: str, tmp_path: Path) -> None:
    command = f'"$0" -m runpod_comfy.cli.app list {closed}'
    program = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        env={**os.environ, **our_modules(), "COMFY_CACHE_ROOT": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert program.returncode == 0
    assert "Traceback" not in program.stderr


def test_help_imports_only_what_it_needs() -> None:
    program = (
        "import sys\n"
        "from runpod_comfy.cli.app import build_parser\n"
        "build_parser().format_help()\n"
        "slow = ('pydantic', 'requests', 'aiohttp', 'argcomplete', 'rp_handler.job', 'uuid')\n"
        "print([name for name in slow if name in sys.modules])\n"
    )
    assert start_python("-c", program).communicate()[0] == "[]\n"


def test_a_netrc_that_cannot_be_read_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "netrc").write_text("machine a password secret\nsecret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    with serve(answering=lambda _: Answer(status=404)) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        run_command_line(["doctor"])
    told = capsys.readouterr().err
    assert told.count(f"Warning: {tmp_path / 'netrc'} cannot be understood near line 3") == 1
    assert "secret" not in told
