"""What does not get what it asks for under overrides, one sentence for each line."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from runpod_comfy.lock.python.solve import all_fit, unmet_needs
from runpod_comfy.lock.python.solved import Solved, given_for
from runpod_comfy.lock.requirements.read import RefusedLine, RequirementLine, name_of


def unmet(
    solved: Solved,
    offered: Sequence[str],
    *,
    lines: Sequence[RequirementLine],
    refused: Sequence[RefusedLine],
    why: Mapping[str, str],
) -> list[str]:
    """The lines, and the needs of distributions, that the offered overrides pass over.

    `lines` are those that can be pinned; `why` has reasons for names that are left out.
    """
    names = set(map(name_of, offered))
    versions = solved.solution.versions
    return [
        *(
            f"{line.place}: {line.text} {_from_the_index(line.name, versions, why)}"
            for line in refused
            if line.name in names
        ),
        *(
            f"{line.place}: {line.asked} {_instead(line.name, versions)}"
            for line in lines
            if line.name in names and not is_met(line, versions.get(line.name, ()))
        ),
        *(
            f"{need.who} {need.version}: {need.name}{need.bounds} {_instead(need.name, versions)}"
            for need in unmet_needs(solved.request, solved.solution, names)
        ),
    ]


def is_met(line: RequirementLine, versions: Collection[str]) -> bool:
    """True if these versions are what the line asks for."""
    return all_fit(line.parsed.specifier, versions) if versions else line.is_constraint


def _from_the_index(
    name: str, versions: Mapping[str, Collection[str]], why: Mapping[str, str]
) -> str:
    if versions.get(name):
        return f"{_instead(name, versions)} from the index"
    return f"is left out: {why[name]}" if why.get(name) else "is left out"


def _instead(name: str, versions: Mapping[str, Collection[str]]) -> str:
    found = versions.get(name)
    return f"gets {given_for(name, found)}" if found else "is left out"
