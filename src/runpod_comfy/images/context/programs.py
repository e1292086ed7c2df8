"""The programs that a build needs: the handler as one PEX, built by Pants when its sources have
changed, and uv, both for the image's platform.

COMFY_HANDLER_PEX names a finished handler instead, for a place where there is no Pants.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from comfy_errors import InvalidInputError, OperationFailedError, UnavailableError
from comfy_files.files import replace_file, sha256_of
from comfy_files.progress import Say
from comfy_home.platforms import PLATFORMS
from runpod_comfy.cache.archive_store import find_archive, keep_archive
from runpod_comfy.cache.locks import key_lock
from runpod_comfy.cache.paths import Cache
from runpod_comfy.layers.uv import uv_program
from runpod_comfy.project import PACKAGES
from runpod_comfy.sources.index.files import Index
from runpod_comfy.sources.index.pip_settings import read_pip_settings

CHECKOUT = PACKAGES.parent

VARIABLE = "COMFY_HANDLER_PEX"
_TARGETS = {"linux-x86_64": "handler", "linux-aarch64": "handler-aarch64"}
_FOLDER = "src/rp_handler"
_PACKAGES = (
    *("comfy_errors", "comfy_files", "comfy_http", "comfy_home"),
    *("comfy_models", "comfy_workflows", "rp_handler"),
)
_OTHERS = ("lockfiles/default.lock", "pants.toml", "src/BUILD", "images/handler")
_LAST_LINES = 12


def handler_pex(image_platform: str, cache: Cache, say: Say, *, project: Path = CHECKOUT) -> Path:
    """The PEX for `linux-x86_64` or `linux-aarch64` of the handler as its sources are now, in
    `handlers/` of the cache; or the one that COMFY_HANDLER_PEX names, as it is.

    Raises OperationFailedError with the end of what Pants said if it cannot be built,
    UnavailableError where there is no Pants.
    """
    given = _given()
    if given is not None:
        return given
    place = cache.handlers / f"handler-{handler_digest(project)}-{image_platform}.pex"
    if place.is_file():
        # For `gc`, which keeps the one that was used last.
        place.touch()
        return place
    with key_lock(cache, str(place)), cache.writing():
        if not place.is_file():
            say("Building the handler with Pants")
            _build(project, _TARGETS[image_platform], place, cache)
    return place


def _build(project: Path, target: str, place: Path, cache: Cache) -> None:
    if not (project / "pants").is_file():
        raise UnavailableError(
            f"the handler of an image is built by Pants, which {project} does not have",
            remedy="Work in a checkout of the project, or name a finished PEX of the handler in "
            f"{VARIABLE}.",
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    # Pants writes nowhere but below the project.
    dist = project / "dist"
    dist.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dist, prefix="handler-") as folder:
        done = subprocess.run(
            [str(project / "pants"), f"--pants-distdir={folder}", "package", f"{_FOLDER}:{target}"],
            cwd=project,
            # Pants has an interpreter of its own, which ours would lead astray.
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        built = Path(folder) / _FOLDER.replace("/", ".") / f"{target}.pex"
        if done.returncode or not built.is_file():
            end = "".join(f"\n  {line}" for line in done.stdout.splitlines()[-_LAST_LINES:])
            raise OperationFailedError(
                f"Pants could not build the handler:{end}",
                remedy=f"See the whole of it with: ./pants package {_FOLDER}:{target}",
            )
        replace_file(place, built.read_bytes(), workplace=cache.tmp)


def handler_digest(project: Path = CHECKOUT) -> str:
    """A hash over everything that the PEX is made of, or over the one that was given: 64 hex
    digits."""
    given = _given()
    if given is not None:
        return sha256_of(given)
    digest = hashlib.sha256()
    for path in _sources(project):
        content = sha256_of(path)
        digest.update(f"{path.relative_to(project)} {content}\n".encode())
    return digest.hexdigest()


def _given() -> Path | None:
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    path = Path(named)
    if not path.is_file():
        raise InvalidInputError(
            f"{VARIABLE} names {named}, which is no file",
            remedy=f"Name a PEX of the handler, or unset {VARIABLE}: then Pants builds one.",
        )
    return path.absolute()


def _sources(project: Path) -> Iterator[Path]:
    for package in _PACKAGES:
        folder = project / "src" / package
        yield from sorted(
            path
            for path in folder.rglob("*")
            if path.suffix in (".py", ".typed") or path.name == "BUILD"
        )
    for other in _OTHERS:
        path = project / other
        yield from sorted(path.iterdir()) if path.is_dir() else [path]


def image_installer(image_platform: str, cache: Cache) -> Path:
    """The uv program for `linux-x86_64` or `linux-aarch64`, of the version that this project has.

    Raises UnavailableError if it is not at hand and no index has it.
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
            remedy="Look at the indexes that pip is configured to use: pip config list",
        )
    if found := find_archive(fitting[0].sha256, cache):
        return found
    with index.open(fitting[0]) as chunks:
        return keep_archive(
            chunks, cache, where=fitting[0].name, expected_sha256=fitting[0].sha256
        )[0]
