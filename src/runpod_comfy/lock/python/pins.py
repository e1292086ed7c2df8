"""The Python part of a lock: core and nodes solved together, the torch family as a unit."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version
from uv import find_uv_bin

from comfy_errors import InvalidInputError
from comfy_errors.names import listed, quantity
from comfy_files.progress import Say, say_nothing
from comfy_home.platforms import DEFAULT_PLATFORM
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.model import Distribution, PythonLock, Replaced
from runpod_comfy.lock.python.advice.explain import Question, explained
from runpod_comfy.lock.python.distribution_files import locked_files, source_warning
from runpod_comfy.lock.python.fit import brief_marker, platforms_of
from runpod_comfy.lock.python.solve import solve_in_steps
from runpod_comfy.lock.python.torch_family import cuda_of, in_torch_group, torch_group
from runpod_comfy.lock.python.uv_compile import Pin, Solved, files_of, undated_files
from runpod_comfy.lock.python.uv_request import CompileRequest, NoSolutionError
from runpod_comfy.lock.requirements.read import (
    CORE,
    SPEC,
    Reading,
    RequirementLine,
    listed_elsewhere,
    name_of,
    read_requirements,
)
from runpod_comfy.sources.index.pip_settings import read_index_settings
from runpod_comfy.spec.model import Options


def is_asked(python: PythonLock, options: Options) -> bool:
    """True if earlier pins are what these options ask for."""
    settings = _settings(options)
    wanted = options.torch.version
    torch = [Version(item.version).public for item in python.torch if item.name == "torch"]
    return settings == python.model_dump(include=set(settings)) and (
        wanted is None
        or all(version == wanted or version.startswith(f"{wanted}.") for version in torch)
    )


def read_asked(
    trees: Sequence[tuple[str, Path]], options: Options, say: Say = say_nothing
) -> Reading:
    """The requirements of `trees` (pairs of name and folder) on the platforms of the spec."""
    settings = _settings(options)
    python, platforms = settings["version"], settings["platforms"]
    return read_requirements(
        trees,
        overridden=frozenset(map(name_of, options.overrides)),
        applies=lambda marker: bool(platforms_of(marker, python=python, platforms=platforms)),
        say=say,
    )


def lock_python(
    trees: Sequence[tuple[str, Path]],
    *,
    options: Options,
    previous: PythonLock | None,
    fetch_context: FetchContext,
) -> PythonLock:
    """Pins every distribution that `trees` (pairs of name and folder) ask for, with all hashes, for
    the platforms of the spec. The first tree is the core.

    Pins and hashes of `previous` are kept if they still fit. Raises InvalidInputError naming every
    line that cannot be pinned, OperationFailedError or UnavailableError naming the lines without a
    solution, with an override that solves them.
    """
    say = fetch_context.say
    reading = read_asked(trees, options, say)
    _report_unread(trees, options, say)
    request = _request(reading, options, previous, fetch_context)

    def solve_with(overrides: Sequence[str], constraints: Sequence[str]) -> Solved:
        wider = [*options.constraints, *constraints]
        changed = options.model_copy(update={"overrides": list(overrides), "constraints": wider})
        other = _request(read_asked(trees, changed), changed, previous, fetch_context)
        return solve_in_steps(replace(other, builds=False), say_nothing)

    question = Question(request=request, refused=reading.refused, solve_with=solve_with)
    asked = len(reading.requirements) + len(options.requirements)
    say(f"Resolving {quantity(asked, 'Python requirement')}")
    solved = _solve(question, say)
    _report_undated(solved, say)
    lock = _locked(solved, options, previous)
    _report(lock, request, say)
    _report_moved_pins(lock, previous, say)
    return lock


def _request(
    reading: Reading,
    options: Options,
    previous: PythonLock | None,
    fetch_context: FetchContext,
) -> CompileRequest:
    settings = _settings(options)
    return CompileRequest(
        requirements=[*reading.requirements, *_wishes_of_the_spec(options)],
        python=settings["version"],
        platforms=settings["platforms"],
        overrides=options.overrides,
        preferences=[
            str(Pin(name=item.name, version=item.version, marker=item.marker or ""))
            for item in (previous.distributions if previous else ())
        ],
        torch_index=options.torch.index,
        build_requirements=settings["build_requirements"],
        as_of=options.as_of,
        cache_dir=fetch_context.cache.uv,
        offline=fetch_context.offline,
    )


def _report_unread(trees: Sequence[tuple[str, Path]], options: Options, say: Say) -> None:
    scripts = {f"node:{name}" for name in options.run_install_scripts}
    for tree, folder in trees:
        note = listed_elsewhere(tree, folder, runs_script=tree in scripts)
        if note and tree != CORE:
            say(note)


def _settings(options: Options) -> dict[str, Any]:
    """The lock's record of the options that its distributions were chosen with."""
    build: dict[str, list[str]] = {}
    for name, needs in options.build_requirements.items():
        build.setdefault(canonicalize_name(name), []).extend(needs)
    return {
        "version": options.python or "3.11",
        "platforms": list(options.platforms or (DEFAULT_PLATFORM,)),
        "torch_index": options.torch.index,
        "as_of": options.as_of,
        "requirements": options.requirements,
        "constraints": options.constraints,
        "overrides": options.overrides,
        "build_requirements": build,
    }


