"""The overrides that may help, the best first.

An override replaces every requirement for its distribution. So each one keeps as many as possible
of them: those of the core and the spec first, then the lines of nodes and what distributions need.
Among the releases that keep equally many, the newest counts.

Lines that cannot be pinned, such as repositories, get overrides too. A release of that name on the
index stands in for a repository only if its metadata names the repository; anybody may have
published something else under the name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from comfy_errors import UnavailableError
from runpod_comfy.lock.python.advice.reason import needs_in_reason
from runpod_comfy.lock.python.fit import fits_platform, fits_python
from runpod_comfy.lock.python.uv_compile import NEVER
from runpod_comfy.lock.python.uv_request import CompileRequest
from runpod_comfy.lock.requirements.line import is_requirement
from runpod_comfy.lock.requirements.read import CORE, SPEC, RefusedLine, RequirementLine, name_of
from runpod_comfy.sources.index.files import Index, IndexFile
from runpod_comfy.sources.index.pip_settings import read_index_settings

# What follows the address of a repository in the addresses of its parts.
_PARTS = re.compile(r"/(-/)?(archive|releases|tree|blob|raw|tarball|zipball|issues|wiki)(/|$).*$")


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
    if lower:
        kept.add(max(lower, key=lambda part: (Version(part.version), part.operator == ">")))
    if upper:
        kept.add(min(upper, key=lambda part: (Version(part.version), part.operator == "<=")))
    return SpecifierSet(",".join(sorted(map(str, kept))))


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
    found = {Version(file.version) for file in files if _is_installable(file, request)}
    return [version for version in found if not version.is_prerelease] or list(found)


def _is_installable(file: IndexFile, request: CompileRequest) -> bool:
    """True if the request's Python can install it on one of its platforms; an sdist always fits."""
    return (
        file.yanked is None
        and fits_python(file.name, request.python)
        and any(fits_platform(file.name, platform) for platform in request.platforms)
    )


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """The override for a name in refused lines, and `why` the release on the index is not used."""

    override: str
    why: str = ""


def replacements_for(
    refused: Sequence[RefusedLine], request: CompileRequest, solved: Collection[str]
) -> dict[str, Replacement]:
    """A replacement for each name in refused lines. `request` has the lines that can be pinned, and
    `solved` are the distributions of their solution.

    If others ask for the distribution, it comes from the index, within their bounds. Otherwise it
    does if it is what the line means, or the same project; anything else is left out.
    """
    return {
        name: _replacement_for(
            name, [line for line in refused if line.name == name], request, solved
        )
        for name in dict.fromkeys(line.name for line in refused if line.name)
    }


def _replacement_for(
    name: str,
    refused: Sequence[RefusedLine],
    request: CompileRequest,
    solved: Collection[str],
) -> Replacement:
    others = [line for line in request.requirements if line.name == name]
    wanted = name in solved or any(not line.is_constraint for line in others)
    why = "" if wanted else _why_not_from_the_index(name, refused, request)
    if why:
        return Replacement(override=f"{name} ; {NEVER}", why=why)
    return Replacement(override=bound_of_lines(name, [*others, *map(_plain, refused)], request))


def _plain(line: RefusedLine) -> RequirementLine:
    return RequirementLine(tree="refused", text=line.plain or str(line.name), asked=line.text)


def _why_not_from_the_index(
    name: str, refused: Sequence[RefusedLine], request: CompileRequest
) -> str:
    """Why no release on the index stands in for the lines; '' if its newest one does."""
    if request.offline:
        return "the index is not asked with --offline"
    index = Index(settings=read_index_settings())
    files = index.look_up([name])[name]
    if isinstance(files, UnavailableError):
        return "the index could not be reached"
    releases = {Version(file.version) for file in files if file.yanked is None}
    newest = max((each for each in releases if not each.is_prerelease), default=None)
    if newest is None:
        return f"no index has a release of {name}"
    wheels = [
        file for file in files if Version(file.version) == newest and file.name.endswith(".whl")
    ]
    without = [
        platform
        for platform in request.platforms
        if not any(_is_installable(each, replace(request, platforms=[platform])) for each in wheels)
    ]
    if without:
        where = f"Python {request.python} on {' and '.join(without)}"
        return f"{name} {newest} on the index has no wheel for {where}"
    addresses = {repository_of(line.address) for line in refused if line.address}
    homes = set(map(repository_of, index.addresses_in_metadata(wheels[0]))) if addresses else set()
    if addresses - homes or "" in addresses:
        return f"nothing says that {name} on the index is that project"
    return ""


def repository_of(address: str) -> str:
    """Host and path of the repository that an address belongs to, in lower case."""
    text = re.sub(r"^(git|hg|svn|bzr)\+", "", address.strip().partition("#")[0])
    text = re.sub(r"^[\w.-]+@([\w.-]+):(?!//)", r"ssh://\1/", text)
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").removeprefix("www.")
    except ValueError:
        return ""
    if not host:
        return ""
    path = _PARTS.sub("", unquote(parts.path).partition("@")[0])
    return f"{host}{path.rstrip('/').removesuffix('.git')}".lower()
