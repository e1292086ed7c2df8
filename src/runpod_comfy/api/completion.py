"""Completes the lock that a command is about to use: models without a known sha256 are downloaded
first, and the lock is written again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import ComfyError, UnavailableError
from comfy_files.progress import Progress, Say
from comfy_models.store import ModelStore
from runpod_comfy.cache.paths import Cache
from runpod_comfy.lock.model import Lock, UnhashedModel
from runpod_comfy.lock.store import find_lock, load_lock, write_lock_again
from runpod_comfy.spec.load import LoadedSpec


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
    # Imported late: a complete lock needs no network.
    from runpod_comfy.lock.models.complete import hash_models, in_words
    from runpod_comfy.sources.model_hosts import model_hosts

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
