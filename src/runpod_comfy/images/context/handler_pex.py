"""The handler as one PEX for the image's platform, built by Pants when its sources have changed.

COMFY_HANDLER_PEX names a finished one instead, for a place where there is no Pants.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from comfy_errors import InvalidInputError, OperationFailedError, UnavailableError
from comfy_files.hashing import sha256_of
from comfy_files.progress import Say
from runpod_comfy.cache.locks import key_lock
from runpod_comfy.cache.paths import Cache
from runpod_comfy.checkout import CHECKOUT

VARIABLE = "COMFY_HANDLER_PEX"
_TARGETS = {"linux-x86_64": "handler", "linux-aarch64": "handler-aarch64"}
_FOLDER = "src/rp_handler"
_PACKAGES = (
    *("comfy_errors", "comfy_files", "comfy_http", "comfy_home"),
    *("comfy_models", "comfy_workflows", "rp_handler"),
)
_OTHERS = ("lockfiles/default.lock", "pants.toml", "src/BUILD", "images/handler")
_LAST_LINES = 12


def handler_pex(platform: str, cache: Cache, say: Say, *, project: Path = CHECKOUT) -> Path:
    """The PEX for `linux-x86_64` or `linux-aarch64` of the handler as its sources are now, in
    `handlers/` of the cache; or the one that COMFY_HANDLER_PEX names, as it is.

    Raises OperationFailedError with the end of what Pants said if it cannot be built,
    UnavailableError where there is no Pants.
    """
    given = _given()
    if given is not None:
        return given
    place = cache.handlers / f"handler-{handler_digest(project)}-{platform}.pex"
    if place.is_file():
        # For `gc`, which keeps the one that was used last.
        place.touch()
        return place
    with key_lock(cache, str(place)), cache.writing():
        if not place.is_file():
            say("Building the handler with Pants")
            _build(project, _TARGETS[platform], place, cache)
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
        with tempfile.TemporaryDirectory(dir=cache.tmp, prefix="handler-") as arrival:
            shutil.copyfile(built, Path(arrival) / place.name)
            (Path(arrival) / place.name).replace(place)


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
