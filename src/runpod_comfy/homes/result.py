"""What a realization did, for the user and for `--json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from comfy_home.manifest import ChangedFile, NotImported, load_manifest
from runpod_comfy.homes.environment import LinkMode
from runpod_comfy.homes.install_scripts import InstallRecord, read_install_record
from runpod_comfy.homes.job import Realization
from runpod_comfy.layers.plan import INSTALL_PREFIX, Plan


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """`kept` already existed, `built` was made now, `recalled` was known from an earlier run.

    `link_mode` says how an environment's files came from the cache.
    """

    name: str
    outcome: Literal["kept", "built", "recalled"]
    seconds: float
    link_mode: LinkMode | None = None


@dataclass(frozen=True, kw_only=True)
class RealizeResult:
    """A complete version at `target`. `linked` names models that were linked, `removed_nodes` nodes
    that were removed, `install_scripts` the scripts that ran now and their changes. `not_imported`
    are nodes that this machine, or that of the check, cannot import. `changed_by_start` are the
    files of the home that the start of the engine changed when the version was checked. `changed`
    is false if everything already existed.
    """

    version_id: str
    lock_digest: str
    target: Path
    models_dir: Path
    layers: tuple[LayerResult, ...]
    linked: tuple[str, ...]
    removed_nodes: tuple[str, ...]
    install_scripts: tuple[InstallRecord, ...]
    not_imported: Mapping[str, NotImported]
    changed_by_start: tuple[ChangedFile, ...]
    changed: bool
    seconds: float

    def again(self) -> RealizeResult:
        """The result of running the same realization again."""
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
        """The result as a JSON document."""
        return {
            **vars(self),
            "target": str(self.target),
            "models_dir": str(self.models_dir),
            "layers": [asdict(layer) for layer in self.layers],
            "not_imported": {name: it.model_dump() for name, it in self.not_imported.items()},
            "changed_by_start": [file.model_dump() for file in self.changed_by_start],
            "install_scripts": [record.document() for record in self.install_scripts],
            "seconds": round(self.seconds, 3),
        }


def result_of(
    job: Realization,
    plan: Plan,
    *,
    done: Sequence[LayerResult],
    linked: Sequence[str],
    removed: Sequence[str],
    seconds: float,
) -> RealizeResult:
    """The result of a realization that made the layers `done`."""
    made = {layer.name: layer for layer in done}
    installed = [name for name in made if name.startswith(INSTALL_PREFIX)]
    manifest = load_manifest(job.home.root)
    check = manifest.check if manifest else None
    records = [
        read_install_record(job.home, name.removeprefix(INSTALL_PREFIX)) for name in installed
    ]
    return RealizeResult(
        version_id=job.lock.version_id,
        lock_digest=job.lock.digest,
        target=job.home.root,
        models_dir=job.model_folders.shared,
        layers=tuple(
            made.get(layer.name) or LayerResult(name=layer.name, outcome="kept", seconds=0.0)
            for layer in plan.layers
        ),
        linked=tuple(linked),
        removed_nodes=tuple(removed),
        install_scripts=tuple(record for record in records if record),
        not_imported=check.not_imported if check else {},
        changed_by_start=tuple(check.changed) if check else (),
        changed=bool(done or linked or removed),
        seconds=seconds,
    )
