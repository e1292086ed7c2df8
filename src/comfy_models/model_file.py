"""A model file, the noun of this package: what the lock and the manifest of a version say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class ModelFile(Protocol):
    """A model that a version needs: the models of a lock are such, and those of a manifest.

    `target_path` is below a models folder, `sha256` 64 hex digits, `size` in bytes. `source` and
    `mirrors` are where its bytes come from; `revision` is the commit of a source on the Hugging
    Face Hub.
    """

    @property
    def target_path(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def source(self) -> str | None: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def mirrors(self) -> Sequence[str]: ...
