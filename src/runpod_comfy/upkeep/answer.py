"""What a check of `doctor` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "optional", "warning"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`state` is ok, `missing` for something needed, `optional` for something that is not there
    and not needed, `warning` for something that works and could be better. `remedy` is what to do.
    """

    name: str
    state: State
    found: str
    remedy: str = ""

    def document(self) -> dict[str, str]:
        return {
            "name": self.name,
            "state": self.state,
            "found": self.found,
            "remedy": self.remedy,
        }
