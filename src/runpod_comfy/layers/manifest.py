"""What a lock puts into the manifest of a home or of an image."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_home.manifest import CheckReport, Manifest, ManifestModel
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.python.torch_family import cuda_on


def manifest_of(
    lock: Lock, platform: str, *, layers: Mapping[str, str], check: CheckReport | None = None
) -> Manifest:
    """The manifest of the lock's version on `platform` (`linux-x86_64`), not marked as complete.

    `layers` are the content keys of what was made, by layer; `check` is what the check reported.
    """
    return Manifest(
        version_id=lock.version_id,
        lock_digest=lock.digest,
        layers=dict(layers),
        models=[
            ManifestModel(**model.model_dump(include=set(ManifestModel.model_fields)))
            for model in lock.models
        ],
        env=lock.env,
        comfy_args=lock.comfy_args,
        cuda=cuda_on(lock.python, platform),
        check=check,
    )
