"""Finds the conflicts: minimal sets of lines without a solution, each with an override that helps.

uv's own text names distributions, not lines, and is too long to read. So the lines are found by
solving parts of the request again.

Before them come the dead ends: distributions that one platform of the spec cannot have and another
one can. A spec gets out of one in two ways: without the distribution there, or without the
platform.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from packaging.specifiers import SpecifierSet

from comfy_errors import ComfyError, OperationFailedError
from comfy_errors.names import as_options, listed
from comfy_home.platforms import PLATFORMS, marker_of
from runpod_comfy.lock.python.advice.offer import Candidate, candidates, replaced_in
from runpod_comfy.lock.python.advice.reason import (
    fault_of_one_line,
    in_words,
    is_for,
    marker_of_split,
)
from runpod_comfy.lock.python.uv_compile import NEVER, needs_in, solve
from runpod_comfy.lock.python.uv_request import CompileRequest, NoSolutionError, UnbuiltError
from runpod_comfy.lock.requirements.read import RequirementLine, name_of

# How long a user will wait for an explanation.
_LONGEST_S = 90.0
_MOST_RUNS = 150
# What uv says if its cache may be to blame.
_LACKING = re.compile(r"\b(cache|network)\b", re.IGNORECASE)
_MOST_CONFLICTS = 6
_MOST_OVERRIDES_TRIED = 8
_MOST_DEAD_ENDS = 12
_VERSIONS = r"(?:\[[^]]*\])?(?:\{[^}]*\})?(?:[=<>!~][^\s,]*(?:, ?[=<>!~][^\s,]*)*)?"
_WITHOUT_WHEEL = re.compile(
    rf"(?<!\S)(?P<name>[a-z0-9][a-z0-9._-]*?){_VERSIONS} ha(?:s|ve) no "
    r"(?:`(?P<marker>[^`]*)`-compatible wheels|wheels with a matching platform tag)"
)
Attempt = Callable[[Sequence[str]], NoSolutionError | None]
"""Solves everything with these overrides; returns the error if there is no solution."""


@dataclass(kw_only=True)
class Oracle:
    """`unbuilt` are the sdists that would have to be built to answer."""

    deadline: float = field(default_factory=lambda: time.monotonic() + _LONGEST_S)
    runs_left: int = _MOST_RUNS
    unbuilt: set[str] = field(default_factory=set)

    @property
    def spent(self) -> bool:
        return self.runs_left <= 0 or time.monotonic() > self.deadline

    def ask(
        self, request: CompileRequest, lines: Sequence[RequirementLine] | None = None
    ) -> str | None:
        """uv's reason why the request, with its lines replaced by `lines` if given, has no
        solution; '' if it has one, None if unknown.
        """
        if self.spent:
            return None
        self.runs_left -= 1
        request = replace(request, builds=False)
        if lines is not None:
            request = replace(request, requirements=lines)
        # Most of what it needs was looked up a moment ago.
        answer = self._run(replace(request, offline=True))
        if not request.offline and (answer is None or _LACKING.search(answer)):
            answer = self._run(request)
        return answer

    def _run(self, request: CompileRequest) -> str | None:
        try:
            solve(request)
        except NoSolutionError as error:
            return error.reason
        except UnbuiltError as error:
            self.unbuilt.add(error.release)
            return None
        except ComfyError:
            return None
        return ""

    def solves(
        self, request: CompileRequest, lines: Sequence[RequirementLine] | None = None
    ) -> bool:
        return self.ask(request, lines) == ""


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Conflicting lines of a request, uv's reason, and an override that resolves the conflict."""

    request: CompileRequest
    lines: Sequence[RequirementLine]
    reason: str
    override: str | None

    @property
    def of_one_line(self) -> bool:
        return sum(not line.is_constraint for line in self.lines) == 1

    @property
    def is_of_the_spec(self) -> bool:
        """True if only leaving a distribution out would resolve it, and the spec's options are part
        of it: they are at fault then.
        """
        own = any(line.place.startswith("options.") for line in self.lines)
        return own and self.override is not None and NEVER in self.override

    @property
    def kind(self) -> type[ComfyError]:
        if not self.of_one_line:
            return OperationFailedError
        return fault_of_one_line(self.reason, self.request.python)[0]

    def __str__(self) -> str:
        fault = (
            f" {fault_of_one_line(self.reason, self.request.python)[1]}" if self.of_one_line else ""
        )
        return f"{named(self.lines)}{fault}. {in_words(self.reason)}".rstrip(".")


def named(lines: Sequence[RequirementLine]) -> str:
    """The places and texts of lines."""
    return "; ".join(f"{line.place}: {line.asked}" for line in lines)


def conflicts_in(
    request: CompileRequest,
    reason: str,
    *,
    everything: Sequence[RequirementLine],
    oracle: Oracle,
) -> list[Conflict]:
    """The conflicts in turn: each one is what remains once the earlier ones are resolved.

    The request may have only some of the lines; `everything` has all of them.
    """
    found: list[Conflict] = []
    while len(found) < _MOST_CONFLICTS:
        lines = _fewest(oracle, request, reason)
        alone = oracle.ask(request, lines) or reason
        override, rest = _settling(oracle, request, lines, alone, everything)
        found.append(Conflict(request=request, lines=lines, reason=alone, override=override))
        if override is None or not rest:
            break
        request = replace(request, overrides=replaced_in(request.overrides, [override]))
        reason = rest
    return found


def _settling(
    oracle: Oracle,
    request: CompileRequest,
    lines: Sequence[RequirementLine],
    reason: str,
    everything: Sequence[RequirementLine],
) -> tuple[str | None, str | None]:
    """An override that gives these lines a solution, and uv's reason for all lines under it.

    An override that resolves everything is preferred to one that leaves another conflict.
    """
    partial: tuple[Candidate, str | None] | None = None
    offered = candidates(lines, reason, request=request, everything=everything)
    for candidate in offered[:_MOST_OVERRIDES_TRIED]:
        # A core's bound is not given up, and nothing left out, to get around a second conflict.
        if partial is not None and candidate.severity > partial[0].severity:
            break
        overrides = replaced_in(request.overrides, [candidate.text])
        tried = replace(request, overrides=overrides)
        if not oracle.solves(tried, lines):
            continue
        rest = oracle.ask(tried)
        if rest == "":
            return candidate.text, rest
        partial = partial or (candidate, rest)
    return (partial[0].text, partial[1]) if partial else (None, None)


def _fewest(oracle: Oracle, request: CompileRequest, reason: str) -> list[RequirementLine]:
    """A minimal set of lines without a solution: removing any one of them gives a solution.

    Ever smaller parts are removed as long as the rest has no solution, until every single line has
    been tried. Constraints are removed first: a user can do more about a line that asks for a
    distribution.
    """
    mentioned = set(re.findall(r"[a-z0-9][a-z0-9._-]*[a-z0-9]|[a-z0-9]", reason))
    lines = [line for line in request.requirements if line.name in mentioned]
    if not lines or not oracle.ask(request, lines):
        lines = list(request.requirements)
    kept = sorted(lines, key=lambda line: not line.is_constraint)
    size = max(1, len(kept) // 2)
    while True:
        start = 0
        while start < len(kept) and len(kept) > 1:
            rest = kept[:start] + kept[start + size :]
            if rest and oracle.ask(request, rest):
                kept = rest
            else:
                start += size
        if size == 1 or oracle.spent:
            return [line for line in lines if any(line is each for each in kept)]
        size //= 2


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
        for _ in range(_MOST_DEAD_ENDS):
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
