"""The Python environment of a home, and its copy in the cache, file by file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from runpod_comfy.layers.plan import ENVIRONMENT
from runpod_comfy.lock.model import Lock
from runpod_comfy.realize.install_scripts import InstallRecord
from runpod_comfy.realize.listing import (
    LISTING,
    hashes_of,
    read_listing,
    recorded_files,
    walk,
)
from runpod_comfy.realize.verify.differences import Findings

_IMPORTABLE = (".py", ".pyc", ".so", ".pth", ".dylib")


@dataclass(kw_only=True)
class EnvironmentCheck:
    """Checks environments that may share files; each file is read once.

    `known` are hashes by (device, inode, size, time of change).
    """

    lock: Lock
    findings: Findings
    known: dict[tuple[int, int, int, int], str] = field(default_factory=dict)

    def check(
        self, venv: Path, *, part: str, cache_entry: Path | None, records: list[InstallRecord]
    ) -> None:
        """Compares the environment at `venv` with what was noted of it when it was made.

        `cache_entry` is set where it is the cache's own; `records` tell what install scripts
        changed in it.
        """
        before = len(self.findings.faults)
        listing = read_listing(venv)
        if listing is None:
            self.findings.add(
                part, venv / LISTING, expected="a list of its files", found="none, or a changed one"
            )
        else:
            self._check_files(venv, part, listing, records)
        self._check_distributions(venv, part, records)
        if len(self.findings.faults) > before:
            if cache_entry is not None:
                self.findings.entries.add(cache_entry)
            else:
                self.findings.layers.update(ENVIRONMENT)

    def _check_files(
        self, venv: Path, part: str, listing: Mapping[str, str], records: list[InstallRecord]
    ) -> None:
        recorded = recorded_files(venv)
        expected = {path: file.sha256 for path, file in recorded.items() if file.sha256}
        for file in (each for record in records for each in record.files.environment):
            if file.sha256 or file.change == "removed":
                expected[file.path] = file.sha256 or "nothing"
        expected.update(listing)
        there = set(walk(venv)) - {LISTING}
        paths = sorted(expected)
        for path, found in zip(paths, self._hashes(venv, paths), strict=True):
            self.findings.count(venv / path)
            if found != expected[path]:
                self.findings.add(part, venv / path, expected=expected[path], found=found)
                if path in recorded:
                    name = recorded[path].distribution.split("-")[0]
                    self.findings.distributions.add(canonicalize_name(name))
        for path in sorted(there - set(expected)):
            if path.endswith(_IMPORTABLE):
                self.findings.add(
                    part, venv / path, expected="nothing", found="a file that Python may import"
                )
            else:
                self.findings.notes.append(f"{venv / path} was added")

    def _hashes(self, venv: Path, paths: list[str]) -> list[str]:
        keys = [_identity(venv / path) for path in paths]
        unknown = [path for path, key in zip(paths, keys, strict=True) if key not in self.known]
        fresh = dict(zip(unknown, hashes_of(venv, unknown), strict=True))
        found = []
        for path, key in zip(paths, keys, strict=True):
            value = fresh[path] if path in fresh else self.known[key]  # type: ignore[index]
            if key is not None:
                self.known[key] = value
            found.append(value)
        return found

    def _check_distributions(self, venv: Path, part: str, records: list[InstallRecord]) -> None:
        """Exactly those that the lock has for this machine, as install scripts left them."""
        expected = _locked_here(self.lock)
        name: str
        for record in records:
            for each in record.distributions:
                name = canonicalize_name(each.name)
                if each.after is None:
                    expected.pop(name, None)
                else:
                    expected[name] = each.after
        found = _installed(venv)
        for name in sorted({*expected, *found}):
            if expected.get(name) != found.get(name):
                self.findings.add(
                    part,
                    venv,
                    expected=f"{name} {expected[name]}" if name in expected else f"no {name}",
                    found=f"{name} {found[name]}" if name in found else f"no {name}",
                )


def _locked_here(lock: Lock) -> dict[str, str]:
    python = lock.python.version
    here = {"python_version": python, "python_full_version": f"{python}.0"}
    return {
        canonicalize_name(each.name): each.version
        for each in (*lock.python.torch, *lock.python.wheels)
        if each.marker is None or Marker(each.marker).evaluate(here)
    }


def _installed(venv: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in venv.glob("lib/python*/site-packages/*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        found[canonicalize_name(name)] = version
    return found


def _identity(path: Path) -> tuple[int, int, int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
