"""Asks uv for one set of versions that satisfies everything, on every platform of the spec.

uv is asked for the versions and for who wants what (requirements format), and then for the files
with their hashes and sizes (pylock.toml, PEP 751), held to those versions.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from packaging.version import Version

from comfy_errors import OperationFailedError, UnavailableError
from comfy_home.platforms import PLATFORMS
from comfy_http.redaction import without_secrets
from runpod_comfy.lock.python.torch_family import FAMILY
from runpod_comfy.lock.requirements.read import Requirement
from runpod_comfy.sources.index.pip_settings import read_pip_settings, uv_arguments, uv_environment

# What uv's explanations call the sum of all lines; its project has to have a name.
PROJECT = "these-requirements"

# What a machine may tell its uv that would make another lock of the same spec.
_OF_THE_MACHINE = (
    *("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_EXCLUDE_NEWER"),
    *("UV_PRERELEASE", "UV_RESOLUTION", "UV_FORK_STRATEGY", "UV_NO_BINARY", "UV_NO_BUILD"),
    *("UV_TORCH_BACKEND", "UV_NO_SOURCES", "UV_CUSTOM_COMPILE_COMMAND", "UV_OFFLINE"),
)

_SOLVED_LINE = re.compile(r"^(?P<pin>(?P<name>[a-z0-9][a-z0-9._-]*)==.*?)(\s+# via (?P<who>.*))?$")
_DEPENDENCY = re.compile(
    r"Adding transitive dependency for "
    r"(?P<who>[a-z0-9._-]+)(\[[^\]]*\])?(\{[^}]*\})?==(?P<version>\S+): "
    r"(?P<name>[a-z0-9._-]+)(\[[^\]]*\])?(\{(?P<marker>[^}]*)\})?(?P<bounds>.*)$"
)
# uv draws its explanation with box characters and a multiplication sign.
_DRAWING = re.compile(r"[\u00d7\u2500-\u257f\u25b6]")
_NETWORK_TROUBLE = ("error sending request", "Failed to fetch", "dns error", "timed out", "connect")
_NOT_THE_REASON = ("DEBUG", "TRACE", "warning: Requirements file")
_UNDATED = re.compile(r"`([^`]+)` is missing an upload date")
_UNBUILDABLE = re.compile(r"Failed to (?:download and )?build `(?P<what>[^`]+)`")


@dataclass(frozen=True, kw_only=True)
class CompileRequest:
    """What to solve. `preferences` are `name==version` pins to keep where they still fit.

    `held` are constraints that are no one's wish, such as the versions of the torch family.
    `torch_index` is where that family comes from; with `torch_links` it is also searched for
    versions that an override names, which uv would otherwise look for on the other indexes.
    `as_of` is the last day, in UTC, whose uploads count; None for all.
    """

    requirements: Sequence[Requirement]
    python: str
    platforms: Sequence[str]
    held: Sequence[str] = ()
    overrides: Sequence[str] = ()
    preferences: Sequence[str] = ()
    torch_index: str | None = None
    torch_links: bool = False
    as_of: str | None = None
    uv: Path
    cache_dir: Path
    offline: bool = False
    refresh: bool = False


class NoSolutionError(Exception):
    """There is no set of versions that satisfies the request. `reason` is what uv says to it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Solution:
    """`pins` are `name==version ; marker` as uv words them, `required_by` maps a name to the
    distributions that need it. `undated` are files that were left out, because the request is as
    of a day and their index does not tell when they were uploaded."""

    pins: Sequence[str]
    required_by: dict[str, set[str]]
    undated: Sequence[str] = ()

    @property
    def versions(self) -> dict[str, list[str]]:
        """The versions of each name: more than one where platforms differ."""
        found: dict[str, list[str]] = {}
        for pin in self.pins:
            name, version = pin.partition(";")[0].strip().split("==")
            found.setdefault(name, []).append(version)
        return found

    @property
    def releases(self) -> dict[str, str]:
        """The newest version of each name, without a local label such as `+cpu`."""
        return {
            name: max(map(Version, versions)).public for name, versions in self.versions.items()
        }


@dataclass(frozen=True, kw_only=True)
class Dependency:
    """That `who` at `version` needs `name` within `bounds` where `marker` holds."""

    who: str
    version: str
    name: str
    bounds: str
    marker: str | None


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """One distribution of the solution with its files as pylock.toml lists them."""

    name: str
    version: str
    marker: str | None
    files: Sequence[dict[str, Any]] = field(default=())


