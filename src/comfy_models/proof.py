"""What a proof found, the state of each model; and the report of it, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from comfy_errors import ComfyError
from comfy_files.progress import readable_size

if TYPE_CHECKING:
    from comfy_models.model_file import ModelFile

_ALWAYS = ("state", "reason", "target_path", "sha256", "size")

State = Literal["present", "verified", "downloaded", "wrong", "missing"]


@dataclass(frozen=True, kw_only=True)
class ProvenModel:
    """`present` has not changed since its sha256 was computed, `verified` was read and hashed now,
    `downloaded` was fetched now. `wrong` and `missing` models have a `reason`.

    `path` is below the shared models folder; `linked` is true if a link was made now.
    """

    model: ModelFile
    path: Path
    state: State
    reason: str = ""
    linked: bool = False


@dataclass(frozen=True, kw_only=True)
class Proof:
    """`models` are in the order in which they were asked for. `error` is why not all were fetched,
    None if nothing failed.
    """

    models: tuple[ProvenModel, ...]
    error: ComfyError | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """`found` is what is known of each model, in one of the `states`; `about` says which these are.

    `keys` are attributes of it, or of its `model`: those beyond `_ALWAYS` that the document has.
    `columns` are those in the table. `error` is why not all are right.
    """

    about: str = ""
    found: Sequence[Any] = ()
    states: Sequence[str] = ()
    keys: Sequence[str] = ()
    columns: Sequence[str] = ()
    error: ComfyError | None = None

    def table(self) -> list[str]:
        """A line for each model."""
        cells = [[_cell(key, _value(each, key)) for key in self.columns] for each in self.found]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        sides = [">" if key == "size" else "<" for key in self.columns]
        form = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=False))
        return [form.format(*row).rstrip() for row in cells]

    def summary(self) -> str:
        """`2 models on 2 volumes: 3 uploaded, 1 present`; empty if nothing is known of them."""
        if self.error is not None and not self.found:
            return ""
        counts = ", ".join(f"{count} {state}" for state, count in self._counts().items() if count)
        return f"{self.about}: {counts or 'none needed'}"

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        keys = (*_ALWAYS, *self.keys)
        return {
            "holds": self.error is None,
            "counts": self._counts(),
            "models": [{key: _plain(_value(each, key)) for key in keys} for each in self.found],
            "error": self.error.message if self.error else None,
            "remedy": self.error.remedy if self.error else None,
        }

    def _counts(self) -> dict[str, int]:
        counted = Counter(each.state for each in self.found)
        return {state: counted[state] for state in self.states}


def _value(found: Any, key: str) -> Any:
    return getattr(found if hasattr(found, key) else found.model, key)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, tuple)) else str(value)


def _cell(key: str, value: Any) -> str:
    match key:
        case "size":
            return readable_size(value)
        case "linked":
            return key if value else ""
        case "sha256":
            return f"sha256:{value}"
        case "versions":
            return ", ".join(value)
    return str(value)
