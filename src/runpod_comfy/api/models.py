"""The models of versions, verified and completed in models folders and on network volumes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from comfy_errors import ComfyError, together
from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_files.user_paths import real
from comfy_home.layout import HomeLayout, find_home
from comfy_models.store import ModelStore
from comfy_models.volumes.fill import Filled, fill_volumes
from comfy_models.volumes.volume import volume_named
from runpod_comfy.api.arguments import Seconds, checked
from runpod_comfy.api.model_request import ModelRequest, find_request, recalled
from runpod_comfy.api.versions import Selected, keep_cache_for, read_spec, select
from runpod_comfy.api.workspace import StrPath
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import record_models
from runpod_comfy.lock.model import LockedModel, UnhashedModel
from runpod_comfy.models.verify import (
    AskedFolder,
    AskedModel,
    VerifiedModel,
    VerifiedModels,
    in_one_folder,
    verify,
)
from runpod_comfy.sources.model_hosts import model_hosts


@checked
def verify_models(
    version_id: str | None = None,
    *,
    spec: StrPath | None = None,
    lock: StrPath | None = None,
    models_dir: StrPath | None = None,
    overwrite: bool = False,
    rehash: bool = False,
    timeout_s: Seconds | None = None,
    project: StrPath | None = None,
    say: Say = say_nothing,
    explain: Say = say_nothing,
    progress: Progress = UNSEEN,
) -> VerifiedModels:
    """Makes the models of a version, or of every version, complete in a models folder, and says
    what is true of each: `.holds` is true if all are right and there was no error.

    Missing models are fetched into the store, and linked from `models_dir` (`MODELS_DIR`, then the
    `models` of the version's home). Files are hashed if they have changed since the last time, or
    with `rehash`. With `overwrite` another file at the path of a model is replaced. A server may be
    silent for `timeout_s` seconds. A version with models and no lock is resolved first. Raises what
    `resolve` raises if no version has a lock; otherwise that, and what cannot be fetched, is the
    `error` of the result.
    """
    request = find_request(version_id, spec=spec, lock=lock, models_dir=models_dir, project=project)
    found = None if rehash else recalled(request)
    if found is not None:
        return found
    cache, store = request.cache, ModelStore(request.cache.models)
    selections: list[Selected] = []
    errors: list[ComfyError] = []
    lacking: list[VerifiedModel] = []
    for each in request.version_ids or (None,):
        try:
            if request.lock is None and not _has_models(each, request):
                continue
            selected = select(
                each,
                spec=request.spec,
                lock=request.lock,
                project=request.project,
                command="realize {} --update",
                timeout_s=timeout_s,
                keep_going=True,
                say=say,
                explain=explain,
                progress=progress,
            )
        except ComfyError as error:
            errors.append(error)
        else:
            keep_cache_for(selected, cache, say)
            selections.append(selected)
            for model, fault in selected.refused:
                errors.append(fault)
                lacking.append(_lacking(model, fault, _folder_for(request, selected), selected))
    if errors and not selections:
        raise together(errors)
    asked = _asked_folders(request, selections)
    with cache.using(say):
        _keep_models_for(asked, cache)
        found = verify(
            asked,
            store,
            hosts_for=lambda base_dir: model_hosts(base_dir, timeout_s=timeout_s, say=say),
            overwrite=overwrite,
            rehash=rehash,
            downloaded=frozenset().union(*(selected.downloaded for selected in selections)),
            say=say,
            progress=progress,
        )
        # Those that were made now.
        _keep_models_for(asked, cache)
    if errors:
        return replace(
            found,
            # The models of a folder are together.
            models=tuple(sorted((*found.models, *lacking), key=lambda model: model.models_dir)),
            error=together([*errors, *([found.error] if found.error else [])]),
        )
    if request.memory is not None:
        request.memory.note(asked)
    return found


def _keep_models_for(asked: Sequence[AskedFolder], cache: Cache) -> None:
    """Records the folders: the links in them keep models in the store."""
    for folder in asked:
        if folder.models:
            record_models(cache, folder.models_dir)


def _has_models(version_id: str | None, request: ModelRequest) -> bool:
    loaded = read_spec(version_id, request.spec, request.project)
    return bool(loaded.spec.models)


def _asked_folders(request: ModelRequest, selections: Sequence[Selected]) -> list[AskedFolder]:
    by_folder: dict[Path, list[Selected]] = {}
    for selected in selections:
        by_folder.setdefault(_folder_for(request, selected), []).append(selected)
    return [
        in_one_folder(
            models_dir,
            (_asked_model(model, each) for each in some for model in each.lock.models),
            is_own=len(some) == 1 and _is_own(models_dir, some[0]),
        )
        for models_dir, some in by_folder.items()
    ]


def _lacking(
    model: UnhashedModel, error: ComfyError, models_dir: Path, selected: Selected
) -> VerifiedModel:
    return VerifiedModel(
        **vars(_asked_model(model, selected)),
        models_dir=models_dir,
        state="missing",
        reason=error.message.removeprefix(f"model {model.target_path}: "),
        linked=False,
    )


def _folder_for(request: ModelRequest, selected: Selected) -> Path:
    return request.models_dir or _home_of(selected).models


def _is_own(models_dir: Path, selected: Selected) -> bool:
    return real(models_dir) == real(_home_of(selected).models)


def _home_of(selected: Selected) -> HomeLayout:
    return HomeLayout(root=find_home(selected.lock.version_id, None, os.environ))


def _asked_model(model: LockedModel | UnhashedModel, selected: Selected) -> AskedModel:
    return AskedModel(
        name=model.name,
        target_path=model.target_path,
        sha256=model.sha256 or "",
        size=model.size or 0,
        versions=(selected.lock.version_id,),
        base_dir=selected.base_dir,
        sources=model.sources,
    )


@checked
def sync_volumes(
    version_id: str | None = None,
    *,
    volumes: list[str],
    spec: StrPath | None = None,
    lock: StrPath | None = None,
    overwrite: bool = False,
    timeout_s: Seconds | None = None,
    project: StrPath | None = None,
    say: Say = say_nothing,
    explain: Say = say_nothing,
    progress: Progress = UNSEEN,
) -> Filled:
    """Brings the models of a version to network volumes, such as "EU-RO-1/4jw1fcocwl", over S3.

    What a volume lacks goes there from the store of this machine, and into that from the model's
    sources. With `overwrite` another file in the place of a model is replaced. A server may be
    silent for `timeout_s` seconds. A version without a lock is resolved first. Raises what
    `resolve` raises, and AccessDeniedError, GoneError and UnavailableError for volumes that cannot
    be used; what could not be brought there is the `error` of the result.
    """
    named = [volume_named(volume, os.environ) for volume in volumes]
    selected = select(
        version_id,
        spec=spec,
        lock=lock,
        project=project,
        command="realize {} --update",
        timeout_s=timeout_s,
        say=say,
        explain=explain,
        progress=progress,
    )
    cache = Cache.from_environment()
    keep_cache_for(selected, cache, say)
    hosts = model_hosts(selected.base_dir, timeout_s=timeout_s, say=say)
    with cache.using(say):
        return fill_volumes(
            selected.lock.models,
            named,
            ModelStore(cache.models),
            hosts,
            overwrite=overwrite,
            say=say,
            progress=progress,
        )
