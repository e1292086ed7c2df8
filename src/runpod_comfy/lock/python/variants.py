"""Families of distributions that install the same folder: a lock has one of each family.

Otherwise the one installed last would win, and removing any breaks the others. Which one is chosen,
and why: docs/decisions/007-requirements-of-nodes.md and 025-files-that-distributions-share.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from packaging.markers import Marker

from comfy_files.progress import Say
from comfy_home.platforms import LINUX_X86_64, marker_of
from runpod_comfy.lock.python.fit import platforms_of
from runpod_comfy.lock.python.uv_compile import (
    NEVER,
    Dependency,
    Solved,
    given_for,
    replaced_line,
    replaced_need,
    solve,
)
from runpod_comfy.lock.python.uv_request import CompileRequest, NoSolutionError
from runpod_comfy.lock.requirements.read import RequirementLine, name_of


@dataclass(frozen=True, kw_only=True)
class Family:
    """`choose` gives the variant of a platform, from the names that are needed on it."""

    title: str
    names: Collection[str]
    choose: Callable[[Collection[str], str], str]


def _one_opencv(needed: Collection[str], platform: str) -> str:
    """Headless, which needs no display libraries, and contrib, which includes everything in the
    plain ones, if any of them is contrib.
    """
    del platform
    contrib = any("contrib" in name for name in needed)
    return "opencv-contrib-python-headless" if contrib else "opencv-python-headless"


# Those that have releases for each platform; `onnxruntime` has for all.
_ONNXRUNTIMES = {
    "onnxruntime-gpu": (LINUX_X86_64.name,),
    "onnxruntime-openvino": (LINUX_X86_64.name,),
    "onnxruntime-training": (LINUX_X86_64.name,),
    "onnxruntime-migraphx": (LINUX_X86_64.name,),
    "onnxruntime-rocm": (LINUX_X86_64.name,),
    "onnxruntime-silicon": ("macos-arm64",),
    "onnxruntime-directml": (),
}


def _one_onnxruntime(needed: Collection[str], platform: str) -> str:
    """The GPU's if it is needed, which includes everything in the plain one; else the plain one,
    if not another one alone is needed.
    """
    there = [name for name in needed if platform in _ONNXRUNTIMES.get(name, (platform,))]
    if "onnxruntime-gpu" in there:
        return "onnxruntime-gpu"
    return there[0] if len(there) == 1 else "onnxruntime"


FAMILIES = (
    Family(
        title="opencv",
        names=(
            "opencv-python",
            "opencv-python-headless",
            "opencv-contrib-python",
            "opencv-contrib-python-headless",
        ),
        choose=_one_opencv,
    ),
    Family(title="onnxruntime", names=("onnxruntime", *_ONNXRUNTIMES), choose=_one_onnxruntime),
)


def within_platforms(request: CompileRequest) -> CompileRequest:
    """The request without lines that ask for a variant on a platform that it has no releases for:
    they ask for the plain one there.
    """
    asked = {line.name for line in request.requirements if line.name in _ONNXRUNTIMES}
    for name in sorted(asked - {*map(name_of, request.overrides)}):
        there = [each for each in request.platforms if each in _ONNXRUNTIMES[name]]
        elsewhere = [each for each in request.platforms if each not in there]
        if elsewhere:
            own = [line for line in request.requirements if line.name == name]
            lines = [line for line in request.requirements if line.name != name]
            lines += _kept_to(own, there)
            lines += [_within(_renamed(line, "onnxruntime"), elsewhere) for line in own]
            only = _marked(name, marker_of(there) or NEVER)
            request = replace(request, requirements=lines, overrides=[*request.overrides, only])
    return request


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """The variants of a family: those `needed` on each platform, and the one `chosen`. `needs` are
    distributions' requirements on others.
    """

    family: Family
    needed: Mapping[str, set[str]]
    chosen: Mapping[str, str]
    needs: Sequence[Dependency]

    @property
    def names(self) -> list[str]:
        return sorted({*self.chosen.values()})

    @property
    def is_met(self) -> bool:
        return all(there == {self.chosen[platform]} for platform, there in self.needed.items())


def one_of_each(solved: Solved, asked: CompileRequest, say: Say) -> Solved:
    """The solution with one distribution of each family on each platform, if any is needed.

    `asked` is the request of the spec and the trees, of which an override that names one takes
    precedence. Raises NoSolutionError if the lines' bounds on all names exclude each other.
    """
    choices = [_choice(solved, family, asked.overrides) for family in FAMILIES]
    if unmet := [choice for choice in choices if not choice.is_met]:
        one = _with_one(solved.request, asked, unmet)
        try:
            solution = solve(one)
        except NoSolutionError:
            # Distributions' bounds on another name are not worth failing for.
            one = _with_one(solved.request, asked, [replace(each, needs=()) for each in unmet])
            solution = solve(one)
        solved = replace(solved, request=one, solution=solution)
    for choice in choices:
        solved = _with_replaced(solved, choice, asked, say)
    return solved


def _choice(solved: Solved, family: Family, overrides: Sequence[str]) -> _Choice:
    needed = _needed(solved, family)
    chosen = _chosen(needed, family, overrides)
    needs = [
        need
        for need in solved.solution.needs(family.names)
        # Where platforms differ, uv lists a name as its own dependency.
        if {*chosen.values()} != {need.name} and need.who not in family.names
    ]
    return _Choice(family=family, needed=needed, chosen=chosen, needs=needs)


def _with_replaced(solved: Solved, choice: _Choice, asked: CompileRequest, say: Say) -> Solved:
    """The solution with its record of what the choice replaces."""
    family, chosen, versions = choice.family, choice.chosen, solved.solution.versions
    given = {name: given_for(name, versions.get(name, [])) for name in choice.names}

    def instead(name: str, marker: str) -> str:
        """What satisfies a requirement on `name` on some platform, '' if it does itself."""
        there = [each for each in _platforms(marker, asked) if each in chosen]
        other = dict.fromkeys(given[chosen[each]] for each in there if chosen[each] != name)
        return " or ".join(other)

    needs = [need for need in choice.needs if need.version in versions.get(need.who, [])]
    lines = [line for line in asked.requirements if line.name in family.names]
    replaced = [
        replaced_line(line, other)
        for line in lines
        if not line.is_constraint and (other := instead(line.name, str(line.parsed.marker or "")))
    ]
    replaced += [
        replaced_need(need, other) for need in needs if (other := instead(need.name, need.marker))
    ]
    if not replaced:
        return solved
    others = {line.name for line in lines} | {need.name for need in needs}
    others = others.union(*choice.needed.values()).difference(given)
    replacing = f" replaces {', '.join(sorted(others))}" if others else ""
    say(f"One {family.title} for all: {_told(given, chosen)}{replacing}")
    return replace(
        solved,
        replaced=[*solved.replaced, *replaced],
        also_required_by={
            **solved.also_required_by,
            **{name: {need.who for need in needs} for name in given},
        },
    )


def _needed(solved: Solved, family: Family) -> dict[str, set[str]]:
    """The family's names in the solution, by the platform that needs any."""
    found: dict[str, set[str]] = {}
    for pin in solved.solution.pins:
        if pin.name in family.names:
            for platform in _platforms(pin.marker, solved.request):
                found.setdefault(platform, set()).add(pin.name)
    return found


