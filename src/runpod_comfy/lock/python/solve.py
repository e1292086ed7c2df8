"""The steps of a solution: the core decides torch, the rest is solved around it, one opencv is
chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from packaging.specifiers import SpecifierSet

from comfy_errors import ComfyError
from comfy_files.progress import Say
from runpod_comfy.lock.model import Replaced
from runpod_comfy.lock.python.torch_family import torch_group
from runpod_comfy.lock.python.torch_members import family_around, whole_family
from runpod_comfy.lock.python.uv_compile import (
    CompileRequest,
    Dependency,
    NoSolutionError,
    Pin,
    Solution,
    needs_in,
    solve,
)
from runpod_comfy.lock.requirements.read import CORE, SPEC, RequirementLine, name_of

# Four distributions that install the same folder `cv2/`, so a lock has only one of them: the last
# one installed would win, and removing any breaks the others. Which one is chosen, and why:
# docs/decisions/007-requirements-of-nodes.md
OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)

# A marker that is never true: an override with it removes a distribution from the solution.
NEVER = "python_version < '3'"


@dataclass(frozen=True, kw_only=True)
class Solved:
    """A solution, its request, and the requirements that something else satisfies.

    `also_required_by` names distributions that need one under another name.
    """

    request: CompileRequest
    solution: Solution
    replaced: Sequence[Replaced] = ()
    also_required_by: Mapping[str, set[str]] = field(default_factory=dict)


def solve_in_steps(request: CompileRequest, say: Say) -> Solved:
    """Solves torch for the core first, then everything around it, then chooses one opencv.

    Raises NoSolutionError with the part of the request that has no solution.
    """
    own = [line for line in request.requirements if line.tree in (CORE, SPEC)]
    solution = whole_family(replace(request, requirements=own), say).solution
    group = torch_group(solution.required_by)
    # Torch, its family and its companions; none if the core does not use torch.
    torch = [pin for pin in solution.pins if pin.name in group]
    return _one_opencv(_together(request, torch, say), say)


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
        forced = replace(
            held, held=(), overrides=[*own, *held.held], torch_links=True, refresh=False
        )
        solution = solve(forced)
        insisted, held = _insisted(held, solution), forced
    replaced = [*insisted, *_yielded(request, solution)]
    return Solved(request=held, solution=solution, replaced=replaced)


def _yielding(line: RequirementLine, torch: Sequence[Pin]) -> RequirementLine:
    """The line without its bound, if it is a node's line and the core has another torch."""
    versions = [pin.version for pin in torch if pin.name == line.name]
    parsed = line.parsed
    if line.tree in (CORE, SPEC) or not versions or _all_fit(parsed.specifier, versions):
        return line
    parsed.specifier = SpecifierSet()
    return replace(line, text=str(parsed))


def _insisted(request: CompileRequest, solution: Solution) -> list[Replaced]:
    """The distributions of the solution that ask for a different torch than they get."""
    group = torch_group(solution.required_by)
    others = [pin for pin in solution.pins if pin.name not in group]
    askers = set().union(*(solution.required_by[name] for name in group)) - group
    found: list[Replaced] = []
    for pin in others:
        if pin.name not in askers:
            continue
        alone = [RequirementLine(tree=SPEC, text=str(pin), asked=str(pin))]
        held = list(map(str, others))
        question = replace(request, requirements=alone, held=held, refresh=False)
        for need in needs_in(_account(question), group):
            given = solution.versions.get(need.name, [])
            fits = _all_fit(SpecifierSet(need.bounds), given)
            if need.who == pin.name and need.bounds and not fits:
                found.append(_replaced_need(need, _given(need.name, given)))
    return found


def _account(request: CompileRequest) -> str:
    """uv's log; without a solution, up to where it stopped."""
    try:
        return solve(request).account
    except NoSolutionError as error:
        return error.account
    except ComfyError:
        # It is only needed for a report, so an error is ignored.
        return ""


def _all_fit(specifier: SpecifierSet, versions: Iterable[str]) -> bool:
    return all(specifier.contains(version, prereleases=True) for version in versions)


