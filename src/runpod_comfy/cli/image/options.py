"""The options that the commands of `image` share, and the job that they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_errors import InvalidInputError
from comfy_home.platforms import PLATFORMS
from runpod_comfy.cli.select.options import add_version
from runpod_comfy.cli.select.workspace import version_id_of, workspace
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.cli.select.version import Selected
    from runpod_comfy.images.base.catalogue import BaseImage
    from runpod_comfy.images.build import ImageJob

DEFAULT_PLATFORM = "linux-x86_64"


def add_image_version(parser: argparse.ArgumentParser) -> None:
    """Which version, and what it stands on."""
    add_version(parser)
    parser.add_argument("--version", dest="version_id", metavar="ID", help="the same as above")
    parser.add_argument("--lock", metavar="FILE", type=Path, help="a lock file to use as it is")
    parser.add_argument(
        "--base",
        metavar="BASE",
        help="cpu, cuda, cuda-devel, or an image; default: the spec's options.base, else cpu",
    )
    parser.add_argument(
        "--platform",
        metavar="PLATFORM",
        help=f"{DEFAULT_PLATFORM} (the default) or linux-aarch64; Docker's names do as well",
    )


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """What surrounds a build."""
    parser.add_argument(
        "--network", metavar="MODE", help="the network of the build's steps, such as host or none"
    )
    parser.add_argument(
        "--ca-bundle",
        metavar="FILE",
        type=Path,
        help="certificates that the build's steps trust; they do not stay in the image",
    )
    parser.add_argument("--offline", action="store_true", help="fetch nothing on this machine")


def selected_lock(arguments: argparse.Namespace, console: Console) -> Selected:
    """The lock of the version that was named; resolves it first where none answers it."""
    from runpod_comfy.cli.select.version import select

    return select(
        version_id=version_id_of(arguments.version, arguments.version_id),
        spec=arguments.spec,
        lock=arguments.lock,
        offline=getattr(arguments, "offline", False),
        console=console,
    )


def base_and_platform(arguments: argparse.Namespace, selected: Selected) -> tuple[BaseImage, str]:
    from runpod_comfy.images.base.catalogue import find_base

    platform = arguments.platform or DEFAULT_PLATFORM
    names = {each.docker: each.name for each in PLATFORMS.values() if each.docker}
    base = find_base(selected.lock, asked=arguments.base)
    return base, names.get(platform, platform)


def image_job(arguments: argparse.Namespace, console: Console) -> ImageJob:
    """Raises InvalidInputError for a certificate bundle that is not there."""
    from runpod_comfy.cli.select.version import fetch_context_for, keep_cache_for
    from runpod_comfy.images.build import ImageJob

    bundle: Path | None = arguments.ca_bundle
    if bundle is not None and not bundle.is_file():
        raise InvalidInputError(
            f"there is no certificate bundle at {bundle}",
            remedy="Name a file of certificates in PEM format.",
        )
    selected = selected_lock(arguments, console)
    base, platform = base_and_platform(arguments, selected)
    fetch_context = fetch_context_for(selected.base_dir, console, offline=arguments.offline)
    keep_cache_for(selected, fetch_context.cache, console)
    return ImageJob(
        lock=selected.lock,
        base=base,
        platform=platform,
        fetch_context=fetch_context,
        workflows=sorted((workspace() / "workflows").glob("*.json")),
        ca_bundle=bundle,
        network=arguments.network,
    )
