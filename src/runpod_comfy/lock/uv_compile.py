"""Asks uv for one set of versions that satisfies everything, on every platform of the spec.

uv is asked twice: once for the versions and for who wants what (requirements format), once for
the files with their hashes and sizes (pylock.toml, PEP 751), held to the versions of the first.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from comfy_errors import OperationFailedError, UnavailableError
from runpod_comfy.lock.model import DistributionFile
from runpod_comfy.lock.requirements import Requirement
from runpod_comfy.lock.torch_family import FAMILY
from runpod_comfy.sources.pip_settings import read_pip_settings, uv_arguments, uv_environment

PLATFORM_MARKERS = {
    "linux-x86_64": "sys_platform == 'linux' and platform_machine == 'x86_64'",
    "linux-aarch64": "sys_platform == 'linux' and platform_machine == 'aarch64'",
    "macos-arm64": "sys_platform == 'darwin' and platform_machine == 'arm64'",
}

_SOLVED_LINE = re.compile(r"^(?P<pin>(?P<name>[a-z0-9][a-z0-9._-]*)==.*?)(\s+# via (?P<who>.*))?$")
# uv draws its explanation with box characters and a multiplication sign.
_DRAWING = re.compile(r"[\u00d7\u2500-\u257f\u25b6]")
_NETWORK_TROUBLE = ("error sending request", "Failed to fetch", "dns error", "timed out", "connect")


@dataclass(frozen=True, kw_only=True)
class CompileRequest:
    """What to solve. `preferences` are `name==version` pins to keep where they still fit."""

    requirements: Sequence[Requirement]
    python: str
    platforms: Sequence[str]
    constraints: Sequence[str] = ()
    overrides: Sequence[str] = ()
    preferences: Sequence[str] = ()
    torch_index: str | None = None
    uv: Path
    cache_dir: Path
    offline: bool = False


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """One distribution of the solution, its marker as uv words it."""

    name: str
    version: str
    marker: str | None
    files: tuple[DistributionFile, ...]
    requested_by: tuple[str, ...] = ()
    required_by: tuple[str, ...] = field(default=())


def compile_distributions(request: CompileRequest) -> list[Compiled]:
    """The solution, sorted by name and version.

    Raises OperationFailedError with uv's explanation and the lines involved when there is none,
    UnavailableError when the index cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="runpod-comfy-resolve-") as folder:
        project = _Project(folder=Path(folder), request=request)
        project.write()
        pins, askers = project.solve()
        documents = project.files_of(pins)
    return sorted(
        (_compiled(document, askers) for document in documents),
        key=lambda item: (item.name, item.version),
    )


