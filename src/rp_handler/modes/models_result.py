"""What `models sync` and `models verify` say about the models of a folder, or of volumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, get_args

from comfy_errors import ComfyError
from comfy_errors.names import quantity
from comfy_files.progress import readable_size

if TYPE_CHECKING:
    from comfy_models.proof import Proof
    from comfy_models.volumes.fill import Filled


@dataclass(frozen=True, kw_only=True)
class ModelsResult:
    """`rows` are those of a table, `entries` the models in a JSON document, each in one of the
    `states`. `place` describes where they are; `error` is why not all are right.
    """

    rows: Sequence[tuple[str, ...]] = ()
    entries: Sequence[dict[str, Any]] = ()
    states: Sequence[str] = ()
    place: str = ""
    error: ComfyError | None = None

    @classmethod
    def of_folder(cls, proof: Proof, *, verbose: bool) -> Self:
        """If `verbose`, rows have the path and the sha256 too."""
        from comfy_models.proof import State

        rows, entries = [], []
        for one in proof.models:
            model = one.model
            more = (str(one.path), f"sha256:{model.sha256}") if verbose else ()
            size, linked = readable_size(model.size), "linked" if one.linked else ""
            rows.append((one.state, model.target_path, size, *more, linked))
            known = {"target_path": model.target_path, "sha256": model.sha256, "size": model.size}
            about = {"path": str(one.path), "linked": one.linked, "reason": one.reason}
            entries.append({"state": one.state, **known, **about})
        states = get_args(State)
        return cls(rows=rows, entries=entries, states=states, error=proof.error)

    @classmethod
    def of_volumes(cls, filled: Filled) -> Self:
        from comfy_models.volumes.volume_file import VolumeState

        rows, entries = [], []
        for one in filled.models:
            model, volume = one.model, str(one.volume)
            rows.append((one.state, volume, model.target_path, readable_size(model.size)))
            known = {"target_path": model.target_path, "sha256": model.sha256, "size": model.size}
            entries.append({"state": one.state, "volume": volume, **known, "reason": one.reason})
        volumes = {entry["volume"] for entry in entries}
        place = f" on {quantity(len(volumes), 'volume')}"
        states = get_args(VolumeState)
        return cls(rows=rows, entries=entries, states=states, place=place, error=filled.error)

    def table(self) -> list[str]:
        """A line for each row."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        return [
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in self.rows
        ]

    def summary(self) -> str:
        """`2 models on 2 volumes: 3 uploaded, 1 present`; empty if nothing is known of them."""
        if self.error is not None and not self.entries:
            return ""
        models = {entry["target_path"] for entry in self.entries}
        states = ", ".join(f"{count} {state}" for state, count in self._counts().items())
        return f"{quantity(len(models), 'model')}{self.place}: {states or 'none needed'}"

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "holds": self.error is None,
            "counts": {state: self._counts()[state] for state in self.states},
            "models": self.entries,
            "error": self.error.message if self.error else None,
            "remedy": self.error.remedy if self.error else None,
        }

    def _counts(self) -> Counter[str]:
        return Counter(entry["state"] for entry in self.entries)
