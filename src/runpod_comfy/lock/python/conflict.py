"""Why there is no solution: the fewest lines that cannot hold together, and overrides that help.

uv's own text names distributions, not lines, and tells more than a person can read. So the lines
are found by solving parts of the request again, and an override is offered only after it solved.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from comfy_errors import ComfyError, OperationFailedError, UnavailableError
from comfy_home.platforms import PLATFORMS
from runpod_comfy.lock.python.opencv import NEVER
from runpod_comfy.lock.python.override_offer import (
    as_json,
    candidates,
    listed,
    replaced_in,
    what_it_means,
)
from runpod_comfy.lock.python.uv_compile import (
    PROJECT,
    CompileRequest,
    NoSolutionError,
    solve,
    undated_files,
)
from runpod_comfy.lock.requirements.read import CORE, RefusedLine, Requirement
from runpod_comfy.sources.index.pip_settings import read_index_settings

# What a person is ready to wait for an explanation.
_LONGEST_S = 90.0
_MOST_RUNS = 150
_MOST_CONFLICTS = 6
_MOST_OVERRIDES_TRIED = 8
_LONGEST_REASON = 900

_NO_OFFER = (
    "No override was found that settles it: use other versions of the nodes involved, "
    "or change 'options.constraints' and 'options.overrides' in the spec."
)
NO_TIMES_IN_LINKS = "folders and pages of find-links have no upload times and are left out"
_NOT_CACHED = "was not found in the cache"
_SPLIT = re.compile(r"for split \(markers: (?P<marker>[^)]*)\)")
_NEEDED_PYTHON = re.compile(r"Python\s?>=\s?(3\.\d+)")


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """Whether there is a solution, and if surely not, uv's reason. Neither: nobody can tell."""

    solved: bool = False
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Conflict:
    """Lines that cannot hold together, why, and an override under which they can."""

    lines: Sequence[Requirement]
    reason: str
    override: str | None


@dataclass(kw_only=True)
class _Oracle:
    """Solves parts and variants of a request, so often and so long as a person will wait."""

    deadline: float = field(default_factory=lambda: time.monotonic() + _LONGEST_S)
    runs_left: int = _MOST_RUNS

    @property
    def spent(self) -> bool:
        return self.runs_left <= 0 or time.monotonic() > self.deadline

    def ask(self, request: CompileRequest) -> _Answer:
        if self.spent:
            return _Answer()
        self.runs_left -= 1
        try:
            solve(request)
        except NoSolutionError as error:
            return _Answer(reason=error.reason)
        except ComfyError:
            return _Answer()
        return _Answer(solved=True)

    def fails(self, request: CompileRequest, lines: Sequence[Requirement]) -> bool:
        return self.ask(replace(request, requirements=lines)).reason is not None


def explained(
    request: CompileRequest,
    error: NoSolutionError,
    *,
    everything: Sequence[Requirement],
    overrides: Sequence[str],
    settles: Callable[[Sequence[str]], bool],
) -> ComfyError:
    """The error that a person can act on.

    `request` may be for some of the lines only, `everything` are all of them. `overrides` are
    those of the spec; `settles` says whether the whole has a solution with others in their place.
    """
    oracle = _Oracle()
    request = replace(request, refresh=False)
    if _NOT_CACHED in error.reason and request.offline:
        return _not_cached(oracle, replace(request, requirements=everything))
    if request.as_of and oracle.ask(replace(request, as_of=None)).solved:
        return _only_later(request.as_of, error.reason)
    conflicts = _conflicts(oracle, request, error.reason)
    first = conflicts[0]
    offer = _another_python(oracle, request, first)
    offered = [each.override for each in conflicts if each.override]
    if len(offered) == len(conflicts) and settles(replaced_in(overrides, offered)):
        meaning = " ".join(what_it_means(each.override or "", each.lines) for each in conflicts)
        offer += f"This in the spec settles it: {as_json(overrides, offered)}. {meaning}"
    remedy = offer or _without_offer(first.lines)
    if len(conflicts) == 1 and sum(not line.is_constraint for line in first.lines) == 1:
        kind, sentence = _alone(first.lines, first.reason, request.python)
        return kind(f"{sentence}. {_in_words(first.reason)}", remedy=remedy)
    told = ". And: ".join(_told(each) for each in conflicts)
    return OperationFailedError(
        f"these requirements have no common solution: {told}", remedy=remedy
    )


