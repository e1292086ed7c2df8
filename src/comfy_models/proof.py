"""What a proof found: the state of each model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from comfy_errors import ComfyError

if TYPE_CHECKING:
    from comfy_models.model_file import ModelFile

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
