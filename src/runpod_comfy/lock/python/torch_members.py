"""Which releases of torchvision and torchaudio work with a torch, as far as their metadata says.

There are three ways: they require one exact torch (torchvision up to 0.29.0), they have its version
number (torchaudio 2.11.0, which requires nothing), or they require a minimum torch (torchaudio
2.11.1, torchvision 0.29.2). A minimum is a promise about later torches, and not always true for the
minimum itself: torchaudio 2.11.1 requires torch 2.11 or newer, and loads with 2.14.1 but not with
2.12.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from packaging.version import Version

from comfy_errors import UnavailableError
from comfy_errors.names import as_options
from comfy_files.parallel import in_parallel
from comfy_files.progress import Say
from runpod_comfy.lock.python.torch_family import MEMBERS
from runpod_comfy.lock.python.uv_compile import Pin, Solution, solve
from runpod_comfy.lock.python.uv_request import CompileRequest, NoSolutionError
from runpod_comfy.lock.requirements.read import SPEC, RequirementLine, name_of

# How many releases of torch are tried until one has a complete family.
_MOST_TORCHES = 8
# How many releases are skipped while searching for one made for the torch.
_MOST_PASSED_OVER = 4


@dataclass(frozen=True, kw_only=True)
class _Release:
    """A release of a family member beside a torch; `bounds` are its requirements on torch.

    `known` means that the two work together, `for_another` that they do not: the member has another
    torch's version number and requires none. Otherwise only loading it can tell. Versions are
    public ones.
    """

    name: str
    version: str
    torch: str | None = None
    bounds: str = ""
    known: bool = False
    for_another: bool = False

    def is_made_for(self, torch: str) -> bool:
        number, other = (Version(Version(each).base_version) for each in (self.version, torch))
        return number == other or self.bounds.startswith("==")


@dataclass(frozen=True, kw_only=True)
class Family:
    """A solution, and the members of its torch family that are not known to work with its torch.

    `torch` is a public version; '' if there is none.
    """

    request: CompileRequest
    solution: Solution
    torch: str
    strays: Sequence[_Release]

    @property
    def older_torch(self) -> str:
        """The bound that excludes this torch, and those that its strays are not built for."""
        numbers = [Version(each.version) for each in self.strays if each.for_another]
        lower = [number for number in numbers if number < Version(self.torch)]
        return f"torch<={min(lower)}" if lower else f"torch<{self.torch}"


def whole_family(request: CompileRequest, say: Say) -> Family:
    """A solution with a compatible torch family, with the newest torch that has a complete one. If
    torch is fixed, for example by an earlier lock, the best available family is used, and members
    that are not known to work are reported.

    Raises UnavailableError if a member of that family is known to be built for another torch, and
    as `solve` does.
    """
    first = found = _held_together(request, solve(request))
    is_kept = _are_kept(request, f"torch=={first.torch}")
    tried = request
    for _ in range(0 if is_kept else _MOST_TORCHES):
        if not found.strays:
            break
        tried = replace(tried, held=[*tried.held, found.older_torch])
        try:
            found = _held_together(tried, solve(tried))
        except NoSolutionError:
            break
    if found.strays:
        _report(first.strays, first.torch, say)
        return first
    if found is not first:
        say(f"Holding torch back to {found.torch}: {_doubt(first.strays, first.torch)}")
    return found


def family_around(torch: Sequence[Pin], request: CompileRequest, say: Say) -> list[Pin]:
    """Pins, for these pins of torch, of members that the core does not use but a node might.
    Reports and raises as `whole_family` does.
    """
    torches = _torches(torch)
    present = {pin.name for pin in torch}
    others = [name for name in _judged(request) if name not in present]
    pins, strays = _members(others, torches, request, None)
    wanted = {line.name for line in request.requirements}
    newest = max(torches, key=Version, default="")
    _report([each for each in strays if each.name in wanted], newest, say)
    return pins


def _held_together(request: CompileRequest, solution: Solution) -> Family:
    """The solution with the releases that work with its torch, as far as the lines allow."""
    releases = solution.releases
    torches = _torches(solution.pins)
    judged = [name for name in _judged(request) if name in releases]
    pins, strays = _members(judged, torches, request, solution)
    found = {(pin.name, pin.public) for pin in solution.pins}
    others = {pin.name for pin in pins if (pin.name, pin.version) not in found}
    if others:
        own = [Pin(name="torch", version=each, marker=marker) for each, marker in torches.items()]
        held = replace(request, held=[*request.held, *map(str, [*own, *pins])])
        try:
            request, solution = held, solve(held)
        except NoSolutionError:
            # The core itself asks for another release of them.
            strays += [_Release(name=name, version=releases[name]) for name in sorted(others)]
    newest = max(torches, key=Version, default="")
    return Family(request=request, solution=solution, torch=newest, strays=strays)


def _judged(request: CompileRequest) -> list[str]:
    """The members that the spec does not name: those it names are the user's choice."""
    own = {line.name for line in request.requirements if line.tree == SPEC}
    own |= set(map(name_of, request.overrides))
    return [name for name in MEMBERS if name not in own]


