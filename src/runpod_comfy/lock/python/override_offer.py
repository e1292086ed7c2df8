"""Overrides for a spec: those worth trying where lines are in each other's way, and their words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from packaging.requirements import Requirement as PackagingRequirement
from packaging.utils import canonicalize_name

from runpod_comfy.lock.python.opencv import NEVER
from runpod_comfy.lock.requirements.read import CORE, Requirement

_BOUND = r"(?:===|==|~=|!=|<=|>=|<|>)[^\s,]+"
_ASKED = re.compile(rf"\b([a-z0-9][a-z0-9._-]*?)({_BOUND}(?:, ?{_BOUND})*)")


def candidates(lines: Sequence[Requirement], reason: str) -> Iterator[str]:
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


def what_it_means(candidate: str, lines: Sequence[Requirement]) -> str:
    """Who does not get what they asked for under this override."""
    name = name_in(candidate)
    if NEVER in candidate:
        return f"It leaves {name} out, and whoever imports it will fail."
    passed_over = [
        line.place
        for line in lines
        if line.name == name and str(PackagingRequirement(line.text).specifier) not in candidate
    ]
    if passed_over:
        return f"Then the wish of {listed(passed_over)} does not count; try whether it works."
    return f"Then nobody else's bound on {name} counts; try whether it works."


def replaced_in(overrides: Sequence[str], offered: Sequence[str]) -> list[str]:
    """`overrides` with `offered` added, in the place of those of the same name."""
    names = {name_in(text) for text in offered}
    return [*(text for text in overrides if name_in(text) not in names), *offered]


def as_json(overrides: Sequence[str], offered: Sequence[str]) -> str:
    """What to write into the spec: all of its overrides, so that it can be pasted whole."""
    whole = json.dumps(replaced_in(overrides, offered))
    return f'"options": {{"overrides": {whole}}}'


def name_in(text: str) -> str:
    """The plain name of the distribution that a requirement is about."""
    return canonicalize_name(PackagingRequirement(text).name)


def listed(words: Sequence[str]) -> str:
    """`a and b`."""
    return " and ".join(words)
