"""The steps of a solution: the core settles torch, all is solved around it, opencv becomes one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from packaging.requirements import Requirement as PackagingRequirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from comfy_errors import UnavailableError
from comfy_files.progress import Say
from runpod_comfy.lock.model import Replaced
from runpod_comfy.lock.python.opencv import NAMES as OPENCV
from runpod_comfy.lock.python.opencv import chosen_name, with_one_opencv
from runpod_comfy.lock.python.torch_family import MEMBERS, torch_group
from runpod_comfy.lock.python.torch_members import Member, are_kept, members_for
from runpod_comfy.lock.python.uv_compile import (
    CompileRequest,
    NoSolutionError,
    Solution,
    dependencies_of,
    solve,
)
from runpod_comfy.lock.requirements.read import CORE, Requirement

# What the spec itself asks for stands beside the trees under this name.
SPEC = "spec"

# Releases of torch that are tried until one has a whole family.
_MOST_TORCHES = 8
_NOTHING = Solution(pins=(), required_by={})


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
    one. Where torch is fixed, also by an earlier lock, its family is the best available, and what
    is not known to work is reported.

    Raises UnavailableError if a member of that family is known to be built for another torch.
    """
    first = found = _held_together(request, _solved_or_conflict(request))
    tried = request
    for _ in range(0 if first.is_kept else _MOST_TORCHES):
        if not found.strays:
            break
        tried = replace(tried, held=[*tried.held, found.older_torch], refresh=False)
        try:
            found = _held_together(tried, solve(tried))
        except NoSolutionError:
            break
    if not found.strays and found is not first:
        say(f"Holding torch back to {found.torch}: {first.doubt}")
    if found.strays:
        found = first
        found.report(say)
    return Solved(request=found.request, solution=found.solution)


@dataclass(frozen=True, kw_only=True)
class _Family:
    """A solution, and the members of its torch family that are not known to belong to its torch.

    `torch` is a public version; '' if there is none.
    """

    request: CompileRequest
    solution: Solution
    torch: str = ""
    strays: Sequence[Member] = ()

    @property
    def is_kept(self) -> bool:
        """Whether an earlier lock has this torch."""
        return are_kept(self.request.preferences, f"torch=={self.torch}")

    @property
    def older_torch(self) -> str:
        """The bound that leaves out this torch, and those for which its strays are not built."""
        numbers = [Version(each.version) for each in self.strays if each.for_another]
        lower = [number for number in numbers if number < Version(self.torch)]
        return f"torch<={min(lower)}" if lower else f"torch<{self.torch}"

    @property
    def doubt(self) -> str:
        names = " and ".join(f"{each.name} {each.version}" for each in self.strays)
        verb = "are" if len(self.strays) > 1 else "is"
        return f"{names} {verb} not known to work with torch {self.torch}"

    def report(self, say: Say) -> None:
        """Says what is not known to work. Raises UnavailableError for what is known not to."""
        for each in self.strays:
            if each.for_another:
                raise UnavailableError(
                    f"no release of {each.name} is for torch {self.torch}: the newest that can be "
                    f"installed beside it, {each.version}, is for torch {each.version}",
                    remedy=f'Choose that torch in the spec, "options": {{"torch": {{"version": '
                    f'"{each.version}"}}}}, or another that has a {each.name}; '
                    f'"constraints": ["{each.name}=={each.version}"] tries this pair all the same.',
                )
        if self.strays:
            say(f"{self.doubt}; realize checks whether the family loads")


def _held_together(request: CompileRequest, solution: Solution) -> _Family:
    """The solution with the releases that belong to its torch, as far as the lines allow."""
    releases = solution.releases
    torches = _torches(solution.pins)
    judged = [name for name in _judged(request) if name in releases]
    pins, strays = _members(judged, torches, replace(request, refresh=False))
    found = {_public(pin) for pin in solution.pins}
    others = [pin for pin in pins if _public(pin) not in found]
    if others:
        own = [f"torch=={torch}{marker}" for torch, marker in torches.items()]
        held = replace(request, held=[*request.held, *own, *pins], refresh=False)
        try:
            request, solution = held, solve(held)
        except NoSolutionError:
            # The core itself asks for another release of them.
            strays += [
                Member(name=name, version=releases[name]) for name in sorted(map(name_of, others))
            ]
    return _Family(request=request, solution=solution, torch=_newest(torches), strays=strays)


def _members(
    names: Sequence[str], torches: Mapping[str, str], request: CompileRequest
) -> tuple[list[str], list[Member]]:
    """Pins of what is known to belong to these torches, and what is not known to."""
    pins: list[str] = []
    strays: list[Member] = []
    for torch, marker in torches.items():
        for each in members_for(names, torch, request):
            if each.known:
                pins.append(f"{each.name}=={each.version}{marker}")
            else:
                strays.append(each)
    return pins, strays


def _judged(request: CompileRequest) -> list[str]:
    """The members of the family that the spec leaves to us: those it names are its own choice."""
    own = {item.name for item in request.requirements if item.tree == SPEC}
    own |= {name_of(text) for text in request.overrides}
    return [name for name in MEMBERS if name not in own]


def _torches(pins: Sequence[str]) -> dict[str, str]:
    """The public versions of torch; where platforms have different ones, with their markers as
    ends of pins."""
    found: dict[str, list[str]] = {}
    for pin in pins:
        if name_of(pin) == "torch":
            found.setdefault(Version(_version(pin)).public, []).append(pin.partition(" ; ")[2])
    if len(found) < 2:
        return dict.fromkeys(found, "")
    return {
        torch: " ; " + " or ".join(f"({marker})" for marker in markers)
        for torch, markers in found.items()
    }


def _newest(versions: Iterable[str]) -> str:
    return max(versions, key=Version, default="")


def _public(pin: str) -> str:
    return f"{name_of(pin)}=={Version(_version(pin)).public}"


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
    family = _family_around(torch, request, say)
    held = replace(request, requirements=lines, held=[*family, *torch])
    try:
        solved = Solved(request=held, solution=solve(held))
    except NoSolutionError:
        forced = _forced(replace(request, requirements=lines, refresh=False), torch, family)
        solution = _solved_or_conflict(forced if _can_be_forced(request) else held)
        solved = Solved(request=forced, solution=solution, replaced=_insisted(held, solution))
    return replace(solved, replaced=[*solved.replaced, *_yielded(request, solved.solution)])


def _family_around(torch: Sequence[str], request: CompileRequest, say: Say) -> list[str]:
    """Pins of the members that the core has no use for, should a node want them."""
    torches = _torches(torch)
    others = [name for name in _judged(request) if name not in map(name_of, torch)]
    pins, strays = _members(others, torches, request)
    wanted = {item.name for item in request.requirements}
    family = _Family(
        request=request,
        solution=_NOTHING,
        torch=_newest(torches),
        strays=[each for each in strays if each.name in wanted],
    )
    family.report(say)
    return pins


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
