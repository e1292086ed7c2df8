"""Asks uv for one set of versions that satisfies everything, on every platform of the spec.

First uv resolves the versions and their dependents (requirements format), then it lists the files
with hashes and sizes (pylock.toml, PEP 751) for those versions.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
import venv
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.version import Version
from uv import find_uv_bin

from comfy_errors import ComfyError, OperationFailedError
from runpod_comfy.lock.model import DistributionFile, Replaced
from runpod_comfy.lock.python.torch_family import FAMILY
from runpod_comfy.lock.python.uv_request import CompileRequest, NoSolutionError, failure, project
from runpod_comfy.lock.requirements.read import RequirementLine
from runpod_comfy.sources.index.pip_settings import (
    read_pip_settings,
    uv_arguments,
    uv_environment,
)

# Variables of a machine's uv that would change the lock of a spec.
_OF_THE_MACHINE = (
    *("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_EXCLUDE_NEWER"),
    *("UV_PRERELEASE", "UV_RESOLUTION", "UV_FORK_STRATEGY", "UV_NO_BINARY", "UV_NO_BUILD"),
    *("UV_TORCH_BACKEND", "UV_NO_SOURCES", "UV_CUSTOM_COMPILE_COMMAND", "UV_OFFLINE"),
)

# The project has the indexes instead, with the validity of their answers.
_INDEXES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")

_SOLVED_LINE = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^\s;]+)( ; (?P<marker>.*?))?"
    r"(\s+# via (?P<who>.*))?$"
)
_DEPENDENCY = re.compile(
    r"Adding transitive dependency for "
    r"(?P<who>[a-z0-9._-]+)(\[[^\]]*\])?(\{[^}]*\})?==(?P<version>\S+): "
    r"(?P<name>[a-z0-9._-]+)(\[[^\]]*\])?(\{(?P<marker>[^}]*)\})?(?P<bounds>.*)$"
)
_UNDATED = re.compile(r"`([^`]+)` is missing an upload date")
NEVER = "python_version < '3'"
"""A marker that is never true: an override with it removes a distribution from the solution."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A distribution at one version. `marker` is uv's, '' for every platform."""

    name: str
    version: str
    marker: str = ""

    @property
    def public(self) -> str:
        """The version without a local label such as `+cpu`."""
        return Version(self.version).public

    def __str__(self) -> str:
        return f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")


@dataclass(frozen=True, kw_only=True, order=True)
class Dependency:
    """`who` at `version` needs `name` within `bounds`."""

    who: str
    version: str
    name: str
    bounds: str
    marker: str


@dataclass(frozen=True, kw_only=True)
class Solution:
    """`required_by` maps a name to the distributions that need it, `account` is uv's log."""

    pins: Sequence[Pin]
    required_by: dict[str, set[str]]
    account: str = field(repr=False)

    @property
    def versions(self) -> dict[str, list[str]]:
        """The versions of each name: more than one if platforms differ."""
        found: dict[str, list[str]] = {}
        for pin in self.pins:
            found.setdefault(pin.name, []).append(pin.version)
        return found

    @property
    def releases(self) -> dict[str, str]:
        """The newest version of each name, without a local label."""
        return {
            name: max(map(Version, versions)).public for name, versions in self.versions.items()
        }

    def needs(self, names: Collection[str]) -> list[Dependency]:
        """The requirements of the solution's distributions on `names`."""
        versions = self.versions
        found = needs_in(self.account, names)
        return [need for need in found if need.version in versions.get(need.who, ())]


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """One distribution of the solution. `files` are keyed by URL or path; their size is None if the
    index does not state it.
    """

    name: str
    version: str
    marker: str | None
    files: Mapping[str, DistributionFile]


def solve(request: CompileRequest) -> Solution:
    """Solves the versions. Raises NoSolutionError if there are none, UnavailableError if an index
    cannot be reached, OperationFailedError for any other failure of uv.
    """
    with project(request) as folder:
        options = ["--verbose", "--output-file", "solved.txt", "--annotation-style", "line"]
        account = _uv(request, folder, *options)
        return _solution((folder / "solved.txt").read_text(encoding="utf-8"), account)


def files_of(request: CompileRequest, solution: Solution) -> list[Compiled]:
    """The distributions of a solution with their files, sorted by name and version."""
    held = replace(request, held=[*request.held, *map(str, solution.pins)])
    options = ["--quiet", "--generate-hashes", "--format", "pylock.toml"]
    options += ["--output-file", "pylock.toml"]
    with project(held) as folder:
        try:
            # Everything was looked up a moment ago.
            _uv(replace(held, offline=True), folder, *options)
        except (NoSolutionError, ComfyError):
            _uv(held, folder, *options)
        document = tomllib.loads((folder / "pylock.toml").read_text(encoding="utf-8"))
    return sorted(map(_compiled, document.get("packages", [])), key=lambda x: (x.name, x.version))


def needs_in(account: str, names: Collection[str]) -> list[Dependency]:
    """The requirements on `names` of the distributions that uv considered, from its log."""
    found = filter(None, map(_DEPENDENCY.search, account.splitlines()))
    needs = {
        Dependency(
            who=each["who"],
            version=each["version"],
            name=each["name"],
            bounds=_specifier(each["bounds"]),
            marker=each["marker"] or "",
        )
        for each in found
        if each["name"] in names
    }
    return sorted(needs)


