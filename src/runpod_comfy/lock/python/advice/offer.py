"""The overrides that may help, the best first.

An override replaces every requirement for its distribution. So each one keeps as many as possible
of them: those of the core and the spec first, then the lines of nodes and what distributions need.
Among the releases that keep equally many, the newest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.specifiers import Specifier, SpecifierSet
from packaging.version import Version

from comfy_errors import UnavailableError
from runpod_comfy.lock.python.advice.reason import needs_in_reason
from runpod_comfy.lock.python.fit import fits_platform, fits_python
from runpod_comfy.lock.python.solved import NEVER
from runpod_comfy.lock.python.uv_request import CompileRequest
from runpod_comfy.lock.requirements.line import is_requirement
from runpod_comfy.lock.requirements.read import CORE, SPEC, RequirementLine, name_of
from runpod_comfy.sources.index.files import Index, IndexFile
from runpod_comfy.sources.index.pip_settings import read_index_settings


@dataclass(frozen=True, kw_only=True)
class _Ask:
    """A bound on a distribution. `is_own` is true for those of the core and the spec, false for
    nodes and other distributions.
    """

    bounds: SpecifierSet
    is_own: bool = False


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """`passed_over` counts the bounds that the override ignores, own ones and others; `newest` is
    the newest release that it allows, if known.
    """

    text: str
    passed_over: tuple[int, int] = (0, 0)
    newest: Version | None = None

    @property
    def severity(self) -> int:
        """0 if only nodes do not get what they ask for, 1 if the core or the spec does not, 2 if a
        distribution is left out.
        """
        if NEVER in self.text:
            return 2
        return min(1, self.passed_over[0])


def candidates(
    lines: Sequence[RequirementLine],
    reason: str,
    *,
    request: CompileRequest,
    everything: Sequence[RequirementLine],
) -> list[Candidate]:
    """Overrides to try for conflicting `lines`, the mildest first: a bound for a distribution that
    several of them ask for, then no bound, then one distribution left out.
    """
    needs = {
        (name, text) for name, text in needs_in_reason(reason) if is_requirement(f"{name}{text}")
    }
    bounded = {line.name for line in lines if line.parsed.specifier}
    names = sorted(bounded | {name for name, _ in needs})
    all_lines = _with_the_rest(request.requirements, everything)
    asks: dict[str, list[_Ask]] = {}
    for name in names:
        asks[name] = _asks_of([line for line in all_lines if line.name == name])
        asks[name] += [
            _Ask(bounds=SpecifierSet(text)) for other, text in sorted(needs) if other == name
        ]
    releases = _releases([name for name in names if asks[name]], request)
    found = [
        candidate
        for name in names
        for candidate in _bounds_for(
            name, asks[name], releases.get(name, []), extras_of(name, all_lines)
        )
    ]
    found.sort(key=lambda each: each.newest or Version("0"), reverse=True)
    found.sort(key=lambda each: each.passed_over)
    found += [
        Candidate(text=f"{line.name} ; {NEVER}")
        for line in lines
        if line.tree not in (CORE, SPEC)
        and not any(each.name == line.name and each.tree == CORE for each in all_lines)
    ]
    return list({each.text: each for each in found}.values())


def bound_of_lines(name: str, lines: Sequence[RequirementLine], request: CompileRequest) -> str:
    """The override with the newest release that most of these lines about `name` allow."""
    asks = _asks_of(lines)
    releases = _releases([name], request).get(name, [])
    found = _bounds_for(name, asks, releases, extras_of(name, lines), even_all=True)
    return min(found, key=lambda each: each.passed_over).text


def replaced_in(overrides: Sequence[str], offered: Sequence[str]) -> list[str]:
    """`overrides` with `offered` added, replacing those of the same names."""
    names = set(map(name_of, offered))
    return [*(text for text in overrides if name_of(text) not in names), *offered]


def extras_of(name: str, lines: Iterable[RequirementLine]) -> str:
    """All extras that lines ask of a distribution, in brackets; '' for none."""
    extras = set().union(*(line.parsed.extras for line in lines if line.name == name))
    return f"[{','.join(sorted(extras))}]" if extras else ""


def _with_the_rest(
    lines: Sequence[RequirementLine], everything: Sequence[RequirementLine]
) -> list[RequirementLine]:
    """`lines`, which may be rewritten, and those of `everything` that they lack."""
    places = {line.place for line in lines}
    return [*lines, *(line for line in everything if line.place not in places)]


def _asks_of(lines: Iterable[RequirementLine]) -> list[_Ask]:
    return [
        _Ask(bounds=line.parsed.specifier, is_own=line.tree in (CORE, SPEC))
        for line in lines
        if line.parsed.specifier
    ]


def _bounds_for(
    name: str,
    asks: Sequence[_Ask],
    releases: Sequence[Version],
    extras: str,
    *,
    even_all: bool = False,
) -> list[Candidate]:
    """One override for each set of bounds that some release satisfies together, for all but one of
    them, and for none; for all of them only with `even_all`.
    """
    every = frozenset(range(len(asks)))
    newest: dict[frozenset[int], Version | None] = {}
    for release in sorted(releases, reverse=True):
        kept = frozenset(
            index for index in every if asks[index].bounds.contains(release, prereleases=True)
        )
        newest.setdefault(kept, release)
    possible = list(newest) or [every]
    for kept in (*(every - {index} for index in sorted(every)), frozenset[int]()):
        if any(kept <= other for other in possible):
            newest.setdefault(kept, None)
    return [
        Candidate(
            text=f"{name}{extras}{merged(asks[index].bounds for index in sorted(kept))}",
            passed_over=(
                sum(asks[index].is_own for index in every - kept),
                sum(not asks[index].is_own for index in every - kept),
            ),
            newest=release,
        )
        for kept, release in newest.items()
        if even_all or kept != every
    ]


def merged(bounds: Iterable[SpecifierSet]) -> SpecifierSet:
    """The bounds in one, without those that others include."""
    parts = {part for each in bounds for part in each}
    exact = [part for part in parts if part.operator == "==" and "*" not in part.version]
    if exact:
        return SpecifierSet(str(min(exact, key=str)))
    lower = [part for part in parts if part.operator in (">=", ">")]
    upper = [part for part in parts if part.operator in ("<=", "<")]
    kept = parts - set(lower) - set(upper)
    kept |= {max(lower, key=_lower)} if lower else set()
    kept |= {min(upper, key=_upper)} if upper else set()
    return SpecifierSet(",".join(sorted(map(str, kept))))


def _lower(part: Specifier) -> tuple[Version, bool]:
    return Version(part.version), part.operator == ">"


def _upper(part: Specifier) -> tuple[Version, bool]:
    return Version(part.version), part.operator == "<="


def _releases(names: Sequence[str], request: CompileRequest) -> Mapping[str, list[Version]]:
    """The releases that the indexes have for the request's Python and platforms; nothing about
    names whose index cannot be reached, and offline.
    """
    if request.offline or not names:
        return {}
    index = Index(settings=read_index_settings().with_first(request.torch_index))
    return {
        name: _installable(files, request)
        for name, files in index.look_up(names).items()
        if not isinstance(files, UnavailableError)
    }


def _installable(files: Iterable[IndexFile], request: CompileRequest) -> list[Version]:
    found = {Version(file.version) for file in files if is_installable(file, request)}
    return [version for version in found if not version.is_prerelease] or list(found)


def is_installable(file: IndexFile, request: CompileRequest) -> bool:
    """True if the request's Python can install it on one of its platforms; an sdist always fits."""
    return (
        file.yanked is None
        and fits_python(file.name, request.python)
        and any(fits_platform(file.name, platform) for platform in request.platforms)
    )
