"""The handler as one PEX for the image's platform, built by Pants when its sources have changed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from comfy_errors import OperationFailedError
from runpod_comfy.sources.cache import Cache
from runpod_comfy.sources.one_maker import one_maker
from runpod_comfy.sources.tree import Say

PROJECT = Path(__file__).resolve().parents[3]
_TARGETS = {"linux-x86_64": "handler", "linux-aarch64": "handler-aarch64"}
_FOLDER = "src/rp_handler"
_PACKAGES = ("comfy_errors", "comfy_manifest", "comfy_models", "comfy_workflows", "rp_handler")
_OTHERS = ("lockfiles/default.lock", "pants.toml", "src/BUILD", "images/handler")
_LAST_LINES = 12


def handler_pex(platform: str, cache: Cache, say: Say, *, project: Path = PROJECT) -> Path:
    """The PEX for `linux-x86_64` or `linux-aarch64` of the handler as its sources are now, in
    `handlers/` of the cache.

    Raises OperationFailedError with the end of what Pants said if it cannot be built.
    """
    place = cache.handlers / f"{handler_digest(project)}-{platform}.pex"
    if place.is_file():
        # For `gc`, which keeps the one that was used last.
        place.touch()
        return place
    with one_maker(cache, str(place)), cache.writing():
        if not place.is_file():
            say("Building the handler with Pants")
            _build(project, _TARGETS[platform], place, cache)
    return place


def _build(project: Path, target: str, place: Path, cache: Cache) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    # Pants writes nowhere but below the project.
    dist = project / "dist"
    dist.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dist, prefix="handler-") as folder:
        done = subprocess.run(
            [str(project / "pants"), f"--pants-distdir={folder}", "package", f"{_FOLDER}:{target}"],
            cwd=project,
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


def handler_digest(project: Path = PROJECT) -> str:
    """A hash over everything that the PEX is made of: 64 hex digits."""
    digest = hashlib.sha256()
    for path in _sources(project):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(project)} {content}\n".encode())
    return digest.hexdigest()


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
