"""A listing of a finished Python environment, stored in it while its bytes are known to be right.

A wheel's RECORD has the hash of each of its files, and uv has checked the wheel against the lock.
The listing has the hashes of everything else: the RECORDs themselves, bytecode, files added by uv,
files that differ between the distributions that install them.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from comfy_files.files import sha256_of
from comfy_files.parallel import HASHING_THREADS, in_parallel

LISTING = "comfy-files.json"

_SCHEMA = "runpod-comfy/environment-files/1"
_CHUNK_FILES = 256


@dataclass(frozen=True, kw_only=True)
class RecordedFile:
    """A file of one or more distributions. `sha256` is 64 hex digits, None if a RECORD has none or
    their RECORDs differ.
    """

    distributions: tuple[str, ...]
    sha256: str | None

    @property
    def names(self) -> set[str]:
        """The canonical names of the distributions."""
        return {canonicalize_name(each.split("-")[0]) for each in self.distributions}


def write_listing(venv: Path) -> None:
    """Writes the listing of `venv` atomically."""
    vouched = recorded_files(venv)
    others = [path for path in walk(venv) if path not in vouched or vouched[path].sha256 is None]
    files = dict(zip(others, hashes_of(venv, others), strict=True))
    files.pop(LISTING, None)
    document = {"schema": _SCHEMA, "files": files, "digest": _digest(files)}
    times = _times(venv)
    partial = venv / f"{LISTING}.partial"
    partial.write_text(json.dumps(document, sort_keys=True, indent=0), encoding="utf-8")
    os.utime(partial, times=times)
    partial.replace(venv / LISTING)
    os.utime(venv, times=times)


def read_listing(venv: Path) -> dict[str, str] | None:
    """The hashes by path, None if there is no listing or it was changed."""
    try:
        document = json.loads((venv / LISTING).read_bytes())
        files: dict[str, str] = document["files"]
        whole = document["schema"] == _SCHEMA and document["digest"] == _digest(files)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return files if whole else None


def recorded_files(venv: Path) -> dict[str, RecordedFile]:
    """Every file that a RECORD names, by its path relative to `venv`."""
    found: dict[str, RecordedFile] = {}
    for record in sorted(venv.glob("lib/python*/site-packages/*.dist-info/RECORD")):
        name = record.parent.name.removesuffix(".dist-info")
        packages = os.path.relpath(record.parent.parent, venv)
        with record.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            for row in csv.reader(stream):
                if len(row) < 2:
                    continue
                path = os.path.normpath(os.path.join(packages, row[0]))  # noqa: PTH118
                if path.startswith("/"):
                    path = os.path.relpath(path, venv)
                sha256 = _hex(row[1])
                other = found.get(path, RecordedFile(distributions=(), sha256=sha256))
                found[path] = RecordedFile(
                    distributions=(*other.distributions, name),
                    sha256=sha256 if sha256 == other.sha256 else None,
                )
    return found


def walk(venv: Path) -> Iterator[str]:
    """Every file and link in `venv`, by its relative path."""
    # Sliced, because `relpath` takes longer than the rest of a walk over 50,000 files.
    root = f"{os.fspath(venv)}/"
    for parent, folders, files in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]  # noqa: PTH114, PTH118
        for name in sorted((*files, *links)):
            yield os.path.join(parent, name).removeprefix(root)  # noqa: PTH118


def hash_of(path: Path) -> str:
    """64 hex digits for a file, `link to …` for a symbolic link, `nothing`, or an error."""
    try:
        return f"link to {path.readlink()}" if path.is_symlink() else sha256_of(path)
    except FileNotFoundError:
        return "nothing"
    except OSError as error:
        return error.strerror or "unreadable"


def hashes_of(folder: Path, paths: list[str]) -> list[str]:
    """The hashes of the paths, in order, using all cores."""
    chunks = [paths[start : start + _CHUNK_FILES] for start in range(0, len(paths), _CHUNK_FILES)]
    hashed = in_parallel(
        lambda chunk: [hash_of(folder / path) for path in chunk],
        chunks,
        threads=HASHING_THREADS,
    )
    return [each for chunk in hashed for each in chunk]


def _hex(recorded: str) -> str | None:
    """A RECORD's `sha256=<base64>` as hex digits."""
    kind, _, value = recorded.partition("=")
    if kind != "sha256":
        return None
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    except ValueError:
        return None


def _digest(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _times(venv: Path) -> tuple[float, float]:
    """The times of the environment's own settings file: the layer's time."""
    seconds = (venv / "pyvenv.cfg").stat().st_mtime
    return seconds, seconds
