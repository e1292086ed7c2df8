"""The digest of the image that a container runs, as `COMFY_IMAGE` states it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from comfy_errors import InvalidInputError

IMAGE_VARIABLE = "COMFY_IMAGE"
_DIGEST = re.compile(r"(?:[a-z0-9][a-z0-9._:/-]{0,254}@)?sha256:[0-9a-f]{64}")


def image_digest(environment: Mapping[str, str]) -> str | None:
    """`REPOSITORY@sha256:…` or `sha256:…`, None if it is not stated. Raises InvalidInputError."""
    stated = environment.get(IMAGE_VARIABLE, "").strip()
    if stated and not _DIGEST.fullmatch(stated):
        # A wrong value may be a login.
        raise InvalidInputError(
            f"{IMAGE_VARIABLE} is neither REPOSITORY@sha256:… nor sha256:…, with 64 hex digits",
            remedy="Set it to the digest that `runpod-comfy image push` prints, or unset it.",
        )
    return stated or None