def _only_later(as_of: str, reason: str) -> UnavailableError:
    """There is a solution, but not among what had been uploaded on the day `as_of`."""
    undated = undated_files(reason)
    if undated:
        some = ", ".join(undated[:3]) + (" …" if len(undated) > 3 else "")
        return UnavailableError(
            f"options.as_of takes only what was uploaded by {as_of}, and the index has no upload "
            f"times for {some}",
            remedy="Use an index that has them (PEP 700), as PyPI does, "
            "or leave options.as_of out of the spec.",
        )
    links = f" {NO_TIMES_IN_LINKS.capitalize()}." if read_index_settings().find_links else ""
    return UnavailableError(
        f"these requirements have a solution, but not with what was uploaded by {as_of} "
        f"(options.as_of). {_in_words(reason)}{links}",
        remedy="Choose a later day for options.as_of in the spec.",
    )


def _without_offer(lines: Sequence[Requirement]) -> str:
    own = [line.place for line in lines if line.place.startswith("options.")]
    return f"Change {listed(own)} in the spec." if own else _NO_OFFER


def _not_cached(oracle: _Oracle, request: CompileRequest) -> ComfyError:
    """Everything that the cache lacks, at once: who is without a network wants the whole list."""
    missing = [
        line
        for line in request.requirements
        if _NOT_CACHED in (oracle.ask(replace(request, requirements=[line])).reason or "")
    ]
    told = "; ".join(f"{line.place}: {line.asked}" for line in missing)
    return UnavailableError(
        f"the cache does not know what these need, and --offline asks no index: {told}",
        remedy="Resolve once without --offline.",
    )


def _told(conflict: _Conflict) -> str:
    lines = "; ".join(f"{line.place}: {line.asked}" for line in conflict.lines)
    return f"{lines}. {_in_words(conflict.reason)}".rstrip(".")


def _conflicts(oracle: _Oracle, request: CompileRequest, reason: str) -> list[_Conflict]:
    """One conflict after the other: each next is what remains once those before are settled."""
    found: list[_Conflict] = []
    while len(found) < _MOST_CONFLICTS:
        lines = _fewest(oracle, request, reason)
        alone = oracle.ask(replace(request, requirements=lines)).reason or reason
        override, rest = _settling(oracle, request, lines, alone)
        found.append(_Conflict(lines=lines, reason=alone, override=override))
        if override is None or rest.reason is None:
            break
        request = replace(request, overrides=replaced_in(request.overrides, [override]))
        reason = rest.reason
    return found


def _settling(
    oracle: _Oracle, request: CompileRequest, lines: Sequence[Requirement], reason: str
) -> tuple[str | None, _Answer]:
    """An override under which these lines have a solution, and what is then said of all lines.

    One that settles everything comes before one that leaves another conflict.
    """
    partial: tuple[str | None, _Answer] = (None, _Answer())
    for number, candidate in enumerate(candidates(lines, reason)):
        if number >= _MOST_OVERRIDES_TRIED:
            break
        tried = replace(request, overrides=replaced_in(request.overrides, [candidate]))
        if not oracle.ask(replace(tried, requirements=lines)).solved:
            continue
        # To leave something out is the last resort, not a way around a second conflict.
        if partial[0] is not None and NEVER in candidate:
            break
        rest = oracle.ask(tried)
        if rest.solved:
            return candidate, rest
        if partial[0] is None:
            partial = (candidate, rest)
    return partial


def _fewest(oracle: _Oracle, request: CompileRequest, reason: str) -> list[Requirement]:
    """Lines that have no solution together, though without any one of them they have."""
    named = set(re.findall(r"[a-z0-9][a-z0-9._-]*[a-z0-9]|[a-z0-9]", reason))
    suspects = [line for line in request.requirements if line.name in named]
    if not suspects or not oracle.fails(request, suspects):
        suspects = list(request.requirements)
    return _minimal(oracle, request, suspects)


