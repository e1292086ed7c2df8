"""Which release of torchvision or torchaudio goes with a torch, as far as releases tell.

They tell it in three ways: they require one torch exactly (torchvision up to 0.29.0), they carry
its number (torchaudio 2.11.0, which requires nothing), or they require a lowest torch (torchaudio
2.11.1, torchvision 0.29.2). The last is a promise about later torches, and not always true of the
lowest: torchaudio 2.11.1 requires torch 2.11 or newer, and loads with 2.14.1 but not with 2.12.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from packaging.requirements import Requirement as PackagingRequirement
from packaging.version import Version

from comfy_files.parallel import in_parallel
from runpod_comfy.lock.python.uv_compile import CompileRequest, NoSolutionError, solve_with_needs
from runpod_comfy.lock.requirements.read import Requirement

# Releases that are passed over in search of one that is made for the torch.
_MOST_PASSED_OVER = 4


@dataclass(frozen=True, kw_only=True)
class Member:
    """A release of a family member beside a torch.

    `known` says that the two belong together, `for_another` that they do not: that the member has
    the number of another torch and requires none. Otherwise only loading it can tell.
    """

    name: str
    version: str
    known: bool = False
    for_another: bool = False


@dataclass(frozen=True, kw_only=True)
class _Release:
    """A release that can be installed beside a torch; `bounds` are what it requires of torch."""

    version: str
    torch: str | None
    bounds: str


def members_for(names: Sequence[str], torch: str, request: CompileRequest) -> list[Member]:
    """`member_for` each of `names`, for those that can be installed beside this torch."""
    found = in_parallel(lambda name: _member_for(name, torch, request), names)
    return [each for each in found if each is not None]


def _member_for(name: str, torch: str, request: CompileRequest) -> Member | None:
    """The release of `name` that goes with the release `torch`; versions are public ones.

    A pair that is locked stays. Then one that is made for this torch comes first, then the newest
    with the newest torch. None if no release of `name` can be installed beside it. `request` tells
    the indexes, the platforms and the pins to keep. Raises as `solve` does, but for
    NoSolutionError.
    """
    alone = replace(request, held=())

    def beside(line: str) -> _Release | None:
        return _newest(name, [f"torch=={torch}", line], alone)

    def known(release: _Release) -> Member:
        return Member(name=name, version=release.version, known=True)

    newest = beside(name)
    if newest is None:
        return None
    line = f"{name}=={newest.version}"
    if _is_made_for(torch, newest) or are_kept(request.preferences, line, f"torch=={torch}"):
        return known(newest)
    same_major = Version(newest.version).major == Version(torch).major
    if same_major and (numbered := beside(f"{name}=={torch}")):
        return known(numbered)
    free = _newest(name, [line], replace(alone, preferences=()))
    if newest.bounds and free and free.torch == torch:
        return known(newest)
    older = newest
    for _ in range(_MOST_PASSED_OVER):
        found = beside(f"{name}<{older.version}")
        if found is None:
            break
        if _is_made_for(torch, found):
            return known(found)
        older = found
    return Member(name=name, version=newest.version, for_another=same_major and not newest.bounds)


def _newest(name: str, lines: Sequence[str], request: CompileRequest) -> _Release | None:
    wanted = [
        Requirement(
            tree="torch", place="", name=PackagingRequirement(line).name, text=line, asked=line
        )
        for line in lines
    ]
    try:
        solution, needs = solve_with_needs(replace(request, requirements=wanted), ["torch"])
    except NoSolutionError:
        return None
    versions = solution.releases
    if name not in versions:
        # An override of the spec leaves it out.
        return None
    bounds = [need.bounds for need in needs if need.who == name]
    return _Release(
        version=versions[name], torch=versions.get("torch"), bounds=bounds[-1] if bounds else ""
    )


def _is_made_for(torch: str, release: _Release) -> bool:
    return _number(release.version) == _number(torch) or release.bounds.startswith("==")


def _number(version: str) -> Version:
    return Version(Version(version).base_version)


def are_kept(preferences: Sequence[str], *pins: str) -> bool:
    """Whether all of these pins, of public versions, are among those to keep."""
    kept = {text.partition(";")[0].strip().partition("+")[0] for text in preferences}
    return kept.issuperset(pins)
