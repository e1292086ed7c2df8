"""Constraints that go with overrides, and what does not get what it asks for under both.

An override decides for every distribution that needs the overridden one, so uv takes their newest
releases, even where older ones are made for the version that is overridden. Constraints keep those.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from packaging.version import Version

from comfy_errors import ComfyError
from comfy_files.progress import say_nothing
from runpod_comfy.lock.python.advice.offer import replaced_in
from runpod_comfy.lock.python.solve import all_fit, solve_in_steps, unmet_needs
from runpod_comfy.lock.python.uv_compile import NEVER, Dependency, Solved, given_for
from runpod_comfy.lock.python.uv_request import CompileRequest, NoSolutionError
from runpod_comfy.lock.requirements.read import RefusedLine, RequirementLine, name_of

_MOST_ROUNDS = 4


def kept_together(
    offered: Sequence[str],
    solved: Solved,
    request: CompileRequest,
    solve_with: Callable[[Sequence[str], Sequence[str]], Solved],
) -> tuple[list[str], Solved]:
    """Constraints under which the distributions get what they need of the overridden ones, and the
    solution with them; none, and `solved`, if that is impossible.
    """
    bounds = [text for text in offered if NEVER not in text]
    broken = _broken(solved, bounds)
    if not broken:
        return [], solved
    whole = replaced_in(request.overrides, offered)
    try:
        example = _without_the_lines(bounds, whole, solved, request).solution.releases
        constraints: list[str] = []
        found, left = solved, broken
        for _ in range(_MOST_ROUNDS):
            more = _older(left, example)
            if not more:
                break
            constraints += more
            found = solve_with(whole, constraints)
            left = _broken(found, bounds)
    except (NoSolutionError, ComfyError):
        return [], solved
    return (constraints, found) if len(left) < len(broken) else ([], solved)


def _broken(solved: Solved, overrides: Sequence[str]) -> list[Dependency]:
    return unmet_needs(solved.request, solved.solution, set(map(name_of, overrides)))


def _without_the_lines(
    bounds: Sequence[str], overrides: Sequence[str], solved: Solved, request: CompileRequest
) -> Solved:
    """The solution without the lines that the overrides `bounds` pass over, and without those."""
    names = set(map(name_of, bounds))
    versions = solved.solution.versions
    lines = [
        line
        for line in request.requirements
        if line.name not in names or is_met(line, versions.get(line.name, ()))
    ]
    others = [text for text in overrides if text not in bounds]
    return solve_in_steps(
        replace(request, requirements=lines, overrides=others, builds=False), say_nothing
    )


def _older(broken: Sequence[Dependency], example: dict[str, str]) -> list[str]:
    found = {
        need.who: f"{need.who}<={example[need.who]}"
        for need in broken
        if need.who in example and Version(example[need.who]) < Version(need.version)
    }
    return list(found.values())


def unmet(
    solved: Solved,
    offered: Sequence[str],
    *,
    lines: Sequence[RequirementLine],
    refused: Sequence[RefusedLine],
    why: Mapping[str, str],
) -> list[str]:
    """The lines, and the needs of distributions, that the offered overrides pass over.

    `lines` are those that can be pinned; `why` has reasons for names that are left out.
    """
    names = set(map(name_of, offered))
    versions = solved.solution.versions
    return [
        *(
            f"{line.place}: {line.text} {_from_the_index(line.name, versions, why)}"
            for line in refused
            if line.name in names
        ),
        *(
            f"{line.place}: {line.asked} {_instead(line.name, versions)}"
            for line in lines
            if line.name in names and not is_met(line, versions.get(line.name, ()))
        ),
        *(
            f"{need.who} {need.version}: {need.name}{need.bounds} {_instead(need.name, versions)}"
            for need in unmet_needs(solved.request, solved.solution, names)
        ),
    ]


def is_met(line: RequirementLine, versions: Collection[str]) -> bool:
    """True if these versions are what the line asks for."""
    return all_fit(line.parsed.specifier, versions) if versions else line.is_constraint


def _from_the_index(
    name: str, versions: Mapping[str, Collection[str]], why: Mapping[str, str]
) -> str:
    if versions.get(name):
        return f"{_instead(name, versions)} from the index"
    return f"is left out: {why[name]}" if why.get(name) else "is left out"


def _instead(name: str, versions: Mapping[str, Collection[str]]) -> str:
    found = versions.get(name)
    return f"gets {given_for(name, found)}" if found else "is left out"
