"""What was pushed from here, written down: which digest a name in a registry stands for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_files.atomic import replace_file
from runpod_comfy.cache.paths import Cache
from runpod_comfy.images.registry.names import split_reference
from runpod_comfy.images.registry.push import PushResult


@dataclass(frozen=True, kw_only=True)
class PushRecord:
    """A push, the version and the lock that its image was built from, and the engine's image id."""

    pushed: PushResult
    version_id: str
    lock_digest: str
    image_id: str

    def document(self) -> dict[str, Any]:
        return {
            "reference": self.pushed.reference,
            "digest": self.pushed.digest,
            "pinned": self.pushed.pinned,
            "version_id": self.version_id,
            "lock_digest": self.lock_digest,
            "image": self.image_id,
            "layers": [
                {"digest": layer.digest, "how": layer.how, "size_bytes": layer.size_bytes}
                for layer in self.pushed.layers
            ],
        }


def record_push(cache: Cache, record: PushRecord) -> Path:
    """Writes `pushed/<repository>/<tag>.json` in the cache, in place of an older one."""
    repository, tag = split_reference(record.pushed.reference)
    path = cache.pushed / repository / f"{tag}.json"
    with cache.writing():
        text = json.dumps(record.document(), indent=2, sort_keys=True) + "\n"
        replace_file(path, text.encode())
    return path
