"""Dead ends: distributions that one platform of the spec cannot have and another one can.

A spec gets out of one in two ways: without the distribution there, or without the platform.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from packaging.specifiers import SpecifierSet

from comfy_errors.names import as_options, listed
from comfy_home.platforms import PLATFORMS, marker_of
from runpod_comfy.lock.python.advice.reason import is_for, marker_of_split
from runpod_comfy.lock.python.uv_compile import needs_in, solve
from runpod_comfy.lock.python.uv_request import CompileRequest, NoSolutionError
from runpod_comfy.lock.requirements.read import name_of

_MOST = 12
_VERSIONS = r"(?:\[[^]]*\])?(?:\{[^}]*\})?(?:[=<>!~][^\s,]*(?:, ?[=<>!~][^\s,]*)*)?"
_WITHOUT_WHEEL = re.compile(
    rf"(?<!\S)(?P<name>[a-z0-9][a-z0-9._-]*?){_VERSIONS} ha(?:s|ve) no "
    r"(?:`(?P<marker>[^`]*)`-compatible wheels|wheels with a matching platform tag)"
)

Attempt = Callable[[Sequence[str]], NoSolutionError | None]
"""Solves everything with these overrides; returns the error if there is no solution."""


@dataclass(frozen=True, kw_only=True)
class DeadEnd:
    """A distribution without a wheel for `platforms`. `askers` are the lines, or the distributions,
    that need it; `override` leaves it out there.
    """

    name: str
    platforms: tuple[str, ...]
    askers: tuple[str, ...]
    override: str

    def __str__(self) -> str:
        asked = f" ({listed(self.askers, at_most=3)})" if self.askers else ""
        where = " and ".join(self.platforms)
        what = "a platform" if len(self.platforms) == 1 else "platforms"
        return f"{self.name} has no wheel for {where}, {what} of the spec{asked}"


@dataclass(frozen=True, kw_only=True)
class DeadEnds:
    """Those of a request, and the error that is left without them, None if that has a solution."""

    found: tuple[DeadEnd, ...]
    rest: NoSolutionError | None
    platforms: tuple[str, ...]

    @property
    def dropping(self) -> str:
        """The second way out."""
        names = sorted({platform for each in self.found for platform in each.platforms})
        kept = [platform for platform in self.platforms if platform not in names]
        return f"Or, if you do not need {' and '.join(names)}: {as_options(platforms=kept)}."


def dead_ends(error: NoSolutionError, request: CompileRequest, attempt: Attempt) -> DeadEnds:
    """The dead ends of `request`, whose first error is `error`."""
    search = _Search(request=request)
    rest = search.follow(error, lambda: attempt(search.overrides))
    if rest is not None and len(request.platforms) > 1:
        # A conflict hides further ones. Without bounds there is none.
        free = [replace(line, text=line.name) for line in request.requirements]
        free = [line for line in free if not line.is_constraint]
        known = len(search.ends)
        loose = replace(request, requirements=free, held=())
        first = _error_of(loose)
        if first is not None:
            search.follow(first, lambda: _error_of(replace(loose, overrides=search.overrides)))
        if len(search.ends) > known:
            rest = attempt(search.overrides)
    return DeadEnds(
        found=tuple(search.ends.values()),
        rest=rest,
        platforms=tuple(request.platforms),
    )


def _error_of(request: CompileRequest) -> NoSolutionError | None:
    try:
        solve(request)
    except NoSolutionError as error:
        return error
    return None


@dataclass(kw_only=True)
class _Search:
    """The dead ends that were found so far, by name."""

    request: CompileRequest
    ends: dict[str, DeadEnd] = field(default_factory=dict)
    hopeless: set[str] = field(default_factory=set)

    @property
    def overrides(self) -> list[str]:
        return [*self.request.overrides, *(end.override for end in self.ends.values())]

    def follow(
        self, error: NoSolutionError | None, again: Callable[[], NoSolutionError | None]
    ) -> NoSolutionError | None:
        """Goes from one dead end to the next, with the error that each one hid. Returns the error
        that is none.
        """
        for _ in range(_MOST):
            if error is None or not self._take(error):
                break
            error = again()
        return error

    def _take(self, error: NoSolutionError) -> bool:
        reason = " ".join(error.reason.split())
        without = _WITHOUT_WHEEL.search(reason)
        if without is None:
            return False
        name, marker = without["name"], without["marker"] or marker_of_split(reason)
        here = [each for each in self.request.platforms if is_for(marker, each)]
        if not here or name in {*map(name_of, self.request.overrides), *self.hopeless}:
            return False
        known = self.ends[name].platforms if name in self.ends else ()
        if {*here} <= {*known}:
            return False
        self.ends.pop(name, None)
        elsewhere = [each for each in self.request.platforms if each not in (*known, *here)]
        if not elsewhere:
            self.hopeless.add(name)
            return bool(known)
        self.ends[name] = self._end(name, (*known, *here), elsewhere, error)
        return True

    def _end(
        self,
        name: str,
        platforms: tuple[str, ...],
        elsewhere: Sequence[str],
        error: NoSolutionError,
    ) -> DeadEnd:
        lines = [line for line in self.request.requirements if line.name == name]
        bounds = SpecifierSet()
        for line in lines:
            bounds &= line.parsed.specifier
        askers = [f"{line.place}: {line.asked}" for line in lines if not line.is_constraint]
        if not askers:
            needs = needs_in(error.account, {name})
            askers = [f"{need.who} needs it" for need in needs if need.who != name]
        return DeadEnd(
            name=name,
            platforms=platforms,
            askers=tuple(dict.fromkeys(askers)),
            override=f"{name}{bounds} ; {_brief_marker(elsewhere, platforms)}",
        )


def _brief_marker(platforms: Sequence[str], others: Sequence[str]) -> str:
    """A marker that is true on `platforms` and not on `others`."""
    for key, word in (("sys_platform", "sys_platform"), ("machine", "platform_machine")):
        values = {getattr(PLATFORMS[platform], key) for platform in platforms}
        if len(values) == 1 and values.isdisjoint(getattr(PLATFORMS[each], key) for each in others):
            return f"{word} == '{values.pop()}'"
    return marker_of(platforms)
