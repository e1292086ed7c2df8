"""A model file that a version needs, and what its hosts promise about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field

from comfy_files.inner_path import check_inner_file
from comfy_files.json_model import Strict


def _check_sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("must be 64 lower-case hex digits")
    return value


Sha256 = Annotated[str, AfterValidator(_check_sha256)]
"""64 hex digits. Files are named by them, so a lock must not have anything else."""


TargetPath = Annotated[str, AfterValidator(check_inner_file)]
"""A POSIX path of a file below a models folder."""


class Pin(Strict):
    """What the host of a URL promises; None is what it did not tell.

    `commit` is the Hugging Face Hub's, 40 hex digits. `etag` is a strong ETag without its quotes,
    of the Hub, a web server or S3. `generation` and `crc32c` (base64) are those of Google Cloud
    Storage, `version_id` and `file_id` those of Civitai. `length` is a web server's
    Content-Length, in bytes.
    """

    commit: str | None = None
    etag: str | None = None
    generation: int | None = None
    crc32c: str | None = None
    version_id: int | None = None
    file_id: int | None = None
    length: int | None = None


class ModelSource(Strict):
    """Where a model file comes from: the URL or path of the spec, and what its host promises."""

    url: str
    pin: Pin = Field(default_factory=Pin)


class ModelFile(Protocol):
    """A model that a version needs. The models of a lock and of a manifest satisfy this protocol.

    `target_path` is relative to a models folder, `sha256` has 64 hex digits, `size` is in bytes.
    The `sources` are tried in order.
    """

    @property
    def target_path(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sources(self) -> Sequence[ModelSource]: ...
