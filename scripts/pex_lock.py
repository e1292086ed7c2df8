"""Reads the lock that Pants writes (Pex's JSON below a header of `//` lines) for pip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def pip_requirements(lock: Path) -> list[str]:
    """One line per locked distribution, `name==version --hash=…`, for `pip --require-hashes`.

    Raises ValueError as `locked_distributions` does.
    """
    return list(map(_requirement, locked_distributions(lock)))


def locked_distributions(lock: Path) -> list[dict[str, Any]]:
    """Each with `project_name`, `version`, `artifacts` and `requires_dists`.

    Raises ValueError if the file is not such a lock, or locks more than one environment.
    """
    lines = lock.read_text(encoding="utf-8").splitlines()
    document = json.loads("\n".join(line for line in lines if not line.startswith("//")))
    try:
        (resolve,) = document["locked_resolves"]
        distributions: list[dict[str, Any]] = resolve["locked_requirements"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{lock} is not a lock written by Pants") from error
    return distributions


def _requirement(distribution: dict[str, Any]) -> str:
    artifacts = distribution["artifacts"]
    hashes = sorted({f"--hash={one['algorithm']}:{one['hash']}" for one in artifacts})
    return " ".join((f"{distribution['project_name']}=={distribution['version']}", *hashes))
