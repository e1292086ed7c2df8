"""The Python part of a lock: core and nodes solved together, torch and its family as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import Requirement as PackagingRequirement
from packaging.utils import canonicalize_name
from uv import find_uv_bin

from comfy_errors import ComfyError, InvalidInputError
from runpod_comfy.lock.conflict import explained, refusal
from runpod_comfy.lock.distribution_files import locked_files, warnings_of
from runpod_comfy.lock.model import Distribution, PythonLock, Replaced
from runpod_comfy.lock.opencv import NAMES as OPENCV
from runpod_comfy.lock.opencv import chosen_name, with_one_opencv
from runpod_comfy.lock.platform_marker import brief_marker, holds_somewhere
from runpod_comfy.lock.requirements import (
    CORE,
    Reading,
    Requirement,
    read_requirements,
    refused_error,
)
from runpod_comfy.lock.torch_family import (
    FAMILY,
    family_constraints,
    in_torch_group,
    minor_of,
    newest_whole_minor,
    torch_group,
)
from runpod_comfy.lock.uv_compile import (
    CompileRequest,
    NoSolutionError,
    Solution,
    dependencies_of,
    files_of,
    solve,
)
from runpod_comfy.sources.tree import Say, Surroundings, say_nothing
from runpod_comfy.spec.model import Options

DEFAULT_PYTHON = "3.11"
DEFAULT_PLATFORMS = ("linux-x86_64", "macos-arm64")

_SPEC = "spec"


@dataclass(frozen=True, kw_only=True)
class _Solved:
    """A solution, the request that it answers, and the wishes that something else answers.

    `also_required_by` names distributions that need one under another of its names.
    """

    request: CompileRequest
    solution: Solution
    replaced: Sequence[Replaced] = ()
    also_required_by: Mapping[str, set[str]] = field(default_factory=dict)


class _ConflictError(Exception):
    """No solution, with the request that has none."""

    def __init__(self, request: CompileRequest, error: NoSolutionError) -> None:
        super().__init__(error.reason)
        self.request = request
        self.error = error


def lock_python(
    trees: Sequence[tuple[str, Path]],
    *,
    options: Options,
    previous: PythonLock | None,
    surroundings: Surroundings,
) -> PythonLock:
    """Pins every distribution that `trees`, `(name, folder)` each, ask for, with all hashes, for
    the platforms of the spec. The first tree is the core.

    Pins and hashes of `previous` are kept where they still fit.
    Raises InvalidInputError naming every line that cannot be pinned, OperationFailedError or
    UnavailableError naming the lines that have no solution, and an override that gives them one.
    """
    python = options.python or DEFAULT_PYTHON
    platforms = list(options.platforms or DEFAULT_PLATFORMS)
    reading = read_requirements(
        trees,
        overridden=frozenset(map(_name, options.overrides)),
        applies=lambda marker: holds_somewhere(marker, python=python, platforms=platforms),
        say=surroundings.say,
    )
    request = _request(reading, options, previous, surroundings)
    _refuse(reading, request, options)
    surroundings.say(f"Resolving {len(reading.requirements)} Python requirements together")
    solved = _solve(request, options, surroundings)
    return _locked(solved, options, python, platforms, previous, surroundings)


def _request(
    reading: Reading,
    options: Options,
    previous: PythonLock | None,
    surroundings: Surroundings,
) -> CompileRequest:
    return CompileRequest(
        requirements=[*reading.requirements, *_wishes_of_the_spec(options)],
        python=options.python or DEFAULT_PYTHON,
        platforms=list(options.platforms or DEFAULT_PLATFORMS),
        overrides=options.overrides,
        preferences=_preferences(previous),
        torch_index=options.torch.index,
        uv=Path(find_uv_bin()),
        cache_dir=surroundings.cache.uv,
        offline=surroundings.offline,
        refresh=True,
    )


def _refuse(reading: Reading, request: CompileRequest, options: Options) -> None:
    if not reading.refused:
        return
    remedy = refusal(reading.refused, request=request, overrides=options.overrides)
    raise refused_error(reading.refused, remedy)


def _wishes_of_the_spec(options: Options) -> list[Requirement]:
    """Constraints of the spec, and its torch, as lines that can be named like those of a tree."""
    bounds = [
        (f"options.constraints[{number}]", text) for number, text in enumerate(options.constraints)
    ]
    bounds += [("options.torch.version", text) for text in _asked_torch(options)]
    return [
        Requirement(
            tree=_SPEC, place=place, name=_name(text), text=text, asked=text, is_constraint=True
        )
        for place, text in bounds
    ]


def _asked_torch(options: Options) -> list[str]:
    version = options.torch.version
    if version is None:
        return []
    major, minor, *patch = version.split(".")
    if major != "2":
        raise InvalidInputError(
            f"options.torch.version: '{version}' is not a torch 2 release",
            remedy="Ask for '2.N' or '2.N.P'.",
        )
    exact = [f"torch=={version}"] if patch else []
    return [*family_constraints(int(minor)), *exact]


def _solve(request: CompileRequest, options: Options, surroundings: Surroundings) -> _Solved:
    try:
        return _steps(request, surroundings.say)
    except _ConflictError as conflict:

        def settles(overrides: Sequence[str]) -> bool:
            try:
                _steps(replace(request, overrides=overrides, refresh=False), say_nothing)
            except (_ConflictError, ComfyError):
                return False
            return True

        surroundings.say("There is no solution; looking for the lines that are in each other's way")
        raise explained(
            conflict.request,
            conflict.error,
            everything=request.requirements,
            overrides=options.overrides,
            settles=settles,
        ) from conflict


def _steps(request: CompileRequest, say: Say) -> _Solved:
    """First the core settles torch, then everything is solved around it, then opencv is one."""
    torch = _torch_of_the_core(request, say)
    return _one_opencv(_together(request, torch, say), say)


def _torch_of_the_core(request: CompileRequest, say: Say) -> list[str]:
    """The pins of torch, its family and its companions as the core and the spec alone have them;
    none if the core does not use torch."""
    own = [item for item in request.requirements if item.tree in (CORE, _SPEC)]
    solution = _whole_family(replace(request, requirements=own), say).solution
    group = torch_group(solution.required_by)
    return [pin for pin in solution.pins if _name(pin) in group]


def _whole_family(request: CompileRequest, say: Say) -> _Solved:
    solution = _solved_or_conflict(request)
    versions = {name: found[0] for name, found in solution.versions.items() if name in FAMILY}
    minor = newest_whole_minor(versions)
    if minor is None:
        return _Solved(request=request, solution=solution)
    say(
        f"Holding torch back to 2.{minor}: "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + " do not belong together"
    )
    held = [*request.held, *family_constraints(minor)]
    whole = replace(request, held=held, refresh=False)
    return _Solved(request=whole, solution=_solved_or_conflict(whole))


def _solved_or_conflict(request: CompileRequest) -> Solution:
    try:
        return solve(request)
    except NoSolutionError as error:
        raise _ConflictError(request, error) from error


def _together(request: CompileRequest, torch: Sequence[str], say: Say) -> _Solved:
    """Everything, with torch as the core has it. A line of a node that asks for another loses its
    bound; a distribution that insists on another is overridden, if it has no release that fits."""
    if not torch:
        return _whole_family(request, say)
    lines = [_yielding(item, torch) for item in request.requirements]
    family = family_constraints(_minor(torch))
    held = replace(request, requirements=lines, held=[*family, *torch])
    try:
        solved = _Solved(request=held, solution=solve(held))
    except NoSolutionError:
        forced = _forced(replace(request, requirements=lines, refresh=False), torch, family)
        solution = _solved_or_conflict(forced if _can_be_forced(request) else held)
        solved = _Solved(request=forced, solution=solution, replaced=_insisted(held, solution))
    return replace(solved, replaced=[*solved.replaced, *_yielded(request, solved.solution)])


def _minor(torch: Sequence[str]) -> int:
    found = (minor_of(name, _version(pin)) for pin in torch if (name := _name(pin)) in FAMILY)
    return next(found)


def _yielding(item: Requirement, torch: Sequence[str]) -> Requirement:
    """The line without its bound, if it is a node's and the core has another torch."""
    versions = [_version(pin) for pin in torch if _name(pin) == item.name]
    parsed = PackagingRequirement(item.text)
    if item.tree in (CORE, _SPEC) or not versions:
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
    pinned = {_name(pin) for pin in torch}
    own = [text for text in request.overrides if _name(text) not in pinned]
    rest = [text for text in family if _name(text) not in pinned]
    return replace(request, overrides=[*own, *torch, *rest], torch_links=True)


