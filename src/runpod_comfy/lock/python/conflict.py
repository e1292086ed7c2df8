"""Explains why there is no solution: a minimal set of conflicting lines, and overrides that help.

uv's own text names distributions, not lines, and is too long to read. So the lines are found by
solving parts of the request again, and an override is only suggested if it was tried and works.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from comfy_errors import ComfyError, OperationFailedError, UnavailableError
from comfy_errors.names import listed
from comfy_home.platforms import PLATFORMS
from runpod_comfy.lock.python.solved import NEVER
from runpod_comfy.lock.python.spelling import misspelt
from runpod_comfy.lock.python.uv_compile import (
    PROJECT,
    CompileRequest,
    NoSolutionError,
    names_in,
    solve,
    undated_files,
)
from runpod_comfy.lock.requirements.line import is_requirement
from runpod_comfy.lock.requirements.read import CORE, SPEC, RefusedLine, RequirementLine, name_of
from runpod_comfy.sources.index.pip_settings import read_index_settings

# How long a user will wait for an explanation.
_LONGEST_S = 90.0
_MOST_RUNS = 150
_MOST_CONFLICTS = 6
_MOST_OVERRIDES_TRIED = 8
_LONGEST_REASON = 900

_NO_OFFER = (
    "No override was found that solves it: use other versions of the nodes involved, "
    "or change 'options.constraints' and 'options.overrides' in the spec."
)
_NOT_CACHED = "was not found in the cache"
_SPLIT = re.compile(r"for split \(markers: (?P<marker>[^)]*)\)")
_NEEDED_PYTHON = re.compile(r"Python\s?>=\s?(3\.\d+)")
_BOUND = r"(?:===|==|~=|!=|<=|>=|<|>)[^\s,]+"
_ASKED = re.compile(rf"\b([a-z0-9][a-z0-9._-]*?)({_BOUND}(?:, ?{_BOUND})*)")


# uv's reason why there is no solution, '' if there is one, None if unknown.
_Answer = str | None


@dataclass(frozen=True, kw_only=True)
class _Conflict:
    """Conflicting lines, the reason, and an override that resolves the conflict."""

    lines: Sequence[RequirementLine]
    reason: str
    override: str | None

    def __str__(self) -> str:
        return f"{_named(self.lines)}. {_in_words(self.reason)}".rstrip(".")


@dataclass(kw_only=True)
class _Oracle:
    """Solves parts and variants of a request, within a limit of attempts and time."""

    deadline: float = field(default_factory=lambda: time.monotonic() + _LONGEST_S)
    runs_left: int = _MOST_RUNS

    @property
    def spent(self) -> bool:
        return self.runs_left <= 0 or time.monotonic() > self.deadline

    def ask(
        self, request: CompileRequest, lines: Sequence[RequirementLine] | None = None
    ) -> _Answer:
        """Whether the request, with its lines replaced by `lines` if given, has a solution."""
        if self.spent:
            return None
        self.runs_left -= 1
        if lines is not None:
            request = replace(request, requirements=lines)
        try:
            solve(request)
        except NoSolutionError as error:
            return error.reason
        except ComfyError:
            return None
        return ""

    def solves(
        self, request: CompileRequest, lines: Sequence[RequirementLine] | None = None
    ) -> bool:
        return self.ask(request, lines) == ""


def explained(
    error: NoSolutionError,
    *,
    everything: Sequence[RequirementLine],
    overrides: Sequence[str],
    settles: Callable[[Sequence[str]], bool],
) -> ComfyError:
    """The error with an explanation and a suggested fix.

    The request of `error` may have only some of the lines; `everything` has all of them.
    `overrides` are those of the spec; `settles` says whether everything has a solution with other
    overrides.
    """
    oracle, request = _Oracle(), error.request
    if _NOT_CACHED in error.reason and request.offline:
        return _not_cached(oracle, request, everything)
    if request.as_of and oracle.solves(replace(request, as_of=None)):
        return _only_later(request.as_of, error.reason)
    if fault := _override_at_fault(oracle, request, overrides, error.reason):
        return fault
    conflicts = _conflicts(oracle, request, error.reason)
    first = conflicts[0]
    remedy = _another_python(oracle, request, first)
    names = {line.name for line in everything} | names_in(error.account)
    spelling = " ".join(filter(None, (misspelt(c.lines, c.reason, names) for c in conflicts)))
    offered = [each.override for each in conflicts if each.override]
    if len(offered) == len(conflicts) and settles(_replaced_in(overrides, offered)):
        meaning = " ".join(_what_it_means(each.override or "", each.lines) for each in conflicts)
        remedy += f"Add to the spec: {_as_json(overrides, offered)}. {meaning}"
    own = [line.place for line in first.lines if line.place.startswith("options.")]
    remedy = remedy or (f"Change {' and '.join(own)} in the spec." if own else _NO_OFFER)
    remedy = f"{spelling} {remedy}".strip()
    if len(conflicts) == 1 and sum(not line.is_constraint for line in first.lines) == 1:
        kind, what = _alone(first.reason, request.python)
        return kind(f"{_named(first.lines)} {what}. {_in_words(first.reason)}", remedy=remedy)
    return OperationFailedError(
        f"these requirements have no common solution: {'. And: '.join(map(str, conflicts))}",
        remedy=remedy,
    )


def _override_at_fault(
    oracle: _Oracle, request: CompileRequest, overrides: Sequence[str], reason: str
) -> ComfyError | None:
    """The error of an override of the spec that nothing satisfies: it stands in the place of every
    line about that distribution, none of which is to blame."""
    free = replace(request, overrides=(), held=())
    for number, text in enumerate(overrides):
        if name_of(text) not in reason:
            continue
        place = f"options.overrides[{number}]"
        line = RequirementLine(tree=SPEC, place=place, text=text, asked=text)
        if alone := oracle.ask(free, [line]):
            kind, what = _alone(alone, request.python)
            return kind(
                f"{_named([line])} {what}. {_in_words(alone)}",
                remedy=f"Change or remove {place} in the spec.",
            )
    return None


def _named(lines: Sequence[RequirementLine]) -> str:
    return "; ".join(f"{line.place}: {line.asked}" for line in lines)


def _only_later(as_of: str, reason: str) -> UnavailableError:
    """The error for a request whose solution was uploaded after the day `as_of`."""
    if undated := undated_files(reason):
        return UnavailableError(
            f"options.as_of takes only what was uploaded by {as_of}, and the index has no upload "
            f"times for {listed(undated, at_most=3)}",
            remedy="Use an index that has them (PEP 700), such as PyPI, or remove options.as_of "
            "from the spec.",
        )
    links = " Folders and find-links pages have no upload times and are ignored."
    return UnavailableError(
        f"these requirements have a solution, but not with what was uploaded by {as_of} "
        f"(options.as_of). {_in_words(reason)}{links if read_index_settings().find_links else ''}",
        remedy="Set options.as_of in the spec to a later day.",
    )


def _not_cached(
    oracle: _Oracle, request: CompileRequest, lines: Sequence[RequirementLine]
) -> ComfyError:
    """The error for everything that the cache lacks: offline, the whole list is needed at once."""
    missing = [line for line in lines if _NOT_CACHED in (oracle.ask(request, [line]) or "")]
    return UnavailableError(
        "the cache does not have what these need, and network access is off (--offline): "
        f"{_named(missing)}",
        remedy="Resolve once without --offline.",
    )


def _conflicts(oracle: _Oracle, request: CompileRequest, reason: str) -> list[_Conflict]:
    """The conflicts in turn: each one is what remains once the earlier ones are resolved."""
    found: list[_Conflict] = []
    while len(found) < _MOST_CONFLICTS:
        lines = _fewest(oracle, request, reason)
        alone = oracle.ask(request, lines) or reason
        override, rest = _settling(oracle, request, lines, alone)
        found.append(_Conflict(lines=lines, reason=alone, override=override))
        if override is None or not rest:
            break
        request = replace(request, overrides=_replaced_in(request.overrides, [override]))
        reason = rest
    return found


def _settling(
    oracle: _Oracle, request: CompileRequest, lines: Sequence[RequirementLine], reason: str
) -> tuple[str | None, _Answer]:
    """An override that gives these lines a solution, and uv's reason for all lines under it.

    An override that resolves everything is preferred to one that leaves another conflict.
    """
    partial: tuple[str | None, _Answer] = (None, None)
    for candidate in itertools.islice(_candidates(lines, reason), _MOST_OVERRIDES_TRIED):
        tried = replace(request, overrides=_replaced_in(request.overrides, [candidate]))
        if not oracle.solves(tried, lines):
            continue
        # Removing a distribution is the last resort, not a way around a second conflict.
        if partial[0] is not None and NEVER in candidate:
            break
        rest = oracle.ask(tried)
        if rest == "":
            return candidate, rest
        if partial[0] is None:
            partial = (candidate, rest)
    return partial


def _candidates(lines: Sequence[RequirementLine], reason: str) -> Iterator[str]:
    """Overrides to try, the mildest first: one side's bound for the contested distribution, then no
    bound, then one line without its bound, then one line removed.
    """
    bounded = [line for line in lines if line.parsed.specifier]
    asked: dict[str, set[str]] = {}
    for name, bounds in [
        *((line.name, str(line.parsed.specifier)) for line in bounded),
        *_ASKED.findall(reason),
    ]:
        asked.setdefault(name, set()).add(bounds.replace(" ", "").rstrip("."))
    # The core's bound comes first: a node that does not get its bound may still work.
    core = {(line.name, str(line.parsed.specifier)) for line in bounded if line.tree == CORE}
    found = [
        f"{name}{text}"
        for name, bounds in asked.items()
        if len(bounds) > 1
        for text in sorted(bounds, key=lambda text: ((name, text) not in core, "<" in text, text))
    ]
    found += [line.name for line in sorted(bounded, key=lambda line: line.tree == CORE)]
    found += [f"{line.name} ; {NEVER}" for line in lines if line.tree not in (CORE, SPEC)]
    return filter(is_requirement, dict.fromkeys(found))


def _what_it_means(candidate: str, lines: Sequence[RequirementLine]) -> str:
    """Which trees do not get what they ask for under this override."""
    name = name_of(candidate)
    if NEVER in candidate:
        return f"It removes {name}, so code that imports it will fail."
    passed_over = [
        line.place
        for line in lines
        if line.name == name and str(line.parsed.specifier) not in candidate
    ]
    if passed_over:
        return f"It ignores the bound of {' and '.join(passed_over)}; test whether that works."
    return f"It ignores all other bounds on {name}; test whether that works."


def _replaced_in(overrides: Sequence[str], offered: Sequence[str]) -> list[str]:
    """`overrides` with `offered` added, replacing those of the same names."""
    names = set(map(name_of, offered))
    return [*(text for text in overrides if name_of(text) not in names), *offered]


def _as_json(overrides: Sequence[str], offered: Sequence[str]) -> str:
    """The text to paste into the spec: all of its overrides."""
    return f'"options": {{"overrides": {json.dumps(_replaced_in(overrides, offered))}}}'


def _fewest(oracle: _Oracle, request: CompileRequest, reason: str) -> list[RequirementLine]:
    """A minimal set of lines without a solution: removing any one of them gives a solution.

    Ever smaller parts are removed as long as the rest has no solution, until every single line has
    been tried. Constraints are removed first: a user can do more about a line that asks for a
    distribution.
    """
    named = set(re.findall(r"[a-z0-9][a-z0-9._-]*[a-z0-9]|[a-z0-9]", reason))
    lines = [line for line in request.requirements if line.name in named]
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


def _another_python(oracle: _Oracle, request: CompileRequest, conflict: _Conflict) -> str:
    """A sentence naming a Python version under which everything has a solution, or ''."""
    needed = _NEEDED_PYTHON.search(conflict.reason)
    if not needed and "wheels" not in conflict.reason:
        return ""
    minor = int(request.python.split(".")[1])
    for python in [needed[1]] if needed else [f"3.{minor + step}" for step in (1, 2, -1)]:
        other = replace(request, python=python)
        if oracle.solves(other, conflict.lines) and oracle.solves(other):
            return f'With "options": {{"python": "{python}"}} in the spec there is a solution. '
    return ""


def refusal(
    refused: Sequence[RefusedLine], *, request: CompileRequest, overrides: Sequence[str]
) -> str:
    """The remedy for lines that cannot be pinned: overrides for those with a name, after checking
    whether the index has releases of that name.
    """
    oracle = _Oracle()
    names = list(dict.fromkeys(line.name for line in refused if line.name))
    released = [
        name
        for name in names
        if oracle.solves(request, [RequirementLine(tree=CORE, text=name, asked=name)])
    ]
    offered = [name if name in released else f"{name} ; {NEVER}" for name in names]
    steps = []
    if offered:
        steps.append(f"Add replacements to the spec: {_as_json(overrides, offered)}.")
    if released:
        steps.append(
            f"This uses {' and '.join(released)} from the index (check that it is the same "
            f'project); "NAME ; {NEVER}" removes one.'
        )
    another = "another version of that node, or a copy of it in a folder, without the line."
    if not offered:
        steps.append(f"Use {another}")
    elif any(line.name is None for line in refused):
        steps.append(f"A line that names no distribution needs {another}")
    return " ".join(steps)


def _alone(reason: str, python: str) -> tuple[type[ComfyError], str]:
    """What is wrong with a single line that cannot be satisfied, possibly with constraints."""
    text = " ".join(reason.split())
    if "not found in the package registry" in text or "not found in the provided" in text:
        return UnavailableError, "needs a distribution that no index has"
    if "was yanked" in text:
        return UnavailableError, "matches only yanked releases"
    if _NEEDED_PYTHON.search(text) and "Python version" in text:
        return OperationFailedError, f"has no release for Python {python}"
    if "-compatible wheels" in text or "no wheels with a matching" in text:
        return OperationFailedError, f"has no wheel for Python {python}{_platform(reason)}"
    if re.search("there is no version of|only the following versions|only .* is available", text):
        return UnavailableError, "asks for a version that no index has"
    return OperationFailedError, "cannot be satisfied"


def _platform(reason: str) -> str:
    split = _SPLIT.search(reason)
    if split is None:
        return ""
    for platform in PLATFORMS.values():
        if all(part in split["marker"] for part in platform.marker.split(" and ")):
            return f" on {platform.name}"
    return ""


def _in_words(reason: str) -> str:
    """uv's explanation in plain sentences."""
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
