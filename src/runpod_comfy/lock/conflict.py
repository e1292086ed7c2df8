"""Why there is no solution: the fewest lines that cannot hold together, and an override that helps.

uv's own text names distributions, not lines, and tells more than a person can read. So the lines
are found by solving parts of the request again, and an override is offered only after it solved.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from packaging.requirements import Requirement as PackagingRequirement
from packaging.utils import canonicalize_name

from comfy_errors import ComfyError, OperationFailedError, UnavailableError
from runpod_comfy.lock.opencv import NEVER
from runpod_comfy.lock.platform_marker import PLATFORM_MARKERS
from runpod_comfy.lock.requirements import CORE, RefusedLine, Requirement
from runpod_comfy.lock.uv_compile import PROJECT, CompileRequest, NoSolutionError, solve

_MOST_RUNS = 60
_LONGEST_S = 60.0
_MOST_OVERRIDES_TRIED = 8
_LONGEST_REASON = 900

_BOUND = r"(?:===|==|~=|!=|<=|>=|<|>)[^\s,]+"
_ASKED = re.compile(rf"\b([a-z0-9][a-z0-9._-]*?)({_BOUND}(?:, ?{_BOUND})*)")
_SPLIT = re.compile(r"for split \(markers: (?P<marker>[^)]*)\)")
_NEEDED_PYTHON = re.compile(r"Python\s?>=\s?(3\.\d+)")


@dataclass(kw_only=True)
class _Oracle:
    """Answers whether lines can hold together, for so many questions and so long."""

    request: CompileRequest
    deadline: float = field(default_factory=lambda: time.monotonic() + _LONGEST_S)
    runs_left: int = _MOST_RUNS

    @property
    def spent(self) -> bool:
        return self.runs_left <= 0 or time.monotonic() > self.deadline

    def reason_against(self, lines: Sequence[Requirement]) -> str | None:
        """uv's text if these lines alone have no solution; None if they have one, or if nobody
        can tell."""
        return self._ask(replace(self.request, requirements=lines))

    def solves(self, overrides: Sequence[str]) -> bool:
        if self.spent:
            return False
        self.runs_left -= 1
        try:
            solve(replace(self.request, overrides=overrides))
        except (NoSolutionError, ComfyError):
            return False
        return True

    def _ask(self, request: CompileRequest) -> str | None:
        if self.spent:
            return None
        self.runs_left -= 1
        try:
            solve(request)
        except NoSolutionError as error:
            return error.reason
        except ComfyError:
            return None
        return None


def explained(
    request: CompileRequest,
    error: NoSolutionError,
    *,
    overrides: Sequence[str],
    settles: Callable[[Sequence[str]], bool],
) -> ComfyError:
    """The error that a person can act on.

    `overrides` are those of the spec; `settles` says whether the whole of the spec has a solution
    with others in their place.
    """
    oracle = _Oracle(request=replace(request, refresh=False))
    lines = _fewest(oracle, error.reason)
    reason = oracle.reason_against(lines) or error.reason
    offer = _offer(oracle, lines, reason, overrides, settles)
    told = "; ".join(f"{line.place}: {line.asked}" for line in lines)
    why = _in_words(reason)
    if len(lines) == 1:
        kind, sentence = _alone(lines[0], reason, request.python)
        return kind(f"{sentence} ({why})", remedy=offer or _no_offer(reason, request.python))
    return OperationFailedError(
        f"these requirements have no common solution: {told}. {why}",
        remedy=offer or _no_offer(reason, request.python),
    )


def refusal(
    refused: Sequence[RefusedLine], *, request: CompileRequest, overrides: Sequence[str]
) -> str:
    """What to do about lines that cannot be pinned: the overrides that settle those that have a
    name, after a look whether the index has a release of that name."""
    oracle = _Oracle(request=replace(request, requirements=(), refresh=False, held=()))
    names = list(dict.fromkeys(line.name for line in refused if line.name))
    released = [name for name in names if not oracle.spent and _has_release(oracle, name)]
    offered = [name if name in released else f"{name} ; {NEVER}" for name in names]
    steps = []
    if offered:
        steps.append(f"Say in the spec what counts in their place: {_json(overrides, offered)}.")
    if released:
        steps.append(
            f"That takes {_listed(released)} from the index (look whether it is the same project); "
            f'"NAME ; {NEVER}" leaves one out.'
        )
    if len(names) < len(released) + 1 and any(line.name is None for line in refused):
        steps.append(
            "A line that names no distribution needs another version of that node, or a copy of it "
            "in a folder, without the line."
        )
    elif not offered:
        steps.append(
            "Use another version of that node, or a copy of it in a folder, without the line."
        )
    return " ".join(steps)


def _has_release(oracle: _Oracle, name: str) -> bool:
    line = Requirement(tree=CORE, place="", name=name, text=name, asked=name)
    oracle.runs_left -= 1
    try:
        solve(replace(oracle.request, requirements=[line]))
    except (NoSolutionError, ComfyError):
        return False
    return True


def _fewest(oracle: _Oracle, reason: str) -> list[Requirement]:
    """Lines that have no solution together, though without any one of them they have."""
    everything = list(oracle.request.requirements)
    named = set(re.findall(r"[a-z0-9][a-z0-9._-]*[a-z0-9]|[a-z0-9]", reason))
    suspects = [line for line in everything if line.name in named]
    if not suspects or oracle.reason_against(suspects) is None:
        suspects = everything
    return _minimal(oracle, suspects)


def _minimal(oracle: _Oracle, lines: list[Requirement]) -> list[Requirement]:
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
            if rest and oracle.reason_against(rest) is not None:
                kept = rest
            else:
                start += size
        if size == 1 or oracle.spent:
            order = {id(line): number for number, line in enumerate(lines)}
            return sorted(kept, key=lambda line: order[id(line)])
        size = max(1, size // 2)


def _offer(
    oracle: _Oracle,
    lines: Sequence[Requirement],
    reason: str,
    overrides: Sequence[str],
    settles: Callable[[Sequence[str]], bool],
) -> str:
    """The text that offers an override which was tried and solves, or ''."""
    oracle.deadline = time.monotonic() + _LONGEST_S
    oracle.runs_left = _MOST_OVERRIDES_TRIED
    for candidate in _candidates(lines, reason):
        name = canonicalize_name(PackagingRequirement(candidate).name)
        others = [text for text in oracle.request.overrides if _name(text) != name]
        if not oracle.solves([*others, candidate]):
            continue
        if not settles([*(text for text in overrides if _name(text) != name), candidate]):
            continue
        return (
            f"This override in the spec settles it: {_json(overrides, [candidate])}. "
            + _what_it_means(candidate, name, lines)
        )
    return ""


def _candidates(lines: Sequence[Requirement], reason: str) -> Iterator[str]:
    """Overrides worth trying, the gentlest first: one side's bound for what is contested, then no
    bound, then one of the lines without its bound, then without what it asks for."""
    asked: dict[str, list[str]] = {}
    for line in lines:
        parsed = PackagingRequirement(line.text)
        if parsed.specifier:
            asked.setdefault(line.name, []).append(str(parsed.specifier))
    # The core's wish comes first: a node that does not get its wish may still work.
    core = {
        line.name: str(PackagingRequirement(line.text).specifier)
        for line in lines
        if line.tree == CORE
    }
    for name, bounds in _ASKED.findall(reason):
        asked.setdefault(name, []).append(bounds.replace(" ", "").rstrip("."))
    contested = [name for name, bounds in asked.items() if len(set(bounds)) > 1]
    seen: set[str] = set()
    for candidate in _in_order(contested, asked, core, lines):
        if candidate not in seen and _is_requirement(candidate):
            seen.add(candidate)
            yield candidate


def _in_order(
    contested: Iterable[str],
    asked: dict[str, list[str]],
    core: dict[str, str],
    lines: Sequence[Requirement],
) -> Iterator[str]:
    for name in contested:
        wishes = sorted(
            set(asked[name]), key=lambda text: (text != core.get(name), "<" in text, text)
        )
        yield from (f"{name}{bounds}" for bounds in wishes)
    bounded = [line for line in lines if PackagingRequirement(line.text).specifier]
    by_trust = sorted(bounded, key=lambda line: line.tree == CORE)
    yield from (line.name for line in by_trust)
    yield from (f"{line.name} ; {NEVER}" for line in lines if line.tree not in (CORE, "spec"))


def _is_requirement(text: str) -> bool:
    try:
        PackagingRequirement(text)
    except ValueError:
        return False
    return True


def _what_it_means(candidate: str, name: str, lines: Sequence[Requirement]) -> str:
    if NEVER in candidate:
        return f"It leaves {name} out, and whoever imports it will fail."
    passed_over = [
        line.place
        for line in lines
        if line.name == name and str(PackagingRequirement(line.text).specifier) not in candidate
    ]
    if passed_over:
        return f"Then the wish of {_listed(passed_over)} does not count; try whether it works."
    return f"Then nobody else's bound on {name} counts; try whether it works."


def _alone(line: Requirement, reason: str, python: str) -> tuple[type[ComfyError], str]:
    """One line that nothing can satisfy, by what is the matter with it."""
    text = " ".join(reason.split())
    subject = f"{line.place}: {line.asked}"
    if "not found in the package registry" in text or "not found in the provided" in text:
        return UnavailableError, f"{subject} needs a distribution that no index has"
    if "was not found in the cache" in text or "network was disabled" in text:
        return UnavailableError, f"{subject} is not in the cache, and --offline asks no index"
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
        or (re.search(r"only .* is available", text))
    ):
        return UnavailableError, f"{subject} asks for a version that no index has"
    return OperationFailedError, f"{subject} cannot be satisfied"


def _platform(reason: str) -> str:
    split = _SPLIT.search(reason)
    if split is None:
        return ""
    for platform, marker in PLATFORM_MARKERS.items():
        if all(part in split["marker"] for part in marker.split(" and ")):
            return f" on {platform}"
    return ""


def _no_offer(reason: str, python: str) -> str:
    needed = _NEEDED_PYTHON.search(reason)
    if needed and needed[1] != python:
        return (
            f'It may work with "options": {{"python": "{needed[1]}"}} in the spec; '
            "no override was found that settles it."
        )
    return (
        "No single override was found that settles it: use other versions of the nodes involved, "
        "or change 'options.constraints' and 'options.overrides' in the spec."
    )


def _in_words(reason: str) -> str:
    """uv's explanation as plain sentences."""
    where = _platform(reason)
    text = " ".join(reason.split())
    text = re.sub(r"^.*?No solution found when resolving dependencies[^:]*:?", "", text)
    text = re.sub(r"^.*?\bcause: ", "", text)
    text = re.sub(r"\s*hint: .*$", "", text)
    text = re.sub(r"^[^)]*\):\s*", "", text) if text.startswith("markers") else text
    text = text.replace(f"{PROJECT} depends on", "the lines ask for")
    text = text.replace(", we can conclude that your requirements are unsatisfiable", "")
    text = re.sub(r"`([^`]*)`-compatible", "compatible", text)
    text = text.strip()
    if len(text) > _LONGEST_REASON:
        text = text[:_LONGEST_REASON].rsplit(" ", 1)[0] + " …"
    return f"Why{where}: {text}" if text else "uv gives no reason"


def _json(overrides: Sequence[str], offered: Sequence[str]) -> str:
    names = {_name(text) for text in offered}
    whole = [*(text for text in overrides if _name(text) not in names), *offered]
    return '"options": {"overrides": ' + json.dumps(whole) + "}"


def _name(text: str) -> str:
    return canonicalize_name(PackagingRequirement(text).name)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(words)
