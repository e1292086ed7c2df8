"""uv for the steps of a build: this project's version, for the image's platform."""

from __future__ import annotations

import platform
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

from comfy_errors import UnavailableError
from comfy_files.files import replace_file
from comfy_home.platforms import PLATFORMS
from runpod_comfy.cache.archive_store import find_archive, keep_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.layers.uv import uv_program
from runpod_comfy.sources.index.files import Index
from runpod_comfy.sources.index.pip_settings import read_pip_settings


def image_installer(image_platform: str, cache: Cache) -> Path:
    """The uv program for `linux-x86_64` or `linux-aarch64`, in this project's version.

    Raises UnavailableError if it is neither cached nor on an index.
    """
    machine = PLATFORMS[image_platform].machine
    if sys.platform == "linux" and platform.machine() == machine:
        return uv_program()
    wanted = version("uv")
    place = cache.tools / f"uv-{wanted}-{image_platform}"
    if not place.is_file():
        wheel = _wheel(wanted, machine, cache)
        with cache.writing(), zipfile.ZipFile(wheel) as archive:
            replace_file(place, archive.read(f"uv-{wanted}.data/scripts/uv"), mode=0o755)
    return place


def _wheel(wanted: str, machine: str, cache: Cache) -> Path:
    index = Index(settings=read_pip_settings())
    fitting = [
        file
        for file in index.files_of("uv")
        if file.name.startswith(f"uv-{wanted}-")
        and "manylinux" in file.name
        and machine in file.name
    ]
    if not fitting or fitting[0].sha256 is None:
        raise UnavailableError(
            f"no index has a wheel of uv {wanted} for Linux on {machine}",
            remedy="Check the indexes that pip is configured to use: pip config list",
        )
    if found := find_archive(fitting[0].sha256, cache):
        return found
    with index.open(fitting[0]) as chunks:
        return keep_archive(
            chunks, cache, where=fitting[0].name, expected_sha256=fitting[0].sha256
        )[0]