def _yielded(request: CompileRequest, solution: Solution) -> list[Replaced]:
    """The nodes' lines that ask for a different torch than the one chosen."""
    group = torch_group(solution.required_by)
    versions = solution.versions
    return [
        _replaced_line(line, _given(line.name, versions[line.name]))
        for line in request.requirements
        if line.name in group
        and line.tree not in (CORE, SPEC)
        and not _all_fit(line.parsed.specifier, versions[line.name])
    ]


def _replaced_line(line: RequirementLine, given: str) -> Replaced:
    _, _, place = line.place.partition(", ")
    return Replaced(asked_by=line.tree, place=place or None, requirement=line.asked, given=given)


def _replaced_need(need: Dependency, given: str) -> Replaced:
    return Replaced(
        asked_by=f"{need.who} {need.version}",
        requirement=f"{need.name}{need.bounds}",
        given=given,
    )


def _given(name: str, versions: Sequence[str]) -> str:
    return " or ".join(f"{name}=={version}" for version in versions) or "nothing"


def _one_opencv(solved: Solved, say: Say) -> Solved:
    request, wanted = solved.request, [pin for pin in solved.solution.pins if pin.name in OPENCV]
    present = {pin.name for pin in wanted}
    name = _chosen_opencv(present, request.overrides)
    if present <= {name}:
        return solved
    needs = [need for need in solved.solution.needs(OPENCV) if need.name != name]
    markers = sorted({pin.marker for pin in wanted})
    one = _with_one_opencv(request, name, markers, needs)
    try:
        solution = solve(replace(one, refresh=False))
    except NoSolutionError:
        # Distributions' bounds on another opencv name are not worth failing for.
        one = _with_one_opencv(request, name, markers, ())
        solution = solve(one)
    given = _given(name, solution.versions.get(name, []))
    say(f"One opencv for all: {given} replaces {', '.join(sorted(present - {name}))}")
    needs = [need for need in needs if need.version in solution.versions.get(need.who, [])]
    lines = [
        _replaced_line(line, given)
        for line in request.requirements
        if line.name in OPENCV and line.name != name and not line.is_constraint
    ]
    return Solved(
        request=one,
        solution=solution,
        replaced=[*solved.replaced, *lines, *(_replaced_need(need, given) for need in needs)],
        also_required_by={name: {need.who for need in needs}},
    )


def _chosen_opencv(present: Collection[str], overrides: Sequence[str]) -> str:
    """The name that replaces all in `present`.

    An override of the spec takes precedence. Otherwise headless, which needs no display libraries,
    and contrib, which includes everything in the plain ones, if any of them is contrib.
    """
    for text in overrides:
        if name_of(text) in OPENCV and NEVER.split()[0] not in text:
            return name_of(text)
    contrib = any("contrib" in name for name in present)
    return "opencv-contrib-python-headless" if contrib else "opencv-python-headless"


def _with_one_opencv(
    request: CompileRequest, name: str, markers: Iterable[str], needs: Iterable[Dependency]
) -> CompileRequest:
    """The request with `name` replacing all others.

    `markers` say where any of them is needed; `needs` are distributions' requirements on the
    others.
    """
    others = [other for other in OPENCV if other != name]
    lines = [_renamed(line, name) if line.name in others else line for line in request.requirements]
    wish = RequirementLine(tree="opencv", place="one opencv for all", text=name, asked=name)
    lines += [replace(wish, text=_marked(name, marker)) for marker in markers]
    # A distribution's bound is not a separate requirement: it is listed once.
    lines += [
        RequirementLine(
            tree="opencv",
            place=need.who,
            text=_marked(f"{name}{need.bounds}", need.marker),
            asked=f"{need.name}{need.bounds}",
            is_constraint=True,
        )
        for need in needs
        if need.bounds
    ]
    kept = [text for text in request.overrides if name_of(text) not in others]
    left_out = [f"{other} ; {NEVER}" for other in others]
    return replace(request, requirements=lines, overrides=[*kept, *left_out])


def _marked(text: str, marker: str) -> str:
    return f"{text} ; {marker}" if marker else text


def _renamed(line: RequirementLine, name: str) -> RequirementLine:
    parsed = line.parsed
    parsed.name, parsed.extras = name, set()
    return replace(line, text=str(parsed))
