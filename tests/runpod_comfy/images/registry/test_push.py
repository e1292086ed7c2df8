"""Pushes by engines that cannot run here; tests of a real engine have those to real registries."""

from __future__ import annotations

import json

import pytest

from comfy_errors import OperationFailedError
from runpod_comfy.cache.paths import Cache
from runpod_comfy.images.docker.connection import connect
from runpod_comfy.images.docker.stream import Message
from runpod_comfy.images.registry.push import (
    PushedLayer,
    PushRecord,
    PushResult,
    PushShow,
    push,
    record_push,
)
from tests.runpod_comfy.images.canned_engine import CannedEngine, served

DIGEST = "sha256:8fd8e3e774e692d6ddc99f83fae92a160d2f760ad81cd1d2fa17d91c634834cb"
# Engine 26.1 with its images in containerd's store, which names layers by their packed bytes and
# the image's digest in a sentence alone.
CONTAINERD: list[Message] = [
    {"status": "The push refers to repository [127.0.0.1:5000/me/demo]"},
    {
        "status": "Pushing",
        "progressDetail": {"current": 1548801, "total": 1548801},
        "id": "36ea8b1fd2c4",
    },
    {"status": "Pushed", "progressDetail": {}, "id": "36ea8b1fd2c4"},
    {"status": f"1: digest: {DIGEST} size: 405"},
]


def _push(messages: list[Message]) -> PushResult:
    engine = CannedEngine(
        image={"Id": "sha256:1", "RootFS": {"Layers": ["sha256:2"]}},
        stream=b"".join(json.dumps(message).encode() + b"\r\n" for message in messages),
    )
    with served(engine) as address:
        return push(connect(address), "127.0.0.1:5000/me/demo:1", show=PushShow())


def test_the_digest_and_layers_of_containerds_store_are_reported() -> None:
    result = _push(CONTAINERD)

    assert result.digest == DIGEST
    assert [(layer.digest, layer.how, layer.size_bytes) for layer in result.layers] == [
        ("36ea8b1fd2c4", "pushed", 1548801)
    ]


def test_a_push_that_ends_without_a_digest_is_a_failure() -> None:
    with pytest.raises(OperationFailedError, match="closed the stream"):
        _push(CONTAINERD[:-1])


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