def _insisted(request: CompileRequest, solution: Solution) -> list[Replaced]:
    """The distributions of the solution that ask for another torch than they get."""
    group = torch_group(solution.required_by)
    others = [pin for pin in solution.pins if _name(pin) not in group]
    askers = set().union(*(solution.required_by[name] for name in group)) - group
    found: list[Replaced] = []
    for pin in others:
        if _name(pin) not in askers:
            continue
        alone = Requirement(tree=_SPEC, place="", name=_name(pin), text=pin, asked=pin)
        question = replace(request, requirements=[alone], held=others, refresh=False)
        for need in dependencies_of(question, sorted(group)):
            given = solution.versions.get(need.name, [])
            if need.who == _name(pin) and need.bounds and not _all_fit(need.bounds, given):
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
        and item.tree not in (CORE, _SPEC)
        and not _all_fit(str(PackagingRequirement(item.text).specifier), versions[item.name])
    ]


def _replaced(item: Requirement, given: str) -> Replaced:
    _, _, place = item.place.partition(", ")
    return Replaced(asked_by=item.tree, place=place or None, requirement=item.asked, given=given)


def _given(name: str, versions: Sequence[str]) -> str:
    return " or ".join(f"{name}=={version}" for version in versions) or "nothing"


def _one_opencv(solved: _Solved, say: Say) -> _Solved:
    wanted = [pin for pin in solved.solution.pins if _name(pin) in OPENCV]
    present = {_name(pin) for pin in wanted}
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
    return _Solved(
        request=one.request,
        solution=solution,
        replaced=[*solved.replaced, *lines, *others],
        also_required_by={name: {item.who for item in needs}},
    )


