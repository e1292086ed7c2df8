"""The Python environment of a version: its interpreter, its packages, and its cache entry.

An environment is made in the cache, under the keys of its layers, and each home gets hard links to
its files: most of the time goes into compiling bytecode. It is relocatable, and its files do not
depend on its path. Its files and folders are read-only, because all these homes and uv's cache
share them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from comfy_errors import UnavailableError
from comfy_files.files import sha256_of
from comfy_files.parallel import end_if_interrupted
from comfy_files.read_only import remove_tree
from runpod_comfy.cache.archive_store import archive_index, find_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.homes.home import Home
from runpod_comfy.homes.verify.listing import recorded_files
from runpod_comfy.layers.plan import Layer, requirements_text
from runpod_comfy.lock.model import Distribution, DistributionFile
from runpod_comfy.lock.python.fit import fitting_files
from runpod_comfy.sources.index.pip_settings import outside_variables, uv_program

LinkMode = Literal["hardlink", "copy"]

_HASHED_TAGS = re.compile(r"([^-]+)-[0-9a-f]{16}")
_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
# The file of an environment that lists the wheels which stand in for sdists.
_STAND_INS = "comfy-stand-ins.json"


def has_environment(layers: Sequence[Layer], cache: Cache) -> bool:
    """True if the cache has the environment of these layers, and its interpreter still exists."""
    return (environment_entry(layers, cache) / "bin" / "python").exists()


def put_environment(layers: Sequence[Layer], home: Home, cache: Cache) -> LinkMode:
    """Replaces the environment of `home` by that of these layers.

    Its files are hard links to the cache, or copies if that is not possible.
    """
    entry = environment_entry(layers, cache)
    remove_tree(home.venv_staging)
    linked = link_tree(entry, home.venv_staging)
    if not linked:
        shutil.copytree(entry, home.venv_staging, symlinks=True)
    remove_tree(home.venv)
    home.venv_staging.replace(home.venv)
    return "hardlink" if linked else "copy"


def forget_environment(layers: Sequence[Layer], paths: Sequence[str], cache: Cache) -> None:
    """Removes the cached environment of these layers, of which the files `paths` were changed, and
    the distributions that they belong to from uv's cache: these may share the files.
    """
    entry = environment_entry(layers, cache)
    owned = recorded_files(entry)
    clean_uv({name for path in paths if path in owned for name in owned[path].names}, cache)
    with cache.scratch("damaged") as folder, contextlib.suppress(FileNotFoundError):
        entry.rename(folder / "entry")


def clean_uv(distributions: Collection[str], cache: Cache) -> None:
    """Removes distributions from uv's cache."""
    if distributions:
        subprocess.run(
            [str(uv_program()), "cache", "clean", "--quiet", *sorted(distributions)],
            env={**outside_variables(), "UV_CACHE_DIR": str(cache.uv)},
            check=False,
            capture_output=True,
        )


def environment_entry(layers: Sequence[Layer], cache: Cache) -> Path:
    """The cache path of the environment of these layers, existing or not."""
    keys = "\n".join(layer.key for layer in layers)
    return cache.environments / hashlib.sha256(keys.encode()).hexdigest()


def link_tree(source: Path, target: Path) -> bool:
    """Makes `target` a copy of `source` with hard-linked files; False if that is not possible."""
    try:
        _link_folder(str(source), str(target))
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        remove_tree(target)
        return False
    return True


