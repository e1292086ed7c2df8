"""Usage errors: the usage of the command, what was probably meant, exit code 2, one document."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator

import pytest

from runpod_comfy.cli.app import build_parser, run_command_line


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert run_command_line(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    return told.err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "command", "error"),
    [
        ([], "runpod-comfy", "the following arguments are required: COMMAND"),
        (["create", "x"], "runpod-comfy create", "the following arguments are required: --repo"),
        (["gc", "x"], "runpod-comfy gc", "unexpected argument 'x'"),
        (["realize", "-q"], "runpod-comfy realize", "unknown option '-q'"),
        (["image", "push", "--no"], "runpod-comfy image push", "unknown option '--no'"),
        (
            ["run", "--timeout", "soon"],
            "runpod-comfy run",
            "argument --timeout: invalid float value: 'soon'",
        ),
        *(
            (
                [command, "--port", "80x"],
                f"runpod-comfy {command}",
                "argument --port: it must be between 1 and 65535, not 80x",
            )
            for command in ("run", "test", "repro")
        ),
    ],
)
def test_the_error_follows_the_usage_of_its_command(
    capsys: pytest.CaptureFixture[str], arguments: list[str], command: str, error: str
) -> None:
    told = _refused(capsys, *arguments)
    assert told[0].startswith(f"usage: {command} [-h]")
    assert told[-2:] == [f"error: {error}", f"  → See: {command} --help"]


@pytest.mark.parametrize(
    ("arguments", "comfy_home", "folder"),
    [
        (["mine"], "", "~/comfy-mine"),
        (["mine"], "/srv/home", "/srv/home"),
        (["mine", "--target", "/srv/other"], "/srv/home", "/srv/other"),
        (["/srv/mine"], "/srv/home", "/srv/mine"),
    ],
)
def test_a_version_to_remove_is_named_by_its_folder(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    comfy_home: str,
    folder: str,
) -> None:
    monkeypatch.setenv("COMFY_HOME", comfy_home)
    assert _refused(capsys, "remove", *arguments, "--yes") == [
        f"error: unexpected argument '{arguments[0]}'",
        f"  → Name the version's folder: runpod-comfy remove --target {folder}",
    ]


@pytest.mark.parametrize(
    ("arguments", "meant", "commands"),
    [
        (["relaize"], "realize", "create, add-node, add-model,"),
        (["build"], "image build", "create, add-node, add-model,"),
        (["image", "biuld"], "build", "build, dockerfile,"),
        (["bundle", "laod"], "load", "create, load, show."),
    ],
)
def test_an_unknown_command_is_answered_with_the_one_that_was_meant_and_all_that_there_are(
    capsys: pytest.CaptureFixture[str], arguments: list[str], meant: str, commands: str
) -> None:
    *_, error, remedy = _refused(capsys, *arguments)
    assert error == f"error: invalid command '{arguments[-1]}'"
    assert remedy.startswith(f"  → Did you mean '{meant}'? The commands are: {commands}")


@pytest.mark.parametrize(
    ("arguments", "option", "meant"),
    [
        (["realize", "--dryrun"], "--dryrun", "--dry-run"),
        (["realize", "--models-di=x", "demo"], "--models-di", "--models-dir"),
        (["--vesion"], "--vesion", "--version"),
        # Not that --repo is missing.
        (["create", "x", "--rep", "URL"], "--rep", "--repo"),
    ],
)
def test_an_unknown_option_is_answered_with_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str], arguments: list[str], option: str, meant: str
) -> None:
    *_, error, remedy = _refused(capsys, *arguments)
    assert error == f"error: unknown option '{option}'"
    assert remedy.startswith(f"  → Did you mean '{meant}'?")


def test_what_is_quite_different_is_not_proposed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean" not in "".join(_refused(capsys, "frobnicate"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["realize", "--json", "--dryrun"],
        ["run", "--timeout", "soon", "--json"],
        ["realize", "--verify", "--dry-run", "--json"],
        ["relaize", "--json"],
    ],
)
def test_with_json_a_usage_error_is_one_document(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run_command_line(arguments) == 2
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert set(document) == {"error", "remedy", "exit_code"}
    assert document["exit_code"] == 2
    assert document["error"] in told.err


def test_an_option_s_value_may_have_two_dashes_and_a_space(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = _refused(capsys, "create", "x", "--repo", "--not an option")
    assert "unknown option" not in "".join(told)


def _value_options(
    parser: argparse.ArgumentParser, *command: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each option of a command, or of a command in it, that takes a value."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from _value_options(inner, *command, name)
        elif action.nargs != 0:
            yield from ((command, option) for option in action.option_strings)


def test_an_empty_value_of_any_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    options = list(_value_options(build_parser()))
    assert {
        ((), "--project"),
        (("realize",), "--target"),
        (("image", "build"), "--tag"),
        (("bundle", "create"), "-o"),
    } <= set(options)
    for command, option in options:
        *_, error, _ = _refused(capsys, *command, option, "")
        long = "--output" if option == "-o" else option
        assert error == f"error: {long} is empty"


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["remove", "--target="], "Give it a value, or leave out --target."),
        (["bundle", "create", "-o", ""], "Give it a value."),
    ],
)
def test_an_empty_value_may_be_left_out_if_the_option_may(
    capsys: pytest.CaptureFixture[str], arguments: list[str], remedy: str
) -> None:
    assert _refused(capsys, *arguments)[-1] == f"  → {remedy}"


@pytest.mark.parametrize(
    ("command", "options"), [("run", ["--workflow", "--ui"]), ("test", ["--workflow", "--all"])]
)
def test_without_a_workflow_the_options_of_the_command_are_named(
    capsys: pytest.CaptureFixture[str], command: str, options: list[str]
) -> None:
    error, remedy = _refused(capsys, command, "demo")
    assert error == "error: no workflow was given"
    assert re.findall(r"--\w+", remedy) == options
