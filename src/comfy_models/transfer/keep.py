"""Stores a model whose bytes come from elsewhere than its sources, such as a bundle."""

from __future__ import annotations

import os
from collections.abc import Iterable

from comfy_errors import MismatchError
from comfy_files.files import write_hashed
from comfy_files.progress import say_nothing
from comfy_models.store import ModelStore
from comfy_models.transfer.claim import claimed
from comfy_models.transfer.place import in_store


def keep(chunks: Iterable[bytes], store: ModelStore, *, where: str, expected_sha256: str) -> None:
    """Stores bytes as they arrive, unless the store has them; `where` names their origin.

    Raises MismatchError, and stores nothing, if the sha256 is not the expected one.
    """
    place = in_store(store, expected_sha256)
    with claimed(place, title=where, say=say_nothing) as claim:
        if claim is None or place.recover(expected_sha256):
            return
        place.parts.unlink(missing_ok=True)
        os.ftruncate(claim.descriptor, 0)
        try:
            with os.fdopen(os.dup(claim.descriptor), "wb") as stream:
                sha256, _ = write_hashed(chunks, stream)
            if sha256 != expected_sha256:
                raise MismatchError(
                    f"{where} has sha256 {sha256}, but {expected_sha256} was expected",
                    remedy="Put the right file there, or resolve the version again.",
                )
        except BaseException:
            place.discard()
            raise
        claim.require(now=True)
        place.put(expected_sha256, claim.descriptor)
