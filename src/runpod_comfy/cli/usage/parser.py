"""The parser of every command: a usage error is a ComfyError that names what was probably meant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from comfy_errors import InvalidInputError
from comfy_errors.names import nearest


class UsageError(InvalidInputError):
    """A command line that cannot be read; `usage` shows how the command is written."""

    def __init__(self, message: str, *, usage: str, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """argparse's parser, which raises UsageError instead of printing and exiting."""

    def error(self, message: str) -> NoReturn:
        self._refuse(message)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """A command reads all that follows its name: what is unknown there is an error of its own,
        reported before a missing argument, which it may be a misspelling of."""
        for option in self._options_in(args or ()):
            if option not in self._option_string_actions:
                self._refuse_option(option)
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            what = "unknown option" if unknown[0].startswith("-") else "unexpected argument"
            self._refuse(f"{what} '{unknown[0]}'")
        return parsed, unknown

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """The values of an option. An empty one is most often an unset variable of a script, and an
        empty path would be the working directory."""
        if action.option_strings and "" in arg_strings:
            option = max(action.option_strings, key=len)
            leave_out = "" if action.required else f", or leave out {option}"
            self._refuse(f"{option} is empty", remedy=f"Give it a value{leave_out}.")
        return super()._get_values(action, arg_strings)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            meant = nearest(value, _command_names(action))
            commands = f"The commands are: {', '.join(action.choices)}."
            self._refuse(f"invalid command '{value}'", meant, remedy=commands)
        super()._check_value(action, value)

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse's own ignores errors, as of a full disk."""
        (file or sys.stderr).write(message)

    def _options_in(self, arguments: Sequence[str]) -> Iterator[str]:
        """The long options that are for this parser, and not for a command of it."""
        has_commands = self._subparsers is not None
        for argument in arguments:
            if argument == "--" or (has_commands and not argument.startswith("-")):
                return
            # argparse reads what has a space in it as a value.
            if argument.startswith("--") and " " not in argument:
                yield argument.partition("=")[0]

    def _refuse_option(self, option: str) -> NoReturn:
        meant = nearest(option, [name for name in self._option_string_actions if name[:2] == "--"])
        self._refuse(f"unknown option '{option}'", meant)

    def _refuse(self, message: str, meant: str | None = None, *, remedy: str = "") -> NoReturn:
        hint = f"Did you mean '{meant}'? " if meant else ""
        remedy = remedy or f"See: {self.prog} --help"
        raise UsageError(message, usage=self.format_usage(), remedy=f"{hint}{remedy}")


def _command_names(commands: argparse._SubParsersAction[Any]) -> Iterator[str]:
    """The commands, and those of groups, as they are written."""
    for name, parser in commands.choices.items():
        yield name
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from (f"{name} {inner}" for inner in action.choices)