def _link_folder(source: str, target: str) -> None:
    # 40,000 files: plain strings and scandir take a third of the time that pathlib takes.
    end_if_interrupted()
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

    Candidates: this program's own, then what uv finds (PATH and its own), then pyenv's. Raises
    UnavailableError, saying how to install it, if there is none.
    """
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(getattr(sys, "_base_executable", sys.executable))
    if version == ours and base.is_file():
        return base
    found = _ask_uv(version) or _look_in_pyenv(version)
    if found is None:
        raise UnavailableError(
            f"this version needs Python {version}, and no such interpreter was found",
            remedy=f"Install it, for example with: uv python install {version}",
        )
    return found


def _ask_uv(version: str) -> Path | None:
    # Run from the root folder, to ignore .python-version files of projects.
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
    """A distribution for this machine, and the `files` that fit, the best first. `unpacked` says
    whether uv's cache has the best one, `stored` whether the archive store has it.
    """

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
        """The size of the best file; 0 if the lock does not have it."""
        return (self.files[0].size or 0) if self.files else 0


def needed_packages(
    distributions: Sequence[Distribution], *, python: str, cache: Cache
) -> list[Package]:
    """The distributions whose marker is true here, under Python `python` (`3.11`)."""
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
    """Indexes of files in the archive store, for uv to use instead of downloading.

    Online, only the best file of each package counts: what is installed must not depend on what the
    store has. One that uv has already unpacked from the network is left out: it would be unpacked a
    second time. Offline, uv's record of a network index may not be enough.
    """
    from packaging.utils import canonicalize_name

    known = set() if offline else _unpacked_wheels(cache.uv, downloaded=True)
    found = (
        archive_index(canonicalize_name(package.name), file.name, file.sha256, cache)
        for package in packages
        for file in package.files[: None if offline else 1]
        if _uv_name(file) not in known
    )
    return [index for index in found if index is not None]


def _uv_name(file: DistributionFile) -> str:
    return file.name.removesuffix(".whl").lower()


def _unpacked_wheels(uv_cache: Path, *, downloaded: bool = False) -> set[str]:
    """The wheels in uv's cache, as `name-version-tags`; with `downloaded` only those from the
    network.

    A wheel from an index is at `wheels-v<N>/…/<name>/<version>-<tags>`, a link to its files, beside
    a file `….http` if it was downloaded, else `….rev`. Long tags are replaced by their hash; then
    that file holds the wheel's name. If uv changes its cache layout this finds nothing, and the
    estimate is too high.
    """
    found = set()
    for place in uv_cache.glob("wheels-v*/**/*-*"):
        note = place.with_name(f"{place.name}.http")
        if not place.is_dir() or (downloaded and not note.exists()):
            continue
        project = place.parent.name.replace("-", "_")
        if hashed := _HASHED_TAGS.fullmatch(place.name):
            name = f"{project.replace('_', '[-_.]')}-{re.escape(hashed[1])}"
            wheel = re.compile(rf"{name}-[\w.-]*?\.whl".encode(), re.IGNORECASE)
            if named := wheel.search(_content(note) or _content(note.with_suffix(".rev"))):
                found.add(named[0].decode("ascii", "replace").removesuffix(".whl").lower())
        else:
            found.add(f"{project}-{place.name}".lower())
    return found


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """The wheel `file` of `--wheels-dir`, which stands in for the sdist of `distribution`.

    The lock has no hash of such a wheel. It is taken if it has the distribution's name and version
    and fits this machine, and if the lock has no wheel of it for this machine, which is then the
    one that counts. It is recorded in the environment that it is installed in.
    """

    distribution: Distribution
    file: DistributionFile

    @property
    def release(self) -> tuple[str, str]:
        """The name and the version of its distribution."""
        return self.distribution.name, self.distribution.version

    @property
    def sentence(self) -> str:
        """What is said about it."""
        return (
            f"The wheel {self.file.name} (sha256 {self.file.sha256}) is used for the sdist of "
            f"{' '.join(self.release)}, of which the lock has no wheel for this machine"
        )


def find_stand_ins(
    packages: Sequence[Package], folder: Path | None, *, python: str
) -> list[StandIn]:
    """The wheels in `folder` for packages that the lock has as sdists only, for this machine and
    Python `python` (`3.11`); the best one of each.
    """
    if folder is None:
        return []
    wheels = sorted(path for path in folder.iterdir() if path.name.endswith(".whl"))
    found = []
    for package in packages:
        distribution = package.distribution
        if not package.files or any(file.name.endswith(".whl") for file in package.files):
            continue
        named = [path for path in wheels if _is_of(path.name, distribution)]
        candidates = [DistributionFile(name=path.name, sha256="") for path in named]
        offer = distribution.model_copy(update={"files": candidates})
        for _, fitting in fitting_files([offer], python=python):
            for file in fitting[:1]:
                whole = file.model_copy(update={"sha256": sha256_of(folder / file.name)})
                found.append(StandIn(distribution=distribution, file=whole))
    return found


def requirements_with(distributions: Sequence[Distribution], stand_ins: Collection[StandIn]) -> str:
    """The requirements of `distributions`, with the hashes of these wheels for their sdists'."""
    given = {each.release: each.file for each in stand_ins}
    return requirements_text(
        [
            each.model_copy(update={"files": [given[each.name, each.version]]})
            if (each.name, each.version) in given
            else each
            for each in distributions
        ]
    )


def record_stand_ins(venv: Path, stand_ins: Sequence[StandIn]) -> None:
    """Records these wheels in their environment; writes nothing if there are none."""
    if stand_ins:
        entries = [
            {
                "name": each.distribution.name,
                "version": each.distribution.version,
                "file": each.file.name,
                "sha256": each.file.sha256,
            }
            for each in stand_ins
        ]
        text = json.dumps(entries, indent=2, sort_keys=True) + "\n"
        (venv / _STAND_INS).write_text(text, encoding="utf-8")


def _is_of(wheel: str, distribution: Distribution) -> bool:
    try:
        name, version, _, _ = parse_wheel_filename(wheel)
    except InvalidWheelFilename:
        return False
    return name == canonicalize_name(distribution.name) and version == Version(distribution.version)
