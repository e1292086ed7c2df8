"""A node whose install.py may run has one: a name listed by mistake is told, not passed over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from comfy_errors import InvalidInputError


def require_install_scripts(trees: Mapping[str, Path]) -> None:
    """Raises InvalidInputError unless each tree, by the name of its node, has an install.py."""
    for node, tree in trees.items():
        if not (tree / "install.py").is_file():
            raise InvalidInputError(
                f"'options.run_install_scripts' names '{node}', and that node has no install.py",
                remedy="Take it out of the list and resolve again.",
            )