def _locked(
    solved: _Solved,
    options: Options,
    python: str,
    platforms: list[str],
    previous: PythonLock | None,
    surroundings: Surroundings,
) -> PythonLock:
    compiled = files_of(solved.request, solved.solution)
    files = locked_files(
        compiled,
        python=python,
        platforms=platforms,
        torch_index=options.torch.index,
        previous=previous,
        offline=surroundings.offline,
    )
    asked = _asked_lines(solved.request)
    required_by = {
        name: who | solved.also_required_by.get(name, set())
        for name, who in solved.solution.required_by.items()
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
    ]
    replaced = sorted(set(solved.replaced), key=lambda item: item.model_dump_json())
    _tell(distributions, replaced, python, platforms, surroundings.say)
    _tell_of_moved_pins(distributions, previous, surroundings.say)
    group = torch_group(required_by)
    return PythonLock(
        version=python,
        platforms=platforms,
        torch_index=options.torch.index,
        constraints=options.constraints,
        overrides=options.overrides,
        replaced=replaced,
        torch=[item for item in distributions if item.name in group],
        wheels=[item for item in distributions if item.name not in group],
    )


def _tell(
    distributions: Sequence[Distribution],
    replaced: Sequence[Replaced],
    python: str,
    platforms: Sequence[str],
    say: Say,
) -> None:
    for item in replaced:
        if in_torch_group(_name(item.given.split(" or ")[0])):
            where = f"{item.asked_by}, {item.place}" if item.place else item.asked_by
            say(
                f"{where} asks for {item.requirement} and gets {item.given}, the core's; "
                "options.torch.version in the spec decides for all"
            )
    for distribution in distributions:
        for warning in warnings_of(distribution, python=python, platforms=platforms):
            say(warning)


def _tell_of_moved_pins(
    distributions: Sequence[Distribution], previous: PythonLock | None, say: Say
) -> None:
    """Pins are kept; where one could not be, that is worth a line."""
    if previous is None:
        return
    before: dict[str, set[str]] = {}
    for item in (*previous.torch, *previous.wheels):
        before.setdefault(item.name, set()).add(item.version)
    for item in distributions:
        known = before.get(item.name)
        if known and item.version not in known:
            say(
                f"{item.name} goes from {' and '.join(sorted(known))} to {item.version}: "
                "the old pin no longer fits what is asked, or no index has it any more"
            )


def _asked_lines(request: CompileRequest) -> dict[str, dict[str, list[str]]]:
    """Name of a distribution → tree → its lines that ask for it, as they stand there."""
    found: dict[str, dict[str, list[str]]] = {}
    for item in request.requirements:
        if item.is_constraint or not (item.tree == CORE or item.tree.startswith("node:")):
            continue
        lines = found.setdefault(item.name, {}).setdefault(item.tree, [])
        if item.asked not in lines:
            lines.append(item.asked)
    return found


def _preferences(previous: PythonLock | None) -> list[str]:
    if previous is None:
        return []
    return [
        f"{item.name}=={item.version}" + (f" ; {item.marker}" if item.marker else "")
        for item in (*previous.torch, *previous.wheels)
    ]


def _name(text: str) -> str:
    return canonicalize_name(PackagingRequirement(text.partition(" ; ")[0]).name)


def _version(pin: str) -> str:
    return pin.partition(";")[0].partition("==")[2].strip()
