"""What was pushed is written down in the cache."""

from __future__ import annotations

import json

from runpod_comfy.cache.paths import Cache
from runpod_comfy.images.registry.push import PushedLayer, PushResult
from runpod_comfy.images.registry.pushed import PushRecord, record_push


def _record(digest: str) -> PushRecord:
    layer = PushedLayer(digest="sha256:1", how="existing", size_bytes=None)
    reference = "127.0.0.1:5000/me/runpod-comfy:demo"
    return PushRecord(
        pushed=PushResult(reference=reference, digest=digest, layers=(layer,)),
        version_id="demo",
        lock_digest="sha256:2",
        image_id="sha256:3",
    )


def test_the_last_push_of_a_name_is_found_by_repository_and_tag(cache: Cache) -> None:
    record_push(cache, _record("sha256:old"))
    path = record_push(cache, _record("sha256:new"))

    assert path == cache.root / "pushed" / "127.0.0.1:5000/me/runpod-comfy" / "demo.json"
    assert json.loads(path.read_text()) == {
        "reference": "127.0.0.1:5000/me/runpod-comfy:demo",
        "digest": "sha256:new",
        "pinned": "127.0.0.1:5000/me/runpod-comfy@sha256:new",
        "version_id": "demo",
        "lock_digest": "sha256:2",
        "image": "sha256:3",
        "layers": [{"digest": "sha256:1", "how": "existing", "size_bytes": None}],
    }
