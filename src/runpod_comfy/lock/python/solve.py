"""The steps of a solution: the core decides torch, the rest is solved around it, then one opencv
and one onnxruntime are chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from packaging.specifiers import SpecifierSet

from comfy_errors import ComfyError
from comfy_files.progress import Say
from runpod_comfy.lock.model import Replaced
from runpod_comfy.lock.python.torch_family import torch_group
from runpod_comfy.lock.python.torch_members import family_around, whole_family
from runpod_comfy.lock.python.uv_compile import (
    Dependency,
    Pin,
    Solution,
    Solved,
    given_for,
    needs_in,
    replaced_line,
    replaced_need,
    solve,
)
from runpod_comfy.lock.python.uv_request import CompileRequest, NoSolutionError
from runpod_comfy.lock.python.variants import one_of_each, within_platforms
from runpod_comfy.lock.requirements.read import CORE, SPEC, RequirementLine, name_of


def solve_in_steps(request: CompileRequest, say: Say) -> Solved:
    """Solves torch for the core first, then everything around it, then chooses one opencv and one
    onnxruntime.

    Raises NoSolutionError with the part of the request that has no solution.
    """
    asked, request = request, within_platforms(request)
    own = [line for line in request.requirements if line.tree in (CORE, SPEC)]
    solution = whole_family(replace(request, requirements=own), say).solution
    group = torch_group(solution.required_by)
    # Torch, its family and its companions; none if the core does not use torch.
    torch = [pin for pin in solution.pins if pin.name in group]
    return one_of_each(_together(request, torch, say), asked, say)


def _together(request: CompileRequest, torch: Sequence[Pin], say: Say) -> Solved:
    """Solves everything with the core's torch. A node's line that asks for another torch loses its
    bound; a distribution that requires another torch is overridden if it has no release that fits.
    """
    if not torch:
        family = whole_family(request, say)
        return Solved(request=family.request, solution=family.solution)
    lines = [_yielding(line, torch) for line in request.requirements]
    pins = [*family_around(torch, request, say), *torch]
    held = replace(request, requirements=lines, held=list(map(str, pins)))
    insisted: list[Replaced] = []
    try:
        solution = solve(held)
    except NoSolutionError:
        # A torch index that is a folder has no pages that uv can use as links.
        if request.torch_index and not request.torch_index.startswith(("http:", "https:")):
            raise
        pinned = {pin.name for pin in pins}
        own = [text for text in request.overrides if name_of(text) not in pinned]
        # Everything that asks for torch gets the core's, whatever version it asks for.
        forced = replace(held, held=(), overrides=[*own, *held.held], torch_links=True)
        solution = solve(forced)
        insisted, held = _insisted(held, solution), forced
    replaced = [*insisted, *_yielded(request, solution)]
    return Solved(request=held, solution=solution, replaced=replaced)


def _yielding(line: RequirementLine, torch: Sequence[Pin]) -> RequirementLine:
    """The line without its bound, if it is a node's line and the core has another torch."""
    versions = [pin.version for pin in torch if pin.name == line.name]
    parsed = line.parsed
    if line.tree in (CORE, SPEC) or not versions or all_fit(parsed.specifier, versions):
        return line
    parsed.specifier = SpecifierSet()
    return replace(line, text=str(parsed))


def _insisted(request: CompileRequest, solution: Solution) -> list[Replaced]:
    """The distributions of the solution that ask for a different torch than they get."""
    group = torch_group(solution.required_by)
    return [
        replaced_need(need, given_for(need.name, solution.versions.get(need.name, ())))
        for need in unmet_needs(request, solution, group)
        if need.who not in group
    ]


def unmet_needs(
    request: CompileRequest, solution: Solution, names: Collection[str]
) -> list[Dependency]:
    """What the distributions of a solution need of `names` and do not get.

    uv says what each release needs only as long as it finds no conflict. So all releases are solved
    together without the overrides for `names`; those whose needs conflict are left out, and the
    rest is solved again, from what the cache has of the solution.
    """
    versions = solution.versions
    overrides = [text for text in request.overrides if name_of(text) not in names]
    asking = list(solution.pins)
    found: list[Dependency] = []
    while asking:
        lines = [RequirementLine(tree=SPEC, text=str(pin), asked=str(pin)) for pin in asking]
        held = [*request.held, *map(str, solution.pins)]
        again = replace(
            request, requirements=lines, held=held, overrides=overrides, builds=False, offline=True
        )
        who = {pin.name for pin in asking}
        news = [
            need
            for need in needs_in(_account(again), names)
            # uv lists a release as its own need, where markers or extras split it.
            if need.who in who - {need.name}
            and need.version in versions[need.who]
            and not _is_met(need, versions.get(need.name, ()))
        ]
        if not news:
            break
        found += news
        left = {need.who for need in news}
        asking = [pin for pin in asking if pin.name not in left]
    return sorted(found)


def _account(request: CompileRequest) -> str:
    """uv's log; without a solution, up to where it stopped."""
    try:
        return solve(request).account
    except NoSolutionError as error:
        return error.account
    except ComfyError:
        # It is only needed for a report, so an error is ignored.
        return ""


def _is_met(need: Dependency, versions: Collection[str]) -> bool:
    return bool(versions) and all_fit(SpecifierSet(need.bounds), versions)


def all_fit(specifier: SpecifierSet, versions: Iterable[str]) -> bool:
    """True if the specifier allows each of the versions."""
    return all(specifier.contains(version, prereleases=True) for version in versions)


def _yielded(request: CompileRequest, solution: Solution) -> list[Replaced]:
    """The nodes' lines that ask for a different torch than the one chosen."""
    group = torch_group(solution.required_by)
    versions = solution.versions
    return [
        replaced_line(line, given_for(line.name, versions[line.name]))
        for line in request.requirements
        if line.name in group
        and line.tree not in (CORE, SPEC)
        and not all_fit(line.parsed.specifier, versions[line.name])
    ]
