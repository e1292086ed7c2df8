"""The models of a version on network volumes of RunPod."""

from __future__ import annotations

import os

from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_models.store import ModelStore
from comfy_models.volumes.fill import Filled, fill_volumes
from comfy_models.volumes.volume import volume_named
from runpod_comfy.api.arguments import Seconds, checked
from runpod_comfy.api.versions import keep_cache_for, select
from runpod_comfy.api.workspace import StrPath
from runpod_comfy.cache.paths import Cache
from runpod_comfy.sources.model_hosts import model_hosts


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
