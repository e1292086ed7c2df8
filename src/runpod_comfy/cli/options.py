"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from runpod_comfy.api.workspace import find_project, spec_files
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cli.show.console import Console
from runpod_comfy.cli.usage.parser import Parser

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
