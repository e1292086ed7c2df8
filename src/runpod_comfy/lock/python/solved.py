"""A solution of the Python requirements, and what in it satisfies others than it was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runpod_comfy.lock.model import Replaced
from runpod_comfy.lock.python.uv_compile import Dependency, Solution
from runpod_comfy.lock.python.uv_request import CompileRequest
from runpod_comfy.lock.requirements.read import RequirementLine

NEVER = "python_version < '3'"
"""A marker that is never true: an override with it removes a distribution from the solution."""


@dataclass(frozen=True, kw_only=True)
class Solved:
    """A solution, its request, and the requirements that something else satisfies.

    `also_required_by` names distributions that need one under another name.
    """

    request: CompileRequest
    solution: Solution
    replaced: Sequence[Replaced] = ()
    also_required_by: Mapping[str, set[str]] = field(default_factory=dict)


def replaced_line(line: RequirementLine, given: str) -> Replaced:
    _, _, place = line.place.partition(", ")
    return Replaced(asked_by=line.tree, place=place or None, requirement=line.asked, given=given)


def replaced_need(need: Dependency, given: str) -> Replaced:
    return Replaced(
        asked_by=f"{need.who} {need.version}",
        requirement=f"{need.name}{need.bounds}",
        given=given,
    )


def given_for(name: str, versions: Iterable[str]) -> str:
    """What is installed instead of something: `name` in these versions."""
    return " or ".join(f"{name}=={version}" for version in versions) or "nothing"
