"""lockfiles/runtime.txt is what the program needs, in the versions of lockfiles/default.lock."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pex_lock import locked_distributions

ROOT = Path(__file__).resolve().parents[2]


def _locked() -> dict[str, dict[str, Any]]:
    lock = ROOT / "lockfiles" / "default.lock"
    return {canonicalize_name(each["project_name"]): each for each in locked_distributions(lock)}


def _listed() -> dict[str, tuple[Requirement, set[str]]]:
    """The requirement of each distribution in the list, and its hashes."""
    text = (ROOT / "lockfiles" / "runtime.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found: dict[str, tuple[Requirement, set[str]]] = {}
    for line in lines:
        requirement = Requirement(line.split(" --hash")[0])
        hashes = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
        found[canonicalize_name(requirement.name)] = (requirement, hashes)
    return found


def test_it_has_the_versions_and_hashes_of_the_lock() -> None:
    locked = _locked()
    for name, (requirement, hashes) in _listed().items():
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        assert str(requirement.specifier) == f"=={locked[name]['version']}"
        assert hashes >= {each["hash"] for each in locked[name]["artifacts"]}


def test_it_has_exactly_what_the_dependencies_need() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = _locked()
    needed: set[str] = set()
    pending = list(map(Requirement, project["dependencies"]))
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        # None of them asks for an extra.
        is_here = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if is_here and name not in needed:
            needed.add(name)
            pending += map(Requirement, locked[name]["requires_dists"])
    here = {
        name
        for name, (requirement, _) in _listed().items()
        if requirement.marker is None or requirement.marker.evaluate()
    }
    assert here == needed
