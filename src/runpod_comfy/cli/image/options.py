"""The options that the commands of `image` share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runpod_comfy.cli.options import add_version, given, named_version, with_version_ids
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.api.versions import Selected


def add_image_version(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the version and its base."""
    add_named_version(parser)
    add = parser.add_argument
    add("--lock", metavar="FILE", type=Path, help="a lock file to use as it is")
    add(
        "--base",
        metavar="BASE",
        help="cpu, cuda, cuda-devel, or an image; default: the spec's options.base, else cpu",
    )
    add(
        "--platform",
        metavar="PLATFORM",
        help="linux-x86_64 (the default) or linux-aarch64, or Docker's names for them",
    )


def add_named_version(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--version`."""
    add_version(parser)
    with_version_ids(
        parser.add_argument(
            "--version", dest="version_id", metavar="ID", help="the version id, as an option"
        )
    )


def add_build_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--network", metavar="MODE", help="the network of the build's steps, such as host or none")
    add(
        "--ca-bundle",
        metavar="FILE",
        type=Path,
        help="certificates that the build's steps trust; they are not stored in the image",
    )
    add("--offline", action="store_true", help="download nothing on this machine")


def build_options(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The values of the options above, except the version's name."""
    names = ("spec", "lock", "base", "platform", "network", "ca_bundle", "offline", "project")
    return {**given(arguments, *names), "say": console.say, "explain": console.explain}


def selected_lock(arguments: argparse.Namespace, console: Console) -> Selected:
    """The lock of the named version; resolves the version first if no lock matches."""
    from runpod_comfy.api.versions import select

    return select(
        named_version(arguments),
        **given(arguments, "spec", "lock", "project"),
        say=console.say,
        explain=console.explain,
    )
