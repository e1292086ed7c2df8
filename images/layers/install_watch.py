"""Finds what a script changed, by comparing before and after; used by run_install.py."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import os
import re
import stat
import sys
from pathlib import Path

TORCH_FAMILY = {"torch", "torchvision", "torchaudio"}


class Place:
    """A watched folder. `left_out` are absolute paths in it to ignore.

    `written` collects the files that get a new time at the end.
    """

    def __init__(self, root: Path, left_out: set[str]) -> None:
        self.root = root
        self.left_out = left_out
        self.written: set[Path] = set()
        self.before = self.look()

    def look(self) -> dict[str, list[object]]:
        """Everything below the folder, each with the metadata that a write changes."""
        found: dict[str, list[object]] = {}
        self._look(str(self.root), "", found)
        return found

    def _look(self, folder: str, prefix: str, found: dict[str, list[object]]) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.path in self.left_out:
                    continue
                name = prefix + entry.name
                if entry.is_symlink():
                    found[name] = ["link", os.readlink(entry.path)]  # noqa: PTH115
                elif entry.is_dir(follow_symlinks=False):
                    found[name] = ["folder"]
                    self._look(entry.path, name + "/", found)
                else:
                    of = entry.stat(follow_symlinks=False)
                    found[name] = [
                        *("file", stat.S_IMODE(of.st_mode), of.st_size),
                        *(of.st_mtime_ns, of.st_ctime_ns, of.st_ino),
                    ]


class Distributions:
    """The distributions of an environment: versions by name, and the owner of each file.

    `owners` maps a path below the environment to the name and the sha256 that RECORD gives it.
    """

    def __init__(self, venv: Path) -> None:
        python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        library = venv / "lib" / python / "site-packages"
        self.versions: dict[str, str] = {}
        self.owners: dict[str, tuple[str, str]] = {}
        for distribution in importlib.metadata.distributions(path=[str(library)]):
            name = normalized(distribution.metadata["Name"] or "")
            if not name or name in self.versions:
                continue
            self.versions[name] = distribution.version
            listed = (distribution.read_text("RECORD") or "").splitlines()
            for path, digest, *_ in csv.reader(listed):
                place = os.path.relpath(os.path.normpath(library / path), venv)
                self.owners[place] = (name, digest)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def changes(place: Place, owners: dict[str, tuple[str, str]]) -> list[dict[str, object]]:
    """The files and links that changed, without bytecode, which follows from its sources.

    Bytecode that is new, or whose source changed, is removed: Python does not check it when its
    source changes, so nothing else would notice.
    """
    after = place.look()
    found: list[dict[str, object]] = []
    for path in sorted(place.before.keys() | after.keys()):
        was, is_now = place.before.get(path), after.get(path)
        if was == is_now or (["folder"] in (was, is_now) and None in (was, is_now)):
            continue
        if path.endswith(".pyc"):
            (place.root / path).unlink(missing_ok=True)
            place.written.add((place.root / path).parent)
            continue
        sha256 = None
        if is_now and is_now[0] == "file":
            sha256 = sha256_of(place.root / path)
            if was and was[:2] == is_now[:2] and is_recorded(sha256, owners.get(path)):
                continue
        change = "added" if was is None else "removed" if is_now is None else "changed"
        found.append({"path": path, "change": change, "sha256": sha256})
        place.written |= {place.root / path, *(place.root / path).parents} - {*place.root.parents}
        if path.endswith(".py"):
            source = place.root / path
            for outdated in source.parent.glob(f"__pycache__/{source.stem}.*.pyc"):
                outdated.unlink()
                place.written.add(outdated.parent)
    return found


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_recorded(sha256: str, owner: tuple[str, str] | None) -> bool:
    """True if these are the bytes in a RECORD, with its `sha256=<base64>`."""
    if owner is None or not owner[1].startswith("sha256="):
        return False
    recorded = owner[1][len("sha256=") :]
    return base64.urlsafe_b64decode(recorded + "=" * (-len(recorded) % 4)).hex() == sha256


def torch_touched(
    group: set[str],
    moved: dict[str, tuple[str | None, str | None]],
    files: list[dict[str, object]],
    owners: dict[str, tuple[str, str]],
) -> list[str]:
    """The changes to the group, one phrase each."""
    touched = [
        f"{name} ({before or 'not there'} → {after or 'gone'})"
        for name, (before, after) in moved.items()
        if name in group
    ]
    for file in files:
        owner = owners.get(str(file["path"]), ("", ""))[0]
        if owner in group and owner not in moved:
            touched.append(f"{owner} ({file['path']} {file['change']})")
    return touched


def settle(place: Place) -> None:
    """Gives the layer's time to written files, and to the folders they were written to."""
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in place.written:
        if os.path.lexists(path):
            os.utime(path, (epoch, epoch), follow_symlinks=False)