def _wishes_of_the_spec(options: Options) -> list[RequirementLine]:
    """The spec's requirements, constraints and torch, as lines that can be named like those of a
    tree.
    """
    asked = [
        RequirementLine(tree=SPEC, place=f"options.requirements[{number}]", text=text, asked=text)
        for number, text in enumerate(options.requirements)
    ]
    bounds = [
        (f"options.constraints[{number}]", text) for number, text in enumerate(options.constraints)
    ]
    if version := options.torch.version:
        # `2.11` means any 2.11 release.
        patch = "" if version.count(".") > 1 else ".*"
        bounds.append(("options.torch.version", f"torch=={version}{patch}"))
    return asked + [
        RequirementLine(tree=SPEC, place=place, text=text, asked=text, is_constraint=True)
        for place, text in bounds
    ]


def _solve(question: Question, say: Say) -> Solved:
    """Raises the error that explains what is wrong, for all lines together."""
    try:
        solved = solve_in_steps(question.request, say_nothing if question.refused else say)
    except NoSolutionError as error:
        say("There is no solution; looking for the conflicting lines")
        raise explained(question, error) from error
    if question.refused:
        raise explained(question, solved)
    return solved


def _locked(solved: Solved, options: Options, previous: PythonLock | None) -> PythonLock:
    request, solution = solved.request, solved.solution
    python, platforms = request.python, request.platforms
    compiled = files_of(request, solution)
    files = locked_files(compiled, request, previous)
    asked = _asked_lines(request)
    required_by = {
        name: who | solved.also_required_by.get(name, set())
        for name, who in solution.required_by.items()
    }
    distributions = [
        Distribution(
            name=item.name,
            version=item.version,
            marker=brief_marker(item.marker, python=python, platforms=platforms),
            files=files[item.name, item.version],
            requested_by=asked.get(item.name, {}),
            required_by=sorted(required_by.get(item.name, ())),
        )
        for item in compiled
        if platforms_of(item.marker, python=python, platforms=platforms)
    ]
    group = torch_group(required_by)
    torch = [item for item in distributions if item.name in group]
    return PythonLock(
        **_settings(options),
        cuda=cuda_of(torch),
        replaced=sorted(set(solved.replaced), key=Replaced.model_dump_json),
        torch=torch,
        wheels=[item for item in distributions if item.name not in group],
    )


def _report(lock: PythonLock, request: CompileRequest, say: Say) -> None:
    for item in lock.replaced:
        if in_torch_group(name_of(item.given.split(" or ")[0])):
            where = f"{item.asked_by}, {item.place}" if item.place else item.asked_by
            say(
                f"{where} asks for {item.requirement} and gets the core's {item.given}; "
                "options.torch.version in the spec sets it for all"
            )
    names = {distribution.name for distribution in lock.distributions}
    for name in sorted(lock.build_requirements.keys() - names):
        say(f"options.build_requirements names {name}, which this version does not have")
    for distribution in lock.distributions:
        if warning := source_warning(distribution, request):
            say(warning)


def _report_undated(solved: Solved, say: Say) -> None:
    as_of = solved.request.as_of
    if as_of is None:
        return
    if date.fromisoformat(as_of) >= datetime.now(UTC).date():
        say(f"options.as_of: {as_of} has not passed yet, so the result can still change")
    if links := read_index_settings().find_links:
        places = ", ".join(map(without_secrets, links))
        say(f"options.as_of: ignored {places}: files there have no upload times")
    if undated := undated_files(solved.solution.account):
        say(
            f"options.as_of: left out {listed(undated, at_most=3)}: their index has no upload times"
        )


def _report_moved_pins(lock: PythonLock, previous: PythonLock | None, say: Say) -> None:
    """Reports pins that could not be kept."""
    before: dict[str, set[str]] = {}
    for item in previous.distributions if previous else ():
        before.setdefault(item.name, set()).add(item.version)
    moved = [
        item
        for item in lock.distributions
        if item.version not in before.get(item.name, {item.version})
    ]
    if previous and moved and lock.as_of not in (None, previous.as_of):
        say(
            f"{quantity(len(moved), 'pin')} changed to releases uploaded by {lock.as_of} "
            "(options.as_of)"
        )
        return
    for item in moved:
        say(
            f"{item.name} goes from {' and '.join(sorted(before[item.name]))} to {item.version}: "
            "the old pin no longer fits the requirements, or no index has it any more"
        )


def _asked_lines(request: CompileRequest) -> Mapping[str, dict[str, list[str]]]:
    """Distribution name → tree → its original lines that ask for it."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in request.requirements:
        if not line.is_constraint and line.tree.startswith((CORE, SPEC, "node:")):
            lines = found.setdefault(line.name, {}).setdefault(line.tree, [])
            if line.asked not in lines:
                lines.append(line.asked)
    return found


def require_python(python: str | None) -> None:
    """Raises InvalidInputError for a minor version, say `3.99`, that no CPython has.

    Those that uv can install are known without a network, and so is the one that runs this.
    """
    if python in (None, f"{sys.version_info.major}.{sys.version_info.minor}"):
        return
    command = [find_uv_bin(), "python", "list", "--only-downloads", "--no-config", "--offline"]
    listed = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False).stdout
    minors = {int(minor) for minor in re.findall(r"^cpython-3\.(\d+)\.", listed, re.MULTILINE)}
    if not minors or int(str(python).partition(".")[2]) in minors:
        return
    raise InvalidInputError(
        f"'options.python' is '{python}', but there is no Python {python} to install",
        remedy=f"Use one from 3.{min(minors)} to 3.{max(minors)}; without the option it is 3.11.",
    )
