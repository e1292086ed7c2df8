"""Finds the conflicts: minimal sets of lines without a solution, each with an override that helps.

uv's own text names distributions, not lines, and is too long to read. So the lines are found by
solving parts of the request again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from comfy_errors import ComfyError, OperationFailedError
from runpod_comfy.lock.python.advice.offer import Candidate, candidates, replaced_in
from runpod_comfy.lock.python.advice.reason import fault_of_one_line, in_words
from runpod_comfy.lock.python.uv_compile import NEVER, solve
from runpod_comfy.lock.python.uv_request import CompileRequest, NoSolutionError, UnbuiltError
from runpod_comfy.lock.requirements.read import RequirementLine

# How long a user will wait for an explanation.
_LONGEST_S = 90.0
_MOST_RUNS = 150
# What uv says if its cache may be to blame.
_LACKING = re.compile(r"\b(cache|network)\b", re.IGNORECASE)


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


_MOST_CONFLICTS = 6
_MOST_OVERRIDES_TRIED = 8


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
        """The error that it is."""
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
