"""The parser of every command, for which a usage error is a ComfyError that names what was probably
meant, and the options that several commands share.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from comfy_errors import InvalidInputError
from comfy_errors.names import nearest
from runpod_comfy.api.workspace import find_project, spec_files
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cli.show.console import Console


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


Subparsers: TypeAlias = "argparse._SubParsersAction[Parser]"


def add_command(
    commands: Subparsers,
    name: str,
    *,
    run: Callable[[argparse.Namespace, Console], int],
    summary: str,
    details: str = "",
    examples: str,
    json: bool = True,
) -> argparse.ArgumentParser:
    """Adds a subcommand with examples at the end of its help, and the options of every command."""
    parser = _add_parser(commands, name, summary, details, examples)
    parser.set_defaults(run=run, as_json=False)
    add = parser.add_argument
    add("--verbose", action="store_true", help="explain each step")
    if json:
        add(
            "--json",
            dest="as_json",
            action="store_true",
            help="one JSON document on standard output",
        )
    return parser


def add_group(commands: Subparsers, name: str, *, summary: str, examples: str) -> Subparsers:
    """Adds a command with subcommands."""
    parser = _add_parser(commands, name, summary, "", examples)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _add_parser(
    commands: Subparsers, name: str, summary: str, details: str, examples: str
) -> Parser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary}\n\n{details}".strip(),
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # A value given before the command's name is kept if there is none after it.
    add_project(parser, default=argparse.SUPPRESS)
    return parser


def add_project(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """Adds the project folder, which every command accepts, before and after its name."""
    parser.add_argument(
        "--project",
        metavar="DIR",
        type=Path,
        default=default,
        help="the project folder; default: the first with versions/ at or above the working "
        "directory, else the working directory",
    )


def add_version(
    parser: argparse.ArgumentParser, *, default: str = "default $COMFY_VERSION_NAME, then demo"
) -> None:
    """Adds the version, as an argument or an option, or by its spec file."""
    add = parser.add_argument
    with_version_ids(add("version", metavar="ID", nargs="?", help=f"version id; {default}"))
    with_version_ids(add("--version-id", metavar="ID", help="the version id, as an option"))
    add("--spec", metavar="FILE", type=Path, help="a spec file instead of versions/<id>.json")


def add_realize_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the target and the sources of a realization."""
    add = parser.add_argument
    add("--lock", metavar="FILE", type=Path, help="a lock file to use as it is")
    add("--target", metavar="DIR", type=Path, help="default: $COMFY_HOME, else ~/comfy-<id>")
    add(
        "--wheels-dir",
        metavar="DIR",
        type=Path,
        help="install from these wheels only, with --no-index --find-links",
    )
    add("--offline", action="store_true", help="use the caches only")
    add(
        "--models-dir",
        metavar="DIR",
        type=Path,
        help="shared models folder; default $MODELS_DIR, else models/ of the target",
    )


def add_update_option(container: argparse._ActionsContainer) -> None:
    """Adds the option to accept changes in the folders of a version."""
    container.add_argument(
        "--update",
        action="store_true",
        help="resolve again first if a folder of the version was changed; other pins are kept",
    )


def named_version(arguments: argparse.Namespace) -> str | None:
    """The version given as an argument or an option.

    Raises InvalidInputError if they differ.
    """
    from runpod_comfy.api.workspace import one_name

    return one_name(arguments.version, arguments.version_id)


def given(arguments: object, *names: str) -> dict[str, Any]:
    """The options with these names, to be passed on."""
    return {name: getattr(arguments, name) for name in names}


def with_version_ids(action: argparse.Action) -> None:
    """Has a shell complete this argument with the versions of the project."""
    # argcomplete reads the attribute.
    action.completer = _version_ids  # type: ignore[attr-defined]


def _version_ids(*, parsed_args: argparse.Namespace, **_rest: object) -> list[str]:
    return list(spec_files(find_project(parsed_args.project), Cache.from_environment()))