def _chosen(
    needed: Mapping[str, set[str]], family: Family, overrides: Sequence[str]
) -> dict[str, str]:
    """The variant of each platform that needs any."""
    for text in overrides:
        if name_of(text) in family.names and NEVER.split()[0] not in text:
            return dict.fromkeys(needed, name_of(text))
    return {platform: family.choose(names, platform) for platform, names in needed.items()}


def _with_one(
    request: CompileRequest, asked: CompileRequest, choices: Iterable[_Choice]
) -> CompileRequest:
    """The request with the chosen ones replacing all others on each platform. The bounds of `needs`
    hold for them.
    """
    for choice in choices:
        request = _with_choice(request, asked, choice)
    return request


def _with_choice(request: CompileRequest, asked: CompileRequest, choice: _Choice) -> CompileRequest:
    family, chosen, names = choice.family, choice.chosen, choice.names
    lines = [line for line in request.requirements if line.name not in family.names]
    overrides = [text for text in request.overrides if name_of(text) not in family.names]
    for name in names:
        there = [platform for platform in chosen if chosen[platform] == name]
        wish = RequirementLine(
            tree=family.title, place=f"one {family.title} for all", text=name, asked=name
        )
        own = [_renamed(line, name) for line in asked.requirements if line.name in family.names]
        # A distribution's bound is not a separate requirement: it is listed once.
        own += [
            replace(
                wish,
                place=need.who,
                text=_marked(f"{name}{need.bounds}", need.marker),
                asked=f"{need.name}{need.bounds}",
                is_constraint=True,
            )
            for need in choice.needs
            if need.bounds
        ]
        if len(names) == 1:
            overrides += [text for text in asked.overrides if name_of(text) == name]
        else:
            overrides.append(_marked(name, marker_of(there)))
            own = _kept_to(own, there)
        lines += [*own, wish if there == list(request.platforms) else _within(wish, there)]
    left_out = [f"{other} ; {NEVER}" for other in family.names if other not in names]
    return replace(request, requirements=lines, overrides=[*overrides, *left_out])


def _kept_to(lines: Sequence[RequirementLine], platforms: Sequence[str]) -> list[RequirementLine]:
    """The lines for these platforms alone, to go with an override that keeps their distribution to
    them, whoever asks for it. An override replaces the bounds of lines, so they become constraints.
    """
    own = [_within(line, platforms) for line in lines] if platforms else []
    return [*own, *(replace(line, is_constraint=True) for line in own if line.parsed.specifier)]


def _told(given: Mapping[str, str], chosen: Mapping[str, str]) -> str:
    if len(given) == 1:
        return next(iter(given.values()))
    return " and ".join(f"{given[chosen[platform]]} on {platform}" for platform in chosen)


def _platforms(marker: str, request: CompileRequest) -> list[str]:
    return platforms_of(marker or None, python=request.python, platforms=request.platforms)


def _marked(text: str, marker: str) -> str:
    return f"{text} ; {marker}" if marker else text


def _within(line: RequirementLine, platforms: Iterable[str]) -> RequirementLine:
    """The line for these platforms alone."""
    parsed = line.parsed
    own = f"({parsed.marker}) and " if parsed.marker else ""
    parsed.marker = Marker(f"{own}({marker_of(platforms)})")
    return replace(line, text=str(parsed))


def _renamed(line: RequirementLine, name: str) -> RequirementLine:
    if line.name == name:
        return line
    parsed = line.parsed
    parsed.name, parsed.extras = name, set()
    return replace(line, text=str(parsed))
