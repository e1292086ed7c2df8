"""The labels of an image: what it is, what it was built from, and the key of each layer.

Names beginning with `org.opencontainers.image.` are those of
https://github.com/opencontainers/image-spec/blob/main/annotations.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from comfy_http.redaction import without_secrets
from runpod_comfy.lock.model import Lock

TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
CREATED = "org.opencontainers.image.created"
LOCK = "io.runpod-comfy.lock"
CUDA = "io.runpod-comfy.cuda"
LAYERS = "io.runpod-comfy.layers"


def labels(
    lock: Lock,
    layers: Sequence[tuple[str, str]],
    *,
    base_name: str,
    base_digest: str | None = None,
    cuda: str | None = None,
) -> dict[str, str]:
    """The labels of the lock's image, sorted by name; they do not depend on the time of the build.

    `layers` are name and key of each layer, in the order of the image. `cuda` is the CUDA version
    of its torch; None values are left out. Revision and source are ComfyUI's.
    """
    known = {
        TITLE: f"ComfyUI {lock.version_id}",
        VERSION: lock.version_id,
        REVISION: lock.comfy.commit,
        SOURCE: without_secrets(lock.comfy.repo),
        BASE_NAME: base_name,
        BASE_DIGEST: base_digest,
        CREATED: datetime.fromtimestamp(lock.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        LOCK: lock.digest,
        CUDA: cuda,
        LAYERS: json.dumps([list(layer) for layer in layers], separators=(",", ":")),
    }
    return {name: value for name, value in sorted(known.items()) if value}


def layer_keys(found: Mapping[str, str]) -> list[tuple[str, str]]:
    """The name and key of each layer from an image's labels; empty if they have none."""
    try:
        return [(str(name), str(key)) for name, key in json.loads(found.get(LAYERS, "[]"))]
    except (ValueError, TypeError):
        return []
