"""The Python environment of a version: its interpreter, its packages, and where the cache keeps it.

An environment is made in the cache, under the keys of the layers that make it, and each home gets
hard links to its files: most of the time that one takes is spent on bytecode. It is relocatable and
its files depend on no place.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from comfy_errors import UnavailableError
from comfy_files.parallel import interrupted
from runpod_comfy.cache.archive_store import archive_index, find_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.homes.home import Home
from runpod_comfy.layers.plan import Layer
from runpod_comfy.layers.uv import uv_program
from runpod_comfy.lock.model import Distribution, DistributionFile
from runpod_comfy.lock.python.fit import fitting_files

LinkMode = Literal["hardlink", "copy"]

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


def has_environment(layers: Sequence[Layer], cache: Cache) -> bool:
    """Whether the cache has what these layers make; not one whose interpreter is gone."""
    return (environment_entry(layers, cache) / "bin" / "python").exists()


def put_environment(layers: Sequence[Layer], home: Home, cache: Cache) -> LinkMode:
    """Gives `home` the environment of these layers, in place of what lay there.

    Its files are hard links to those of the cache, or copies where that cannot be.
    """
    entry = environment_entry(layers, cache)
    shutil.rmtree(home.venv_staging, ignore_errors=True)
    linked = link_tree(entry, home.venv_staging)
    if not linked:
        shutil.copytree(entry, home.venv_staging, symlinks=True)
    if home.venv.exists():
        shutil.rmtree(home.venv)
    home.venv_staging.replace(home.venv)
    return "hardlink" if linked else "copy"


def environment_entry(layers: Sequence[Layer], cache: Cache) -> Path:
    """Where the environment that these layers make lies, or would lie."""
    keys = "\n".join(layer.key for layer in layers)
    return cache.environments / hashlib.sha256(keys.encode()).hexdigest()


def link_tree(source: Path, target: Path) -> bool:
    """Makes `target` a tree like `source` whose files are hard links; False if that cannot be."""
    try:
        _link_folder(str(source), str(target))
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.rmtree(target, ignore_errors=True)
        return False
    return True


def _link_folder(source: str, target: str) -> None:
    # 40,000 files: plain strings and scandir take a third of the time that pathlib takes.
    if interrupted():
        raise KeyboardInterrupt
    os.mkdir(target)  # noqa: PTH102
    with os.scandir(source) as entries:
        for entry in entries:
            place = f"{target}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), place)  # noqa: PTH115, PTH211
            elif entry.is_dir(follow_symlinks=False):
                _link_folder(entry.path, place)
            else:
                os.link(entry.path, place)
    of = os.stat(source)  # noqa: PTH116
    os.chmod(target, stat.S_IMODE(of.st_mode))  # noqa: PTH101
    os.utime(target, ns=(of.st_atime_ns, of.st_mtime_ns))


def find_interpreter(version: str) -> Path:
    """An interpreter of the minor version `version`, say `3.11`.

    Looked for: the one that this program runs on, then what uv finds (PATH and its own), then
    pyenv's. Raises UnavailableError, naming how to install it, if there is none.
    """
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(getattr(sys, "_base_executable", sys.executable))
    if version == ours and base.is_file():
        return base
    found = _ask_uv(version) or _look_in_pyenv(version)
    if found is None:
        raise UnavailableError(
            f"this version runs on Python {version}, and no such interpreter was found",
            remedy=f"Install it, for example with: uv python install {version}",
        )
    return found


def _ask_uv(version: str) -> Path | None:
    # From the root folder: a .python-version file of some project is not meant here.
    answer = subprocess.run(
        [str(uv_program()), "python", "find", "--no-project", "--no-config", version],
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    return Path(answer.stdout.strip()) if answer.returncode == 0 else None


def _look_in_pyenv(version: str) -> Path | None:
    # Left as it is where the user has no home folder: then nothing is there.
    root = Path(os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv"))  # noqa: PTH111
    found = root.glob(f"versions/{version}.*/bin/python{version}")
    return max(found, key=_patch_release, default=None)


def _patch_release(interpreter: Path) -> int:
    digits = interpreter.parts[-3].split(".")[2]
    return int(digits) if digits.isdecimal() else -1


@dataclass(frozen=True, kw_only=True)
class Package:
    """A distribution that this machine takes, and the `files` that it could take for it, the best
    first. `unpacked` says whether uv's cache holds the best one, `stored` whether it lies in the
    archive store as it is."""

    distribution: Distribution
    files: tuple[DistributionFile, ...]
    unpacked: bool
    stored: bool

    @property
    def name(self) -> str:
        return self.distribution.name

    @property
    def title(self) -> str:
        return f"{self.name} {self.distribution.version}"

    @property
    def cached(self) -> bool:
        return self.unpacked or self.stored

    @property
    def size_bytes(self) -> int:
        """Of the best file; 0 where the lock does not know it."""
        return (self.files[0].size or 0) if self.files else 0


def needed_packages(
    distributions: Sequence[Distribution], *, python: str, cache: Cache
) -> list[Package]:
    """Those whose marker holds here, under Python `python` (`3.11`)."""
    if not distributions:
        return []
    unpacked = _unpacked_wheels(cache.uv)
    return [
        Package(
            distribution=distribution,
            files=tuple(files),
            unpacked=bool(files) and _uv_name(files[0]) in unpacked,
            stored=bool(files) and find_archive(files[0].sha256, cache) is not None,
        )
        for distribution, files in fitting_files(distributions, python=python)
    ]


def stored_indexes(packages: Sequence[Package], cache: Cache, *, offline: bool) -> list[str]:
    """Indexes of the files that lie in the archive store, for uv to take instead of a download.

    With a network, those that uv has unpacked from there already are left out: they would be
    unpacked a second time. Without one, what uv remembers of a network index may not do.
    """
    from packaging.utils import canonicalize_name

    known = set() if offline else _unpacked_wheels(cache.uv, downloaded=True)
    found = (
        archive_index(canonicalize_name(package.name), file.name, file.sha256, cache)
        for package in packages
        for file in package.files
        if _uv_name(file) not in known
    )
    return [index for index in found if index is not None]


def _uv_name(file: DistributionFile) -> str:
    return file.name.removesuffix(".whl").lower()


def _unpacked_wheels(uv_cache: Path, *, downloaded: bool = False) -> set[str]:
    """The wheels in uv's cache, as `name-version-tags`; with `downloaded` those from a network.

    A wheel from an index lies at `wheels-v<N>/…/<name>/<version>-<tags>`, a link to its files,
    beside a file `….http` if it was downloaded.
    Where uv arranges its cache otherwise this finds nothing: then an estimate is too high.
    """
    return {
        f"{place.parent.name.replace('-', '_')}-{place.name}".lower()
        for place in uv_cache.glob("wheels-v*/**/*-*-*-*")
        if place.is_dir() and (not downloaded or place.with_name(f"{place.name}.http").exists())
    }
