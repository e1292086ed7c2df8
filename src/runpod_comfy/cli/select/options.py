"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_command(
    commands: Subparsers,
    name: str,
    *,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    details: str = "",
    examples: str,
) -> argparse.ArgumentParser:
    """A subcommand whose help ends in examples, with the options that every command has."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary}\n\n{details}".strip(),
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--verbose", action="store_true", help="explain each step")
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", dest="as_json", action="store_true", help="one JSON document on standard output"
    )


def add_version(parser: argparse.ArgumentParser) -> None:
    """The version, as an argument or an option, or by its spec file."""
    parser.add_argument(
        "version",
        metavar="ID",
        nargs="?",
        help="version id; default $COMFY_VERSION_NAME, then demo",
    )
    parser.add_argument("--version-id", metavar="ID", help="the same, as an option")
    parser.add_argument(
        "--spec", metavar="FILE", type=Path, help="a spec file instead of versions/<id>.json"
    )


def add_realize_options(parser: argparse.ArgumentParser) -> None:
    """What decides where and from what a version is realized."""
    parser.add_argument("--lock", metavar="FILE", type=Path, help="a lock file to use as it is")
    parser.add_argument(
        "--target", metavar="DIR", type=Path, help="default: $COMFY_HOME, else ~/comfy-<id>"
    )
    parser.add_argument(
        "--wheels-dir",
        metavar="DIR",
        type=Path,
        help="install from these wheels only, with --no-index --find-links",
    )
    parser.add_argument("--offline", action="store_true", help="use the caches only")
    parser.add_argument(
        "--models-dir",
        metavar="DIR",
        type=Path,
        help="shared models folder; default $MODELS_DIR, else models/ of the target",
    )