def _torches(pins: Sequence[Pin]) -> dict[str, str]:
    """The public versions of torch, with markers if platforms have different ones."""
    found: dict[str, list[str]] = {}
    for pin in pins:
        if pin.name == "torch":
            found.setdefault(pin.public, []).append(f"({pin.marker})")
    if len(found) < 2:
        return dict.fromkeys(found, "")
    return {torch: " or ".join(markers) for torch, markers in found.items()}


def _members(
    names: Sequence[str],
    torches: Mapping[str, str],
    request: CompileRequest,
    solution: Solution | None,
) -> tuple[list[Pin], list[_Release]]:
    """Pins of members known to work with these torches, and the members that are not known to.

    `solution` has the core's members, if it uses any.
    """
    pins: list[Pin] = []
    strays: list[_Release] = []
    found = solution.pins if solution else ()
    for torch, marker in torches.items():

        def member(name: str, torch: str = torch) -> _Release | None:
            versions = {pin.public for pin in found if pin.name == name}
            # Both may differ by platform, and then a solution does not say which belongs to which.
            one_of_each = len(torches) == len(versions) == 1
            newest = _release_in(solution, name) if solution and one_of_each else None
            return _member_for(name, torch, request, newest)

        for each in filter(None, in_parallel(member, names)):
            if each.known:
                pins.append(Pin(name=each.name, version=each.version, marker=marker))
            else:
                strays.append(each)
    return pins, strays


def _member_for(
    name: str, torch: str, request: CompileRequest, newest: _Release | None
) -> _Release | None:
    """The release of `name` that works with the release `torch`.

    A locked pair is kept. Next comes a release made for this torch, then the newest with the newest
    torch. None if no release of `name` can be installed with it. `request` has the indexes, the
    platforms and the pins to keep; `newest` is the newest release for this torch if already known.
    """
    alone = replace(request, held=())

    def beside(line: str) -> _Release | None:
        return _solved(name, [f"torch=={torch}", line], alone)

    newest = newest or beside(name)
    if newest is None:
        return None
    line = f"{name}=={newest.version}"
    if newest.is_made_for(torch) or _are_kept(request, line, f"torch=={torch}"):
        return replace(newest, known=True)
    same_major = Version(newest.version).major == Version(torch).major
    if same_major and (numbered := beside(f"{name}=={torch}")):
        return replace(numbered, known=True)
    free = _solved(name, [line], replace(alone, preferences=()))
    if newest.bounds and free and free.torch == torch:
        return replace(newest, known=True)
    older = newest
    for _ in range(_MOST_PASSED_OVER):
        found = beside(f"{name}<{older.version}")
        if found is None:
            break
        if found.is_made_for(torch):
            return replace(found, known=True)
        older = found
    return replace(newest, for_another=same_major and not newest.bounds)


def _solved(name: str, texts: Sequence[str], request: CompileRequest) -> _Release | None:
    lines = [RequirementLine(tree="torch", text=text, asked=text) for text in texts]
    try:
        return _release_in(solve(replace(request, requirements=lines)), name)
    except NoSolutionError:
        return None


def _release_in(solution: Solution, name: str) -> _Release | None:
    """The release in a solution; None if an override of the spec removes it."""
    versions = solution.releases
    if name not in versions:
        return None
    bounds = [need.bounds for need in solution.needs(["torch"]) if need.who == name]
    return _Release(
        name=name,
        version=versions[name],
        torch=versions.get("torch"),
        bounds=bounds[-1] if bounds else "",
    )


def _are_kept(request: CompileRequest, *pins: str) -> bool:
    """True if all of these pins, with public versions, are among those to keep."""
    kept = {text.partition(";")[0].strip().partition("+")[0] for text in request.preferences}
    return kept.issuperset(pins)


def _doubt(strays: Sequence[_Release], torch: str) -> str:
    names = " and ".join(f"{each.name} {each.version}" for each in strays)
    return f"{names} {'are' if len(strays) > 1 else 'is'} not known to work with torch {torch}"


def _report(strays: Sequence[_Release], torch: str, say: Say) -> None:
    """Reports members not known to work. Raises UnavailableError for one known not to."""
    for each in strays:
        if each.for_another:
            raise UnavailableError(
                f"no release of {each.name} is for torch {torch}: the newest that can be "
                f"installed beside it, {each.version}, is for torch {each.version}",
                remedy="Use that torch in the spec, "
                f"{as_options(torch={'version': each.version})}, or another that has a "
                f"{each.name}; "
                f'"constraints": ["{each.name}=={each.version}"] tries this pair anyway.',
            )
    if strays:
        say(f"{_doubt(strays, torch)}; realize will check whether they load")
