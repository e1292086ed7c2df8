"""The steps of a solution: the core settles torch, all is solved around it, opencv becomes one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from packaging.requirements import Requirement as PackagingRequirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from comfy_errors import UnavailableError
from runpod_comfy.lock.model import Replaced
from runpod_comfy.lock.opencv import NAMES as OPENCV
from runpod_comfy.lock.opencv import chosen_name, with_one_opencv
from runpod_comfy.lock.requirements import CORE, Requirement
from runpod_comfy.lock.torch_family import MEMBERS, torch_group
from runpod_comfy.lock.torch_members import Member, members_for
from runpod_comfy.lock.uv_compile import (
    CompileRequest,
    NoSolutionError,
    Solution,
    dependencies_of,
    solve,
)
from runpod_comfy.sources.tree import Say

# What the spec itself asks for stands beside the trees under this name.
SPEC = "spec"

# Releases of torch that are tried until one has a whole family.
_MOST_TORCHES = 8


@dataclass(frozen=True, kw_only=True)
class Solved:
    """A solution, the request that it answers, and the wishes that something else answers.

    `also_required_by` names distributions that need one under another of its names.
    """

    request: CompileRequest
    solution: Solution
    replaced: Sequence[Replaced] = ()
    also_required_by: Mapping[str, set[str]] = field(default_factory=dict)


class ConflictError(Exception):
    """No solution, with the request that has none."""

    def __init__(self, request: CompileRequest, error: NoSolutionError) -> None:
        super().__init__(error.reason)
        self.request = request
        self.error = error


def solve_in_steps(request: CompileRequest, say: Say) -> Solved:
    """First the core settles torch, then everything is solved around it, then opencv is one.

    Raises ConflictError with the part of the request that has no solution.
    """
    torch = _torch_of_the_core(request, say)
    return _one_opencv(_together(request, torch, say), say)


def _torch_of_the_core(request: CompileRequest, say: Say) -> list[str]:
    """The pins of torch, its family and its companions as the core and the spec alone have them;
    none if the core does not use torch."""
    own = [item for item in request.requirements if item.tree in (CORE, SPEC)]
    solution = _whole_family(replace(request, requirements=own), say).solution
    group = torch_group(solution.required_by)
    return [pin for pin in solution.pins if name_of(pin) in group]


def _whole_family(request: CompileRequest, say: Say) -> Solved:
    """A solution whose family of torch belongs together, with the newest torch that has a whole
    one. Where torch cannot be another, its family is the best there is, and that is said.

    Raises UnavailableError if a member of the family is surely for another torch.
    """
    first = solved = _held_together(request, _solved_or_conflict(request))
    tried = request
    for _ in range(_MOST_TORCHES):
        if not solved.strays:
            break
        tried = replace(tried, held=[*tried.held, _older_torch(solved)], refresh=False)
        try:
            solved = _held_together(tried, solve(tried))
        except NoSolutionError:
            break
    if not solved.strays and solved is not first:
        say(f"Holding torch back to {solved.torch}: {_in_words(first)}")
    if solved.strays:
        solved = first
        _refuse_strays(solved)
        say(f"{_in_words(solved)}; realize checks whether the family loads")
    return Solved(request=solved.request, solution=solved.solution)


@dataclass(frozen=True, kw_only=True)
class _Family:
    """A solution, and the members of its torch family that are not known to belong to its torch."""

    request: CompileRequest
    solution: Solution
    torch: str = ""
    strays: Sequence[Member] = ()


def _held_together(request: CompileRequest, solution: Solution) -> _Family:
    """The solution with the releases that belong to its torch, as far as the lines allow."""
    releases = solution.releases
    torch = releases.get("torch")
    mine = {item.name for item in request.requirements if item.tree == SPEC}
    mine |= {name_of(text) for text in request.overrides}
    judged = [name for name in MEMBERS if name in releases and name not in mine]
    if torch is None or not judged:
        return _Family(request=request, solution=solution)
    members = members_for(judged, torch, request)
    pins = [f"{each.name}=={each.version}" for each in members if each.known]
    strays = [each for each in members if not each.known]
    if any(releases[each.name] != each.version for each in members if each.known):
        held = replace(request, held=[*request.held, f"torch=={torch}", *pins], refresh=False)
        try:
            request, solution = held, solve(held)
        except NoSolutionError:
            strays = [Member(name=name, version=releases[name]) for name in judged]
    return _Family(request=request, solution=solution, torch=torch, strays=strays)


def _older_torch(family: _Family) -> str:
    """The bound that leaves out this torch, and those for which there is surely no member."""
    numbers = [Version(each.version) for each in family.strays if each.for_another]
    lower = [number for number in numbers if number < Version(family.torch)]
    return f"torch<={min(lower)}" if lower else f"torch<{family.torch}"


def _refuse_strays(family: _Family) -> None:
    for each in family.strays:
        if each.for_another:
            raise UnavailableError(
                f"no release of {each.name} is for torch {family.torch}: the newest that can be "
                f"installed beside it, {each.version}, is for torch {each.version}",
                remedy=f'Choose that torch in the spec, "options": {{"torch": {{"version": '
                f'"{each.version}"}}}}, or another that has a {each.name}; '
                f'"constraints": ["{each.name}=={each.version}"] tries this pair all the same.',
            )


def _in_words(family: _Family) -> str:
    strays = " and ".join(f"{each.name} {each.version}" for each in family.strays)
    verb = "are" if len(family.strays) > 1 else "is"
    return f"{strays} {verb} not known to work with torch {family.torch}"


def _solved_or_conflict(request: CompileRequest) -> Solution:
    try:
        return solve(request)
    except NoSolutionError as error:
        raise ConflictError(request, error) from error


def _together(request: CompileRequest, torch: Sequence[str], say: Say) -> Solved:
    """Everything, with torch as the core has it. A line of a node that asks for another loses its
    bound; a distribution that insists on another is overridden, if it has no release that fits."""
    if not torch:
        return _whole_family(request, say)
    lines = [_yielding(item, torch) for item in request.requirements]
    family = _family_around(torch, request)
    held = replace(request, requirements=lines, held=[*family, *torch])
    try:
        solved = Solved(request=held, solution=solve(held))
    except NoSolutionError:
        forced = _forced(replace(request, requirements=lines, refresh=False), torch, family)
        solution = _solved_or_conflict(forced if _can_be_forced(request) else held)
        solved = Solved(request=forced, solution=solution, replaced=_insisted(held, solution))
    return replace(solved, replaced=[*solved.replaced, *_yielded(request, solved.solution)])


def _family_around(torch: Sequence[str], request: CompileRequest) -> list[str]:
    """Pins of the members that the core has no use for, should a node want them."""
    versions = {name_of(pin): _version(pin) for pin in torch}
    others = [name for name in MEMBERS if name not in versions]
    if "torch" not in versions or not others:
        return []
    members = members_for(others, Version(versions["torch"]).public, request)
    return [f"{each.name}=={each.version}" for each in members]


def _yielding(item: Requirement, torch: Sequence[str]) -> Requirement:
    """The line without its bound, if it is a node's and the core has another torch."""
    versions = [_version(pin) for pin in torch if name_of(pin) == item.name]
    parsed = PackagingRequirement(item.text)
    if item.tree in (CORE, SPEC) or not versions:
        return item
    if all(parsed.specifier.contains(version, prereleases=True) for version in versions):
        return item
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    marker = f" ; {parsed.marker}" if parsed.marker else ""
    return replace(item, text=f"{item.name}{extras}{marker}")


