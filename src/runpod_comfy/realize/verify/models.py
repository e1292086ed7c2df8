"""The models of a home, and of the store that they come from, by their sha256."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from comfy_files.parallel import in_parallel
from runpod_comfy.lock.model import LockedModel
from runpod_comfy.realize.listing import hash_of
from runpod_comfy.realize.models import ModelPlaces
from runpod_comfy.realize.verify.differences import Findings


def check_models(models: Sequence[LockedModel], places: ModelPlaces, findings: Findings) -> None:
    """Hashes each file once, however many links lead to it."""
    wanted: dict[Path, LockedModel] = {}
    for model in models:
        place = places.home.models / model.target_path
        stored = places.store.path_of(model.sha256)
        if not place.exists():
            findings.add(model.name, place, expected=model.sha256, found="nothing")
        for path in (place, stored):
            if path.is_file():
                wanted[Path(os.path.realpath(path))] = model
    paths = list(wanted)
    hashed = in_parallel(hash_of, paths, threads=os.cpu_count() or 1)
    for path, found in zip(paths, hashed, strict=True):
        model = wanted[path]
        findings.count(path)
        if found != model.sha256:
            findings.add(model.name, path, expected=model.sha256, found=found)
            if path.is_relative_to(places.store.root.resolve()):
                findings.entries.add(path)