def solve(request: CompileRequest) -> Solution:
    """The versions. Raises NoSolutionError if there are none, UnavailableError when an index
    cannot be reached, OperationFailedError for whatever else uv cannot do."""
    with _project(request) as project:
        project.write("solved.txt", "\n".join(request.preferences))
        told = project.uv("--output-file", "solved.txt", "--annotation-style", "line")
        return project.solution(told)


def files_of(request: CompileRequest, solution: Solution) -> list[Compiled]:
    """The distributions of a solution with their files, sorted by name and version."""
    # Everything has been looked up a moment ago.
    with _project(replace(request, refresh=False)) as project:
        project.write("pins.txt", "\n".join(solution.pins))
        project.uv(
            *("--quiet", "--constraints", "pins.txt", "--generate-hashes"),
            *("--format", "pylock.toml", "--output-file", "pylock.toml"),
        )
        document = tomllib.loads((project.folder / "pylock.toml").read_text(encoding="utf-8"))
    return sorted(map(_compiled, document.get("packages", [])), key=lambda x: (x.name, x.version))


def solve_with_needs(
    request: CompileRequest, names: Sequence[str]
) -> tuple[Solution, list[Dependency]]:
    """The versions, and what the distributions ask of `names`. Raises as `solve` does."""
    with _project(request) as project:
        project.write("solved.txt", "\n".join(request.preferences))
        told = project.uv("--verbose", "--output-file", "solved.txt", "--annotation-style", "line")
        solution = project.solution(told)
    versions = solution.versions
    needs = [need for need in _needs(told, names) if need.version in versions.get(need.who, ())]
    return solution, needs


def dependencies_of(request: CompileRequest, names: Sequence[str]) -> list[Dependency]:
    """What the distributions of the solution ask of `names`, read from uv's account of its work.

    Also of a request without a solution: then as far as uv came.
    """
    with _project(replace(request, refresh=False)) as project:
        project.write("solved.txt", "\n".join(request.preferences))
        done = project.run("--verbose", "--output-file", "solved.txt")
    return _needs(done.stderr, names)


def _needs(account: str, names: Sequence[str]) -> list[Dependency]:
    found: set[tuple[str, str, str, str, str | None]] = set()
    for line in account.splitlines():
        match = _DEPENDENCY.search(line)
        if match is not None and match["name"] in names:
            bounds = _specifier(match["bounds"])
            found.add((match["who"], match["version"], match["name"], bounds, match["marker"]))
    ordered = sorted(found, key=lambda item: tuple(map(str, item)))
    return [
        Dependency(who=who, version=version, name=name, bounds=bounds, marker=marker)
        for who, version, name, bounds, marker in ordered
    ]


def _specifier(bounds: str) -> str:
    """uv's ranges as PEP 440 writes them; '' for those that PEP 440 cannot write as one."""
    text = bounds.strip()
    if text == "*" or "|" in text:
        return ""
    exact = re.fullmatch(r">=(\S+), <\1\+", text)
    return f"=={exact[1]}" if exact else text.replace(" ", "")


@contextmanager
def _project(request: CompileRequest) -> Iterator[_Project]:
    with tempfile.TemporaryDirectory(prefix="runpod-comfy-resolve-") as folder:
        project = _Project(folder=Path(folder), request=request)
        project.prepare()
        yield project


