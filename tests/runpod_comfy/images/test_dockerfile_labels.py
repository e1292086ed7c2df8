"""Labels say what an image is and what it was made from, and nothing of when or where."""

from __future__ import annotations

import json
from pathlib import Path

from runpod_comfy.images.dockerfile import labels, layer_keys
from runpod_comfy.lock.store import load_lock

DEMO = load_lock(Path(__file__).parents[3] / "lockfiles" / "comfy-demo.lock.json")
LOCK = DEMO.model_copy(
    update={
        "epoch": 1_766_627_436,
        "comfy": DEMO.comfy.model_copy(
            update={"commit": "abc", "repo": "https://me:token@example.org/me/comfy"}
        ),
    }
)
LAYERS = [("torch", "sha256:1"), ("node:a b", "sha256:2")]


def test_labels_name_version_lock_base_and_layers() -> None:
    made = labels(
        LOCK,
        LAYERS,
        base_name="debian:bookworm-slim",
        base_digest="sha256:3",
    )
    oci = "org.opencontainers.image."
    assert made == {
        "io.runpod-comfy.layers": json.dumps(LAYERS, separators=(",", ":")),
        "io.runpod-comfy.lock": LOCK.digest,
        f"{oci}base.digest": "sha256:3",
        f"{oci}base.name": "debian:bookworm-slim",
        f"{oci}created": "2025-12-25T01:50:36Z",
        f"{oci}revision": "abc",
        f"{oci}source": "https://***@example.org/me/comfy",
        f"{oci}title": "ComfyUI demo",
        f"{oci}version": "demo",
    }
    assert list(made) == sorted(made)
    assert layer_keys(made) == LAYERS


def test_what_is_not_known_has_no_label_and_no_password_gets_into_one() -> None:
    made = labels(LOCK, [], base_name="x")
    assert "token" not in "".join(made.values())
    assert not {name for name in made if name.endswith("base.digest")}


def test_an_image_without_our_labels_has_no_keys() -> None:
    assert layer_keys({}) == []
    assert layer_keys({"io.runpod-comfy.layers": "not JSON"}) == []
    assert layer_keys({"io.runpod-comfy.layers": '{"a": 1}'}) == []
