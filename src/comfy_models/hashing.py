"""Hashes the files of models on all cores, each of them once as long as it does not change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from comfy_errors import UnavailableError
from comfy_files.files import os_reason
from comfy_files.parallel import HASHING_THREADS, in_parallel
from comfy_files.progress import Say
from comfy_models.verify import HashMemory


def hash_files(files: Mapping[Path, str], memory: HashMemory, say: Say) -> dict[Path, str]:
    """The sha256 of each file, as 64 hex digits. `files` maps paths to their names in messages.

    Raises UnavailableError for all that cannot be read.
    """

    def hashed(path: Path) -> str:
        try:
            known = memory.recall(path)
            if known is not None:
                return known
            say(f"Hashing {files[path]}")
            return memory.hash_of(path)
        except OSError as error:
            raise UnavailableError(
                f"the model file {path} cannot be read: {os_reason(error)}",
                remedy="Check its permissions.",
            ) from error

    found = in_parallel(hashed, files, threads=HASHING_THREADS)
    memory.save()
    return dict(zip(files, found, strict=True))