@dataclass(frozen=True, kw_only=True)
class _Project:
    """The throw-away folder in which uv solves."""

    folder: Path
    request: CompileRequest

    def prepare(self) -> None:
        wishes = [item.text for item in self.request.requirements if not item.is_constraint]
        bounds = [item.text for item in self.request.requirements if item.is_constraint]
        self.write("pyproject.toml", self._pyproject())
        self.write("requirements.txt", "\n".join(wishes))
        self.write("constraints.txt", "\n".join([*bounds, *self.request.held]))
        self.write("overrides.txt", "\n".join(self.request.overrides))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text + "\n", encoding="utf-8")

    def uv(self, *arguments: str) -> str:
        """What uv says; raises if it fails."""
        done = self.run(*arguments)
        if done.returncode != 0:
            raise _failure(done.stderr, self.request.requirements)
        return done.stderr

    def solution(self, told: str) -> Solution:
        """What uv has written, with what it said beside it."""
        solved = (self.folder / "solved.txt").read_text(encoding="utf-8")
        return _solution(solved, undated_files(told))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        request = self.request
        settings = read_pip_settings()
        command = [str(request.uv), "pip", "compile", "--universal", "--no-header"]
        command += ["--python-version", request.python, "--cache-dir", str(request.cache_dir)]
        command += uv_arguments(settings)
        command += ["--constraints", "constraints.txt", "--overrides", "overrides.txt"]
        if request.offline:
            command += ["--offline"]
        elif request.refresh:
            command += ["--refresh"]
        if request.as_of:
            command += ["--exclude-newer", _end_of(request.as_of)]
        command += [*arguments, "pyproject.toml", "requirements.txt"]
        ours = {name: text for name, text in os.environ.items() if name not in _OF_THE_MACHINE}
        environment = {**ours, **uv_environment(settings), "NO_COLOR": "1"}
        # Another Python is reasoned about; it need not be here.
        environment["UV_PYTHON_DOWNLOADS"] = "never"
        if request.as_of:
            # No folder or page of links tells times, and uv does not filter them.
            environment.pop("UV_FIND_LINKS", None)
        if request.torch_index and request.torch_links:
            pages = [f"{request.torch_index.rstrip('/')}/{name}/" for name in FAMILY]
            links = [environment.get("UV_FIND_LINKS", ""), *pages]
            environment["UV_FIND_LINKS"] = ",".join(filter(None, links))
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def _pyproject(self) -> str:
        python = self.request.python
        above = f"3.{int(python.split('.')[1]) + 1}"
        environments = [
            f"{PLATFORMS[platform].marker} and python_full_version < '{above}'"
            for platform in self.request.platforms
        ]
        lines = [
            "[project]",
            f'name = "{PROJECT}"',
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


def undated_files(told: str) -> list[str]:
    """The files that uv left out because nothing tells when they were uploaded."""
    return sorted(set(_UNDATED.findall(told)))


def _end_of(day: str) -> str:
    """The moment after the last one of that day in UTC, as uv takes it."""
    return f"{date.fromisoformat(day) + timedelta(days=1)}T00:00:00Z"


def _solution(solved: str, undated: Sequence[str]) -> Solution:
    """A distribution may stand there twice, with other versions and markers."""
    pins: list[str] = []
    required_by: dict[str, set[str]] = {}
    for found in filter(None, map(_SOLVED_LINE.match, solved.splitlines())):
        pins.append(found["pin"].strip())
        who = (part.strip() for part in (found["who"] or "").split(","))
        names = {part for part in who if re.fullmatch(r"[a-z0-9._-]+", part)}
        required_by.setdefault(found["name"], set()).update(names)
    return Solution(pins=pins, required_by=required_by, undated=undated)


def _compiled(document: dict[str, Any]) -> Compiled:
    name, version = document["name"], document.get("version")
    entries = [*document.get("wheels", []), *([document["sdist"]] if "sdist" in document else [])]
    if version is None or not entries:
        raise OperationFailedError(
            f"{name} has no released files to pin",
            remedy="Choose a released version of it with options.overrides in the spec.",
        )
    return Compiled(name=name, version=version, marker=document.get("marker"), files=entries)


def _failure(stderr: str, requirements: Sequence[Requirement]) -> Exception:
    told = [line for line in stderr.splitlines() if not line.startswith(_NOT_THE_REASON)]
    text = without_secrets(_DRAWING.sub(" ", "\n".join(told)))
    reason = " ".join(text.split())
    if "No solution found" in reason:
        return NoSolutionError(text)
    if built := _UNBUILDABLE.search(reason):
        return _unbuildable(built["what"], reason, requirements)
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


def _unbuildable(
    what: str, reason: str, requirements: Sequence[Requirement]
) -> OperationFailedError:
    """An sdist says what it needs only when it is built, and this one cannot be built here."""
    name = re.split(r"[=@ ]", what, maxsplit=1)[0]
    lines = [f"{item.place} ('{item.asked}')" for item in requirements if item.name == name]
    asked = f", which {' and '.join(lines)} asks for," if lines else ""
    return OperationFailedError(
        f"{what}{asked} has no wheel that fits, and its sources cannot be built here: "
        f"{reason[-600:]}",
        remedy="Choose a version of it that has wheels with options.overrides in the spec, "
        f'or leave it out: "overrides": ["{name} ; python_version < \'3\'"]',
    )