@dataclass(frozen=True, kw_only=True)
class _Project:
    """The throw-away folder in which uv solves, one requirements file per tree."""

    folder: Path
    request: CompileRequest

    def write(self) -> None:
        self._write("pyproject.toml", self._pyproject())
        self._write("constraints.txt", "\n".join(self.request.constraints))
        self._write("overrides.txt", "\n".join(self.request.overrides))
        for tree, file_name in self._tree_files().items():
            lines = (item.text for item in self.request.requirements if item.tree == tree)
            self._write(file_name, "\n".join(lines))

    def solve(self) -> tuple[list[str], dict[str, set[str]]]:
        self._write("solved.txt", "\n".join(self.request.preferences))
        self._uv("--output-file", "solved.txt", "--annotation-style", "line")
        text = (self.folder / "solved.txt").read_text(encoding="utf-8")
        return _pins_and_askers(text)

    def files_of(self, pins: list[str]) -> list[dict[str, Any]]:
        self._write("pins.txt", "\n".join(pins))
        self._uv(
            *("--constraints", "pins.txt"),
            *("--generate-hashes", "--format", "pylock.toml", "--output-file", "pylock.toml"),
        )
        document = tomllib.loads((self.folder / "pylock.toml").read_text(encoding="utf-8"))
        packages: list[dict[str, Any]] = document["packages"]
        return packages

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text + "\n", encoding="utf-8")

    def _tree_files(self) -> dict[str, str]:
        trees = dict.fromkeys(item.tree for item in self.request.requirements)
        return {tree: f"{tree.replace(':', '--')}.txt" for tree in trees}

    def _pyproject(self) -> str:
        python = self.request.python
        above = f"3.{int(python.split('.')[1]) + 1}"
        environments = [
            f"{PLATFORM_MARKERS[platform]} and python_full_version < '{above}'"
            for platform in self.request.platforms
        ]
        lines = [
            "[project]",
            'name = "version"',
            'version = "0"',
            f'requires-python = "=={python}.*"',
            f"dependencies = {list(FAMILY) if self.request.torch_index else []}",
            "[tool.uv]",
            f"environments = {environments}",
        ]
        if self.request.torch_index:
            lines += ["[[tool.uv.index]]", 'name = "torch"']
            lines += [f'url = "{self.request.torch_index}"', "explicit = true", "[tool.uv.sources]"]
            lines += [f'{name} = {{ index = "torch" }}' for name in FAMILY]
        return "\n".join(lines)

    def _uv(self, *arguments: str) -> None:
        settings = read_pip_settings()
        command = [str(self.request.uv), "pip", "compile", "--quiet", "--universal", "--no-header"]
        command += ["--python-version", self.request.python, "--cache-dir"]
        command += [str(self.request.cache_dir), *uv_arguments(settings)]
        command += ["--constraints", "constraints.txt", "--overrides", "overrides.txt"]
        if self.request.offline:
            command += ["--offline"]
        elif not self.request.preferences:
            # Nothing is to be kept, so what uv remembers of the index must not hide what is new.
            command += ["--refresh"]
        command += [*arguments, "pyproject.toml", *self._tree_files().values()]
        environment = {**os.environ, **uv_environment(settings), "NO_COLOR": "1"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise _explain(done.stderr, self.request.requirements)


def _pins_and_askers(solved: str) -> tuple[list[str], dict[str, set[str]]]:
    """The `name==version ; marker` pins, and who wants each distribution: `-r <file>` entries and
    names of other distributions. A distribution may stand there twice, with other markers."""
    pins: list[str] = []
    askers: dict[str, set[str]] = {}
    for found in filter(None, map(_SOLVED_LINE.match, solved.splitlines())):
        pins.append(found["pin"])
        who = (found["who"] or "").split(",")
        askers.setdefault(found["name"], set()).update(part.strip() for part in who)
    return pins, askers


def _compiled(document: dict[str, Any], askers: dict[str, set[str]]) -> Compiled:
    name, version = document["name"], document.get("version")
    entries = [*document.get("wheels", []), *([document["sdist"]] if "sdist" in document else [])]
    if version is None or not entries:
        raise OperationFailedError(
            f"{name} has no released files to pin",
            remedy="Choose a released version of it with options.overrides in the spec.",
        )
    who = askers.get(name, set())
    trees = {_tree_of(entry) for entry in who if entry.startswith("-r ")}
    files = {item.sha256: item for item in map(_file, entries)}
    return Compiled(
        name=name,
        version=version,
        marker=document.get("marker"),
        files=tuple(sorted(files.values(), key=lambda item: item.name)),
        requested_by=tuple(sorted(trees)),
        required_by=tuple(sorted(entry for entry in who if re.fullmatch(r"[a-z0-9._-]+", entry))),
    )


def _tree_of(entry: str) -> str:
    return Path(entry.removeprefix("-r ")).stem.replace("--", ":", 1)


def _file(entry: dict[str, Any]) -> DistributionFile:
    location = entry.get("url") or entry.get("path") or ""
    name = unquote(Path(urlsplit(location).path).name)
    return DistributionFile(
        name=entry.get("name", name), sha256=entry["hashes"]["sha256"], size=entry.get("size")
    )


def _explain(stderr: str, requirements: Iterable[Requirement]) -> Exception:
    reason = " ".join(_DRAWING.sub(" ", stderr).split())
    if "No solution found" not in reason:
        if any(sign in reason for sign in _NETWORK_TROUBLE):
            return UnavailableError(
                f"the Python package index could not be asked: {reason}",
                remedy="Check the network, and the index that pip is configured to use "
                "('pip config list').",
            )
        return OperationFailedError(
            f"uv could not resolve the Python distributions: {reason}",
            remedy="Correct what it names: 'options' in the spec, or pip's configuration "
            "('pip config list').",
        )
    named = set(re.findall(r"[a-z0-9][a-z0-9._-]*", reason))
    lines = [f"{item.place}: {item.text}" for item in requirements if item.name in named]
    return OperationFailedError(
        "the Python requirements of the core and its custom nodes have no common solution: "
        + reason,
        remedy="The lines involved are: "
        + "; ".join(lines)
        + ". Settle it with options.overrides in the spec.",
    )
