"""What the code of custom nodes says about their inputs, beyond what `object_info` has.

The engine leaves the values of an input to its node's `VALIDATE_INPUTS`, if it has one, and choices
may be computed at each start. Nothing here imports the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PREFIX = "custom_nodes."
# The core's own nodes that validate their values are the ones that call services.
_SERVICES = "comfy_api_nodes"
# With any of these, a node may accept a value that it does not declare.
_OWN_RULES = ("VALIDATE_INPUTS", "validate_inputs", "__contains__", "__ne__")
_COMPILED = (".so", ".pyd")
_MOST_BYTES = 20 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class NodeCode:
    """The packages in the folder `custom_nodes`, read once they matter."""

    custom_nodes: Path
    _texts: dict[str, str | None] = field(default_factory=dict)

    def has_own_rules(self, module: str) -> bool:
        """True if nodes of this `python_module` may accept values that they do not declare."""
        if not module.startswith(_PREFIX):
            return module.startswith(_SERVICES)
        text = self._text(module)
        return text is None or any(mark in text for mark in _OWN_RULES)

    def has_fixed_choices(self, module: str, choices: Sequence[Any]) -> bool:
        """True if these choices of a node are the same at each start: a custom node's, if its code
        has each of them as text.
        """
        if not module.startswith(_PREFIX):
            return True
        text = self._text(module) or ""
        return all(f'"{choice}"' in text or f"'{choice}'" in text for choice in choices)

    def _text(self, module: str) -> str | None:
        """The code of a custom node; None if it cannot be read as a whole."""
        if module not in self._texts:
            name = module.removeprefix(_PREFIX)
            self._texts[module] = _code_in(self.custom_nodes / name)
        return self._texts[module]


def _code_in(place: Path) -> str | None:
    if not place.is_dir():
        place = place.with_name(f"{place.name}.py")
    try:
        paths = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
        files = [path for path in paths if path.suffix == ".py"]
        compiled = any(path.suffix in _COMPILED for path in paths)
        if compiled or sum(path.stat().st_size for path in files) > _MOST_BYTES:
            return None
        return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)
    except OSError:
        return None