def _can_be_forced(request: CompileRequest) -> bool:
    """An index of torch that is a folder has no pages that uv can take as links."""
    return request.torch_index is None or request.torch_index.startswith(("http:", "https:"))


def _forced(request: CompileRequest, torch: Sequence[str], family: Sequence[str]) -> CompileRequest:
    """The request in which whoever asks for torch gets the core's, whatever they ask."""
    pinned = {name_of(pin) for pin in torch}
    own = [text for text in request.overrides if name_of(text) not in pinned]
    rest = [text for text in family if name_of(text) not in pinned]
    return replace(request, overrides=[*own, *torch, *rest], torch_links=True)


def _insisted(request: CompileRequest, solution: Solution) -> list[Replaced]:
    """The distributions of the solution that ask for another torch than they get."""
    group = torch_group(solution.required_by)
    others = [pin for pin in solution.pins if name_of(pin) not in group]
    askers = set().union(*(solution.required_by[name] for name in group)) - group
    found: list[Replaced] = []
    for pin in others:
        if name_of(pin) not in askers:
            continue
        alone = Requirement(tree=SPEC, place="", name=name_of(pin), text=pin, asked=pin)
        question = replace(request, requirements=[alone], held=others, refresh=False)
        for need in dependencies_of(question, sorted(group)):
            given = solution.versions.get(need.name, [])
            if need.who == name_of(pin) and need.bounds and not _all_fit(need.bounds, given):
                found.append(
                    Replaced(
                        asked_by=f"{need.who} {need.version}",
                        requirement=f"{need.name}{need.bounds}",
                        given=_given(need.name, given),
                    )
                )
    return found


