"""`remove`: removes a version from this machine, after showing what will be deleted."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_errors import InvalidInputError
from comfy_errors.names import escaped
from comfy_files.progress import readable_size, when_slow
from comfy_files.user_paths import expanded
from runpod_comfy.cli.options import Subparsers, add_command
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.homes.remove import Removal

_EXAMPLES = """\
  runpod-comfy remove --target ~/comfy-demo --dry-run
  runpod-comfy remove --target ~/comfy-demo --yes --remove-models --remove-root
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "remove",
        run=_run,
        summary="Remove a realized version; input, output, user and models are kept.",
        details="Only a folder with the marker .comfy_env or a ComfyUI folder is changed.",
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    # Accepted only for an error that shows how to name it.
    add("version", nargs="?", help=argparse.SUPPRESS)
    add("--target", metavar="DIR", type=Path, help="the version's folder; default $COMFY_HOME")
    add("--yes", action="store_true", help="do not ask for confirmation")
    add("--remove-models", action="store_true", help="remove the models folder in it too")
    add("--remove-root", action="store_true", help="remove the folder itself if nothing is left")
    add("--dry-run", action="store_true", help="show what would be removed, and change nothing")


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.homes.remove import plan_removal, refuse_removal, remove

    if arguments.version is not None:
        named = arguments.target or _home_of(arguments.version)
        raise InvalidInputError(
            f"unexpected argument '{arguments.version}'",
            remedy=f"Name the version's folder: runpod-comfy remove --target {named}",
        )
    target = arguments.target or os.environ.get("COMFY_HOME")
    if not target:
        raise InvalidInputError(
            "no folder to remove", remedy="Name the version's folder with --target or COMFY_HOME."
        )
    cache = Cache.from_environment()
    with when_slow(console.say, f"Measuring {target}"):
        removal = plan_removal(
            expanded(target),
            remove_models=arguments.remove_models,
            remove_root=arguments.remove_root,
            cache=cache,
        )
    if arguments.dry_run:
        console.result(_plan_text(removal), _document(removal, removed=False))
        return 0
    # Before the question.
    refuse_removal(removal.target)
    if not arguments.yes and not _is_confirmed(removal, console):
        console.say("Nothing was removed")
        return 1
    with when_slow(console.say, f"Removing {removal.target}"):
        left = remove(removal, console.say, cache=cache)
    document = _document(removal, removed=True) | {"left": left}
    text = f"{removal.target} removed, {readable_size(removal.freed_bytes)} freed"
    names = [
        path.relative_to(removal.target).as_posix() for path in (*left, *removal.unmanaged_nodes)
    ]
    kept = f"; kept: {', '.join(names)}" if names else ""
    console.result(escaped(text + kept), document)
    return 0


def _home_of(named: str) -> str:
    """The folder that the user means by a version's id, or by a path."""
    return named if "/" in named else os.environ.get("COMFY_HOME") or f"~/comfy-{named}"


def _is_confirmed(removal: Removal, console: Console) -> bool:
    if not sys.stdin.isatty():
        raise InvalidInputError("stdin is not a terminal: pass --yes")
    console.say(_plan_text(removal))
    print("Remove this? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _plan_text(removal: Removal) -> str:
    lines = [f"remove {entry.path}  {readable_size(entry.size_bytes)}" for entry in removal.entries]
    lines += [f"keep {node}, which is not part of the version" for node in removal.unmanaged_nodes]
    if removal.removes_root:
        lines.append(f"remove {removal.target} if it is empty")
    freed = readable_size(removal.freed_bytes)
    return "\n".join(
        [*map(escaped, lines), f"{freed} would be freed; the rest is shared with the cache"]
    )


def _document(removal: Removal, *, removed: bool) -> dict[str, object]:
    return {
        "target": removal.target,
        "removed": removed,
        "freed_bytes": removal.freed_bytes,
        "entries": [
            {"path": entry.path, "size_bytes": entry.size_bytes} for entry in removal.entries
        ],
        "unmanaged_nodes": removal.unmanaged_nodes,
    }
