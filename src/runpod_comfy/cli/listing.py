"""`list`: the versions of a project, with their locks, homes and images."""

from __future__ import annotations

import argparse
from itertools import zip_longest
from typing import TYPE_CHECKING

from runpod_comfy.cli.options import Subparsers, add_command
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.api.listing import ListedVersion

_EXAMPLES = """\
  runpod-comfy list
  runpod-comfy list --project ~/pictures --json
"""


def add_parser(commands: Subparsers) -> None:
    add_command(
        commands,
        "list",
        run=_run,
        summary="List the versions of the project, with their locks, homes and images.",
        details="A lock is outdated if the spec has changed since, a home or an image if it was\n"
        "made from another lock. Versions from loaded bundles are listed too. Images are\n"
        "listed if a Docker engine answers.",
        examples=_EXAMPLES,
    )


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.listing import list_versions
    from runpod_comfy.api.workspace import find_project

    project = find_project(arguments.project)
    versions = list_versions(project, explain=console.explain)
    for version in versions:
        if version.error:
            console.say(f"Warning: {version.error.splitlines()[0].removesuffix(':')}")
    if not versions:
        console.say(f"There are no versions in {project / 'versions'}")
        console.say("  → Write one with: runpod-comfy create ID --repo URL@REF")
    console.result(_table(versions), {"project": project, "versions": versions})
    return 0


def _table(versions: list[ListedVersion]) -> str:
    """One line per version, and more if it has several homes or images."""
    if not versions:
        return ""
    has_engine = versions[0].images is not None
    rows = [("VERSION", "LOCK", "HOME", "IMAGE")]
    for version in versions:
        name = version.version_id + (" (bundle)" if version.is_bundled else "")
        homes = [_with_state(str(home.path), home.state) for home in version.homes]
        images = [
            _with_state(
                image.tags[0], "ready" if image.lock_digest == version.lock_digest else "outdated"
            )
            for image in version.images or ()
        ]
        (home, image), *more = zip_longest(homes or ["-"], images or ["-"], fillvalue="")
        rows += [(name, version.lock, home, image), *(("", "", *each) for each in more)]
    shown = [row if has_engine else row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    )


def _with_state(name: str, state: str) -> str:
    return name if state == "ready" else f"{name} ({state})"