def _all_fit(bounds: str, versions: Iterable[str]) -> bool:
    specifier = PackagingRequirement(f"x{bounds}").specifier
    return all(specifier.contains(version, prereleases=True) for version in versions)


def _yielded(request: CompileRequest, solution: Solution) -> list[Replaced]:
    """The lines of nodes that ask for another torch than there is."""
    group = torch_group(solution.required_by)
    versions = solution.versions
    return [
        _replaced(item, _given(item.name, versions[item.name]))
        for item in request.requirements
        if item.name in group
        and item.tree not in (CORE, SPEC)
        and not _all_fit(str(PackagingRequirement(item.text).specifier), versions[item.name])
    ]


def _replaced(item: Requirement, given: str) -> Replaced:
    _, _, place = item.place.partition(", ")
    return Replaced(asked_by=item.tree, place=place or None, requirement=item.asked, given=given)


def _given(name: str, versions: Sequence[str]) -> str:
    return " or ".join(f"{name}=={version}" for version in versions) or "nothing"


def _one_opencv(solved: Solved, say: Say) -> Solved:
    wanted = [pin for pin in solved.solution.pins if name_of(pin) in OPENCV]
    present = {name_of(pin) for pin in wanted}
    if not present:
        return solved
    name = chosen_name(present, solved.request.overrides)
    if present == {name}:
        return solved
    dependencies = dependencies_of(solved.request, OPENCV)
    markers = [pin.partition(" ; ")[2] or None for pin in wanted]
    one = with_one_opencv(solved.request, name, markers=markers, dependencies=dependencies)
    try:
        solution = solve(replace(one.request, refresh=False))
    except NoSolutionError:
        # What distributions ask of an opencv of another name is not worth failing for.
        one = with_one_opencv(solved.request, name, markers=markers, dependencies=())
        solution = _solved_or_conflict(one.request)
    given = _given(name, solution.versions.get(name, []))
    say(f"One opencv for all: {given} stands for {', '.join(sorted(present - {name}))}")
    needs = [
        item
        for item in dependencies
        if item.name != name and item.version in solution.versions.get(item.who, [])
    ]
    others = [
        Replaced(
            asked_by=f"{item.who} {item.version}",
            requirement=f"{item.name}{item.bounds}",
            given=given,
        )
        for item in needs
    ]
    lines = [_replaced(item, given) for item in one.replaced if not item.is_constraint]
    return Solved(
        request=one.request,
        solution=solution,
        replaced=[*solved.replaced, *lines, *others],
        also_required_by={name: {item.who for item in needs}},
    )


def _version(pin: str) -> str:
    return pin.partition(";")[0].partition("==")[2].strip()


def name_of(text: str) -> str:
    """The plain name of the distribution that a requirement or a pin is about."""
    return canonicalize_name(PackagingRequirement(text.partition(" ; ")[0]).name)
