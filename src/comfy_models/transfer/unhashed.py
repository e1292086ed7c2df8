"""A model whose sha256 no host tells: it is learnt while the file is downloaded into the store."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from comfy_files.files import disk_errors, replace_file
from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_files.space import require_room
from comfy_http.redaction import without_secrets
from comfy_http.retries import retried
from comfy_models.model_file import ModelSource
from comfy_models.sources.errors import NotAModelError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.kinds import source_for
from comfy_models.store import ModelStore
from comfy_models.transfer.claim import LostError, claimed
from comfy_models.transfer.filling import Filling
from comfy_models.transfer.journal import Form
from comfy_models.transfer.partial import PART_BYTES
from comfy_models.transfer.place import OTHER_STORE, Place, unhashed_in_store
from comfy_models.transfer.traffic import Traffic

_ATTEMPTS = 6


def fetch_unhashed(
    one: ModelSource,
    store: ModelStore,
    hosts: Hosts,
    *,
    target_path: str,
    say: Say = say_nothing,
    progress: Progress = UNSEEN,
    remember: Callable[[Path, str], object] = lambda _path, _sha256: None,
) -> tuple[str, int]:
    """The sha256 (64 hex digits) and the size in bytes of a model, which is then in the store.

    An interrupted download is resumed if the host says that the file is still the same. Raises
    ComfyError if the source does not give it.
    """
    traffic = Traffic(hosts, say=say, progress=progress)
    with disk_errors(f"the model store {store.root} could not be written", remedy=OTHER_STORE):
        sha256, size_bytes = _fetch_from(one, store, traffic, target_path)
        remember(store.path_of(sha256), sha256)
    return sha256, size_bytes


def _fetch_from(
    one: ModelSource, store: ModelStore, traffic: Traffic, target_path: str
) -> tuple[str, int]:
    source = source_for(one.url, traffic.hosts, one.pin)
    with contextlib.closing(
        retried(lambda: source.open(0, 1), url=one.url, say=traffic.say)
    ) as beginning:
        size, validator = beginning.size, beginning.validator
    # Without a promise that the file is the same, its beginning is of no use.
    is_same = size is not None and validator is not None
    tag = hashlib.sha256(f"{one.url}\n{validator}".encode()).digest()
    form = Form(size_bytes=size, part_bytes=PART_BYTES, tag=tag if is_same else os.urandom(32))
    place = unhashed_in_store(store, one.url)
    while True:
        try:
            with claimed(place, title=target_path, say=traffic.say) as claim:
                assert claim is not None
                if (known := _learnt(place, form, store)) is not None:
                    place.discard()
                    return known
                require_room([(place.work, (size or 0) - place.written_bytes)], remedy=OTHER_STORE)
                with (
                    traffic.progress.file("models", target_path, size_bytes=size) as count,
                    Filling(claim, form, traffic, count) as filling,
                ):
                    try:
                        sha256 = filling.fill(
                            one, source, name=target_path, attempts=_ATTEMPTS, validator=validator
                        )
                    except NotAModelError:
                        filling.start_over()
                        raise
                    claim.require(now=True)
                    found = sha256, filling.partial.received_bytes
                    place.put(sha256, claim.descriptor)
                    _note(place, form, *found)
                    return found
        except LostError:
            traffic.say(f"Another machine took over the download of {without_secrets(one.url)}")


def _learnt(place: Place, form: Form, store: ModelStore) -> tuple[str, int] | None:
    """What an earlier download found of the same file, if that is still stored."""
    try:
        tag, sha256, size = place.learnt.read_text(encoding="ascii").split()
        is_known = tag == form.tag.hex() and store.holds(sha256)
        return (sha256, int(size)) if is_known else None
    except (OSError, ValueError):
        return None


def _note(place: Place, form: Form, sha256: str, size_bytes: int) -> None:
    with contextlib.suppress(OSError):
        replace_file(place.learnt, f"{form.tag.hex()} {sha256} {size_bytes}\n".encode())
