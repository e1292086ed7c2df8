"""The options that the commands of `image` share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runpod_comfy.cli.options import add_version, given, named_version
from runpod_comfy.cli.show.console import Console
from runpod_comfy.cli.usage.completers import with_version_ids

if TYPE_CHECKING:
    from runpod_comfy.api.versions import Selected


def add_image_version(parser: argparse.ArgumentParser) -> None:
    """Which version, and what it is based on."""
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
        help="linux-x86_64 (the default) or linux-aarch64; Docker's names do as well",
    )


def add_named_version(parser: argparse.ArgumentParser) -> None:
    """Which version, in one more way: `--version`."""
    add_version(parser)
    with_version_ids(
        parser.add_argument("--version", dest="version_id", metavar="ID", help="the same as above")
    )


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """What surrounds a build."""
    add = parser.add_argument
    add("--network", metavar="MODE", help="the network of the build's steps, such as host or none")
    add(
        "--ca-bundle",
        metavar="FILE",
        type=Path,
        help="certificates that the build's steps trust; they do not stay in the image",
    )
    add("--offline", action="store_true", help="fetch nothing on this machine")


def build_options(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """What `add_image_version` and `add_build_options` were given, but for the version's name."""
    names = ("spec", "lock", "base", "platform", "network", "ca_bundle", "offline", "project")
    return {**given(arguments, *names), "say": console.say, "explain": console.explain}


def selected_lock(arguments: argparse.Namespace, console: Console) -> Selected:
    """The lock of the version that was named; resolves it first where none answers it."""
    from runpod_comfy.api.versions import select

    return select(
        named_version(arguments),
        **given(arguments, "spec", "lock", "project"),
        say=console.say,
        explain=console.explain,
    )