def names_in(account: str) -> set[str]:
    """The distributions that others need, from uv's log."""
    return {found["name"] for found in map(_DEPENDENCY.search, account.splitlines()) if found}


def _specifier(bounds: str) -> str:
    """uv's ranges in PEP 440 notation; '' for ranges that PEP 440 cannot express as one."""
    text = bounds.strip()
    if text == "*" or "|" in text:
        return ""
    exact = re.fullmatch(r">=(\S+), <\1\+", text)
    # A plus at the end includes local versions, as PEP 440 does anyway.
    return f"=={exact[1]}" if exact else re.sub(r"\+(?=,|$)", "", text.replace(" ", ""))


def _uv(request: CompileRequest, folder: Path, *options: str) -> str:
    """Runs uv and returns its output; raises if it fails."""
    settings = read_pip_settings()
    command = [find_uv_bin(), "pip", "compile", "--universal", "--no-header"]
    command += ["--python-version", request.python, "--cache-dir", str(request.cache_dir)]
    command += uv_arguments(settings)
    command += ["--constraints", "constraints.txt", "--overrides", "overrides.txt"]
    if request.offline:
        command += ["--offline"]
    ours = {name: text for name, text in os.environ.items() if name not in _OF_THE_MACHINE}
    environment = {**ours, **uv_environment(settings), "NO_COLOR": "1"}
    for name in _INDEXES:
        environment.pop(name, None)
    # The solution may be for another Python, which need not be installed.
    environment["UV_PYTHON_DOWNLOADS"] = "never"
    if request.as_of:
        day_after = date.fromisoformat(request.as_of) + timedelta(days=1)
        command += ["--exclude-newer", f"{day_after}T00:00:00Z"]
        # Folders and find-links pages have no times, and uv does not filter them.
        environment.pop("UV_FIND_LINKS", None)
    if request.torch_index and request.torch_links:
        pages = [f"{request.torch_index.rstrip('/')}/{name}/" for name in FAMILY]
        links = [environment.get("UV_FIND_LINKS", ""), *pages]
        environment["UV_FIND_LINKS"] = ",".join(filter(None, links))
    if not request.builds:
        # A build in an environment without a build backend ends before it begins.
        venv.create(folder / "empty", symlinks=True)
        command += ["--no-build-isolation", "--python", str(folder / "empty" / "bin" / "python")]
    command += [*options, "pyproject.toml", "requirements.txt"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise failure(done.stderr, request)
    return done.stderr


def undated_files(told: str) -> list[str]:
    """The files that uv ignored because their upload time is unknown."""
    return sorted(set(_UNDATED.findall(told)))


def _solution(solved: str, account: str) -> Solution:
    """A distribution may be listed twice, with different versions and markers."""
    pins: list[Pin] = []
    required_by: dict[str, set[str]] = {}
    for found in filter(None, map(_SOLVED_LINE.match, solved.splitlines())):
        pins.append(Pin(name=found["name"], version=found["version"], marker=found["marker"] or ""))
        who = (part.strip() for part in (found["who"] or "").split(","))
        names = {part for part in who if re.fullmatch(r"[a-z0-9._-]+", part)}
        required_by.setdefault(found["name"], set()).update(names)
    return Solution(pins=pins, required_by=required_by, account=account)


def _compiled(document: dict[str, Any]) -> Compiled:
    name, version = document["name"], document.get("version")
    entries = [*document.get("wheels", []), *([document["sdist"]] if "sdist" in document else [])]
    if version is None or not entries:
        raise OperationFailedError(
            f"{name} has no released files to pin",
            remedy="Select a released version of it with options.overrides in the spec.",
        )
    files = {
        (place := entry.get("url") or entry.get("path") or ""): DistributionFile(
            name=entry.get("name") or unquote(Path(urlsplit(place).path).name),
            sha256=entry["hashes"]["sha256"],
            size=entry.get("size"),
        )
        for entry in entries
    }
    return Compiled(name=name, version=version, marker=document.get("marker"), files=files)


@dataclass(frozen=True, kw_only=True)
class Solved:
    """A solution, its request, and the requirements that something else satisfies.

    `also_required_by` names distributions that need one under another name.
    """

    request: CompileRequest
    solution: Solution
    replaced: Sequence[Replaced] = ()
    also_required_by: Mapping[str, set[str]] = field(default_factory=dict)


def replaced_line(line: RequirementLine, given: str) -> Replaced:
    _, _, place = line.place.partition(", ")
    return Replaced(asked_by=line.tree, place=place or None, requirement=line.asked, given=given)


def replaced_need(need: Dependency, given: str) -> Replaced:
    return Replaced(
        asked_by=f"{need.who} {need.version}",
        requirement=f"{need.name}{need.bounds}",
        given=given,
    )


def given_for(name: str, versions: Iterable[str]) -> str:
    """What is installed instead of something: `name` in these versions."""
    return " or ".join(f"{name}=={version}" for version in versions) or "nothing"
