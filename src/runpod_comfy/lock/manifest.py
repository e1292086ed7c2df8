"""What a lock puts into the manifest of a home or an image."""

from __future__ import annotations

from comfy_home.manifest import ManifestModel
from runpod_comfy.lock.model import Lock


def manifest_models(lock: Lock) -> list[ManifestModel]:
    """The models of the lock, as the run side knows them."""
    return [
        ManifestModel(
            target_path=model.target_path,
            sha256=model.sha256,
            size=model.size,
            source=model.source,
            revision=model.revision,
            mirrors=model.mirrors,
        )
        for model in lock.models
    ]
