"""What a realization did, for people and for `--json`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from runpod_comfy.realize.environment.kept import LinkMode
from runpod_comfy.realize.install.record import InstallRecord


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """`kept` was there already, `built` was made now, `recalled` was known from an earlier run.

    `link_mode` tells how the files of an environment came from the cache.
    """

    name: str
    outcome: Literal["kept", "built", "recalled"]
    seconds: float
    link_mode: LinkMode | None = None


@dataclass(frozen=True, kw_only=True)
class RealizeResult:
    """A whole version at `target`. `linked` names models that were linked, `removed_nodes` nodes
    that were taken out, `install_scripts` what ran now and what it changed; `changed` is false if
    everything was there already."""

    version_id: str
    lock_digest: str
    target: Path
    models_dir: Path
    layers: tuple[LayerResult, ...]
    linked: tuple[str, ...]
    removed_nodes: tuple[str, ...]
    install_scripts: tuple[InstallRecord, ...]
    changed: bool
    seconds: float

    def again(self) -> RealizeResult:
        """What the same realization gives once more."""
        kept = [LayerResult(name=layer.name, outcome="kept", seconds=0.0) for layer in self.layers]
        return replace(
            self,
            layers=tuple(kept),
            linked=(),
            removed_nodes=(),
            install_scripts=(),
            changed=False,
            seconds=0.0,
        )

    def document(self) -> dict[str, object]:
        """The same, as JSON takes it."""
        return {
            "version_id": self.version_id,
            "lock_digest": self.lock_digest,
            "target": str(self.target),
            "models_dir": str(self.models_dir),
            "layers": [vars(layer) for layer in self.layers],
            "linked": list(self.linked),
            "removed_nodes": list(self.removed_nodes),
            "install_scripts": [record.document() for record in self.install_scripts],
            "changed": self.changed,
            "seconds": round(self.seconds, 3),
        }
