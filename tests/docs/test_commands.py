"""The documents name every command, option and make target, and no others."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from runpod_comfy.cli.app import build_parser
from runpod_comfy.cli.options import UsageError
from tests.docs.documents import DOCUMENTS, ROOT, name_of, shell_lines

COMMANDS = (ROOT / "docs" / "commands.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
_TARGETS = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)


def _commands(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command with its name, such as `image build`."""
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        for word, command in group.choices.items():
            yield from _commands(command, f"{name} {word}".strip())


COMMAND_PARSERS = list(_commands(build_parser()))
COMMAND_NAMES = [name for name, _ in COMMAND_PARSERS]


def _section(heading: str) -> str:
    found = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", COMMANDS, re.M | re.S)
    assert found, f'docs/commands.md has no section "{heading}"'
    return found.group(1)


def _first_command(line: str) -> list[str]:
    """Its words, up to a pipe or the like."""
    words = shlex.split(line, comments=True)
    return list(takewhile(lambda word: word not in ("|", ">", "&&"), words))


def _contract(start: str) -> str:
    """The part of the contracts from `start` to the end of the sentence."""
    text = (ROOT / "docs" / "contracts.md").read_text()
    found = re.search(rf"^{re.escape(start)}(.*?)\.$", text, re.M | re.S)
    assert found, f'docs/contracts.md has no sentence "{start}"'
    return found.group(1)


def _make_targets() -> set[str]:
    return set(_TARGETS)


def test_the_contracts_name_every_command() -> None:
    named = re.findall(r"`([a-z-]+)[a-z -]*`", _contract("One program, `runpod-comfy`:"))
    assert named == list(dict.fromkeys(name.split()[0] for name in COMMAND_NAMES))


def test_the_contracts_name_every_make_target_and_its_variables() -> None:
    targets = re.findall(r"`([a-z-]+)`", _contract("Make targets:"))
    assert targets == _TARGETS
    read = set(re.findall(r"\$\(([A-Z]+)\)", MAKEFILE))
    inner = set(re.findall(r"^([A-Z_]+) =", MAKEFILE, re.M))
    assert set(re.findall(r"`([A-Z]+)`", _contract("Variables:"))) == read - inner


@pytest.mark.parametrize(("name", "parser"), COMMAND_PARSERS, ids=COMMAND_NAMES)
def test_the_reference_names_every_command_with_its_options(
    name: str, parser: argparse.ArgumentParser
) -> None:
    named = set(re.findall(r"--[a-z-]+", _section(f"`{name}`")))
    common = set(re.findall(r"--[a-z-]+", _section("Options of many commands")))
    options = {
        option
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    assert options <= named | common
    assert named <= options, "the section names options that the command does not have"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_of_the_documents_is_one_that_the_program_takes(document: Path) -> None:
    for line in shell_lines(document.read_text()):
        words = _first_command(line)
        if words[:2] == ["python3", "scripts/version.py"]:
            words = ["runpod-comfy", *words[2:]]
        if words[:1] == ["runpod-comfy"]:
            try:
                build_parser().parse_args(words[1:])
            except UsageError as error:
                pytest.fail(f"{name_of(document)}: {line}: {error.message}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_make_target_of_the_documents_is_there(document: Path) -> None:
    text = document.read_text()
    code = [*shell_lines(text), *re.findall(r"`([^`\n]+)`", text)]
    named = {word for line in code for word in re.findall(r"^make ([a-z][a-z-]*)", line)}
    assert named <= _make_targets()


def test_the_documents_name_every_make_target() -> None:
    text = COMMANDS + (ROOT / "CONTRIBUTING.md").read_text()
    missing = {one for one in _make_targets() if f"make {one}" not in text} - {"help"}
    assert not missing
