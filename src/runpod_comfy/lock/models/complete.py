"""Completes a lock: models whose sha256 no host reports are downloaded, and the lock is written
again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import ComfyError, MismatchError, UnavailableError, together
from comfy_errors.names import listed, quantity
from comfy_files.parallel import in_parallel
from comfy_files.progress import UNSEEN, Progress, Say
from comfy_http.redaction import without_secrets
from comfy_models.model_file import ModelSource
from comfy_models.sources.errors import ChangedError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.kinds import asked
from comfy_models.store import ModelStore
from comfy_models.transfer.traffic import FILES_AT_ONCE
from comfy_models.transfer.unhashed import fetch_unhashed
from comfy_models.verify import HashMemory, store_memory
from runpod_comfy.cache.paths import Cache
from runpod_comfy.lock.model import Lock, LockedModel, UnhashedModel
from runpod_comfy.lock.models.pin import change_of_pin
from runpod_comfy.lock.store import find_lock, load_lock, write_lock_again
from runpod_comfy.sources.model_hosts import model_hosts
from runpod_comfy.spec.load import LoadedSpec


@dataclass(frozen=True, kw_only=True)
class _Downloads:
    """Downloads models into the store. `upgrade` is the command that accepts another file, without
    the model's name.
    """

    store: ModelStore
    hosts: Hosts
    memory: HashMemory
    upgrade: str
    say: Say
    progress: Progress

    def bring(self, model: UnhashedModel) -> LockedModel:
        """The model with its sha256, once it is in the store. Raises one error for all sources if
        none gives it as it was pinned.
        """
        faults: list[ComfyError] = []
        for source in model.sources:
            try:
                locked = self._from_source(model, source)
            except ComfyError as error:
                faults.append(error)
            else:
                self.progress.arrived("models", count=1)
                return locked
        raise together(faults).within(f"model {model.target_path}")

    def _from_source(self, model: UnhashedModel, source: ModelSource) -> LockedModel:
        told = asked(source.url, self.hosts, source.pin)
        # There is no sha256 that would show that it is another file than when it was pinned.
        if change := change_of_pin(source.pin, told.pin):
            what, before, now = change
            raise ChangedError(
                f"{without_secrets(source.url)} has another file than when it was pinned: its "
                f"{what} is {now}, not {before}",
                remedy=f"Accept it with: {self.upgrade} {model.name}",
            )
        self._require_agreement(model, source, told.sha256, told.size)
        sha256, size = fetch_unhashed(
            source,
            self.store,
            self.hosts,
            target_path=model.target_path,
            say=self.say,
            progress=self.progress,
            remember=self.memory.keep,
        )
        self._require_agreement(model, source, sha256, size)
        return LockedModel(
            name=model.name,
            sources=model.sources,
            sha256=sha256,
            size=size,
            target_path=model.target_path,
            format=model.format,
            hashed_on_download=True if model.sha256 is None else None,
        )

    def _require_agreement(
        self, model: UnhashedModel, source: ModelSource, sha256: str | None, size: int | None
    ) -> None:
        accept = f"Correct 'source' in the spec, or accept it with: {self.upgrade} {model.name}"
        for what, expected, found, remedy in (
            ("size in bytes", model.size, size, accept),
            ("sha256", model.sha256, sha256, "Correct 'checksum' in the spec, or 'source'."),
        ):
            if None not in (expected, found) and expected != found:
                raise MismatchError(
                    f"{without_secrets(source.url)} has the {what} {found}, not {expected}",
                    remedy=remedy,
                )


def hash_models(
    lock: Lock,
    store: ModelStore,
    hosts: Hosts,
    *,
    say: Say,
    progress: Progress = UNSEEN,
    failed: Callable[[UnhashedModel, ComfyError], object] | None = None,
) -> Lock:
    """`lock` with all of its models in `models`. Its `unhashed_models` are in the store then.

    `failed` gets each model that no source gives, which stays in `unhashed_models`; without it, one
    error for all of them is raised.
    """
    unhashed = lock.unhashed_models
    if not unhashed:
        return lock
    say(f"Downloading {in_words(unhashed)}, because no host reports the sha256")
    size_bytes = sum(model.size or 0 for model in unhashed)
    progress.expect("models", count=len(unhashed), size_bytes=size_bytes)
    downloads = _Downloads(
        store=store,
        hosts=hosts,
        memory=store_memory(store),
        upgrade=f"runpod-comfy resolve {lock.version_id} --upgrade",
        say=say,
        progress=progress,
    )

    def bring(model: UnhashedModel) -> LockedModel | None:
        try:
            return downloads.bring(model)
        except ComfyError as error:
            if failed is None:
                raise
            failed(model, error)
            return None

    hashed = in_parallel(bring, unhashed, threads=FILES_AT_ONCE)
    models: list[LockedModel | None] = list(lock.models)
    pairs = list(zip(unhashed, hashed, strict=True))
    for model, locked in sorted(pairs, key=lambda pair: pair[0].index):
        models.insert(model.index, locked)
    left = [model for model, locked in pairs if locked is None]
    whole = [model for model in models if model is not None]
    return lock.model_copy(update={"models": whole, "unhashed_models": left})


def in_words(models: list[UnhashedModel]) -> str:
    return f"{quantity(len(models), 'model')} ({listed([model.name for model in models])})"


@dataclass(frozen=True, kw_only=True)
class LockPlace:
    """Where a lock was read from: its file, or the spec that it matches, or both.

    Relative paths of models are based on `base_dir`.
    """

    path: Path | None
    loaded: LoadedSpec | None
    base_dir: Path

    def read(self, cache: Cache) -> Lock | None:
        if self.loaded is not None:
            found = find_lock(self.loaded, cache)
            return found[0] if found else None
        return load_lock(self.path) if self.path else None

    def write(self, lock: Lock, cache: Cache) -> list[Path]:
        spec_path = self.loaded.path if self.loaded else None
        return write_lock_again(lock, self.path, spec_path=spec_path, cache=cache)


def complete(
    lock: Lock,
    place: LockPlace,
    *,
    offline: bool,
    timeout_s: float | None = None,
    failed: Callable[[UnhashedModel, ComfyError], object] | None = None,
    say: Say,
    progress: Progress,
) -> Lock:
    """The lock with every model hashed, which is on the disk too. Another command may have
    completed it meanwhile.

    `failed` gets each model that cannot be downloaded: the lock is then returned without it, and
    not written. Raises UnavailableError if it is `offline`, and without `failed` what a download
    raises.
    """
    if offline:
        raise UnavailableError(
            f"the lock of {lock.version_id} is incomplete: no host reports the sha256 of "
            f"{in_words(lock.unhashed_models)}, and network access is off (--offline)",
            remedy=f"Download them once with: runpod-comfy resolve {lock.version_id} --hash-models",
        )
    cache = Cache.from_environment()
    key = f"models of {lock.digest}"
    with cache.using(say), cache.key_lock(key, what="this lock complete", say=say):
        current = place.read(cache)
        if current and current.spec_digest == lock.spec_digest and not current.unhashed_models:
            return current
        hosts = model_hosts(place.base_dir, timeout_s=timeout_s, say=say)
        store = ModelStore(cache.models)
        whole = hash_models(lock, store, hosts, say=say, progress=progress, failed=failed)
        if not whole.unhashed_models:
            for path in place.write(whole, cache):
                say(f"Wrote {path}: the lock is complete")
    return whole