def _minimal(
    oracle: _Oracle, request: CompileRequest, lines: list[Requirement]
) -> list[Requirement]:
    """Leaves out ever smaller parts as long as what remains has no solution.

    In the end every single line has been tried. Constraints go first: a person can do
    more about a line that asks for something.
    """
    kept = sorted(lines, key=lambda line: not line.is_constraint)
    size = max(1, len(kept) // 2)
    while True:
        start = 0
        while start < len(kept) and len(kept) > 1:
            rest = kept[:start] + kept[start + size :]
            if rest and oracle.fails(request, rest):
                kept = rest
            else:
                start += size
        if size == 1 or oracle.spent:
            order = {id(line): number for number, line in enumerate(lines)}
            return sorted(kept, key=lambda line: order[id(line)])
        size = max(1, size // 2)


def _another_python(oracle: _Oracle, request: CompileRequest, conflict: _Conflict) -> str:
    """The text that names a Python under which everything has a solution, or ''."""
    needed = _NEEDED_PYTHON.search(conflict.reason)
    if not needed and "wheels" not in conflict.reason:
        return ""
    minor = int(request.python.split(".")[1])
    for python in [needed[1]] if needed else [f"3.{minor + step}" for step in (1, 2, -1)]:
        other = replace(request, python=python)
        alone = oracle.ask(replace(other, requirements=conflict.lines))
        if alone.solved and oracle.ask(other).solved:
            return f'With "options": {{"python": "{python}"}} in the spec there is a solution. '
    return ""


def refusal(
    refused: Sequence[RefusedLine], *, request: CompileRequest, overrides: Sequence[str]
) -> str:
    """What to do about lines that cannot be pinned: the overrides that settle those that have a
    name, after a look whether the index has a release of that name."""
    oracle = _Oracle()
    names = list(dict.fromkeys(line.name for line in refused if line.name))
    released = [name for name in names if _has_release(oracle, request, name)]
    offered = [name if name in released else f"{name} ; {NEVER}" for name in names]
    steps = []
    if offered:
        steps.append(f"Say in the spec what counts in their place: {as_json(overrides, offered)}.")
    if released:
        steps.append(
            f"That takes {listed(released)} from the index (look whether it is the same project); "
            f'"NAME ; {NEVER}" leaves one out.'
        )
    if offered and any(line.name is None for line in refused):
        steps.append(
            "A line that names no distribution needs another version of that node, or a copy of it "
            "in a folder, without the line."
        )
    if not offered:
        steps.append(
            "Use another version of that node, or a copy of it in a folder, without the line."
        )
    return " ".join(steps)


def _has_release(oracle: _Oracle, request: CompileRequest, name: str) -> bool:
    line = Requirement(tree=CORE, place="", name=name, text=name, asked=name)
    return oracle.ask(replace(request, requirements=[line], refresh=False)).solved


def _alone(lines: Sequence[Requirement], reason: str, python: str) -> tuple[type[ComfyError], str]:
    """One line that nothing can satisfy, maybe with constraints, by what is the matter with it."""
    text = " ".join(reason.split())
    subject = "; ".join(f"{line.place}: {line.asked}" for line in lines)
    if "not found in the package registry" in text or "not found in the provided" in text:
        return UnavailableError, f"{subject} needs a distribution that no index has"
    if "was yanked" in text:
        return UnavailableError, f"{subject} can only be had in releases that were withdrawn"
    if _NEEDED_PYTHON.search(text) and "Python version" in text:
        return OperationFailedError, f"{subject} has no release for Python {python}"
    if "-compatible wheels" in text or "no wheels with a matching" in text:
        where = _platform(reason)
        return OperationFailedError, f"{subject} has no wheel for Python {python}{where}"
    if (
        "there is no version of" in text
        or "only the following versions" in text
        or re.search(r"only .* is available", text)
    ):
        return UnavailableError, f"{subject} asks for a version that no index has"
    return OperationFailedError, f"{subject} cannot be satisfied"


def _platform(reason: str) -> str:
    split = _SPLIT.search(reason)
    if split is None:
        return ""
    for platform in PLATFORMS.values():
        if all(part in split["marker"] for part in platform.marker.split(" and ")):
            return f" on {platform.name}"
    return ""


def _in_words(reason: str) -> str:
    """uv's explanation as plain sentences."""
    where = _platform(reason)
    text = " ".join(reason.split())
    text = re.sub(r"^.*?No solution found when resolving dependencies[^:]*:?", "", text)
    text = re.sub(r"^.*?\bcause: ", "", text)
    text = re.sub(r"\s*hint: .*$", "", text)
    text = re.sub(r"^[^)]*\):\s*", "", text) if text.startswith("markers") else text
    text = re.sub(r"(?<=\w)\{[^}]*\}", "", text)
    text = text.replace(f"{PROJECT} depends on", "the lines ask for")
    text = text.replace(", we can conclude that your requirements are unsatisfiable", "")
    text = re.sub(r"`([^`]*)`-compatible", "compatible", text)
    text = text.strip()
    if len(text) > _LONGEST_REASON:
        text = text[:_LONGEST_REASON].rsplit(" ", 1)[0] + " …"
    return f"Why{where}: {text}" if text else "uv gives no reason"
