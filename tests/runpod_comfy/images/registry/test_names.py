"""What an image is called in a registry."""

from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.images.registry.names import check_tag, pushed_names, split_reference

LOCK = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("demo", ("demo", "latest")),
        ("demo:1", ("demo", "1")),
        ("localhost:5000/me/demo", ("localhost:5000/me/demo", "latest")),
        ("localhost:5000/me/demo:1", ("localhost:5000/me/demo", "1")),
    ],
)
def test_a_port_is_not_a_tag(reference: str, parts: tuple[str, str]) -> None:
    assert split_reference(reference) == parts


@pytest.mark.parametrize(
    ("reference", "registry", "repository"),
    [
        ("runpod-comfy:demo", "ghcr.io/me", "ghcr.io/me/runpod-comfy"),
        ("runpod-comfy:demo", "ghcr.io/me/", "ghcr.io/me/runpod-comfy"),
        ("runpod-comfy:demo", "127.0.0.1:5000", "127.0.0.1:5000/runpod-comfy"),
        ("me/comfy:demo", "docker.io", "docker.io/me/comfy"),
        ("ghcr.io/me/comfy:demo", None, "ghcr.io/me/comfy"),
        ("ghcr.io/me/comfy:demo", "ghcr.io/me", "ghcr.io/me/comfy"),
        ("ghcr.io/me/comfy:demo", "ghcr.io", "ghcr.io/me/comfy"),
    ],
)
def test_an_image_is_pushed_by_its_tag_and_by_version_and_lock(
    reference: str, registry: str | None, repository: str
) -> None:
    names = pushed_names(reference, registry, version_id="demo", lock_digest=LOCK)

    assert names == [f"{repository}:demo", f"{repository}:demo-0123456789ab"]


@pytest.mark.parametrize(
    ("reference", "registry", "words"),
    [
        ("runpod-comfy:demo", None, "no registry"),
        ("me/comfy:demo", "", "no registry"),
        ("runpod-comfy:demo", "https://ghcr.io/me", "no scheme"),
        ("ghcr.io/me/comfy:demo", "quay.io/me", "another registry"),
    ],
)
def test_a_registry_that_is_missing_or_cannot_be_meant_is_refused(
    reference: str, registry: str | None, words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words) as raised:
        pushed_names(reference, registry, version_id="demo", lock_digest=LOCK)

    assert raised.value.remedy
    assert "make" not in raised.value.remedy


@pytest.mark.parametrize(
    "name", ["Bad Tag!", "me/Comfy:1", "", ":1", f"me/comfy@sha256:{'0' * 64}"]
)
def test_what_no_image_can_be_called_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a valid image name"):
        check_tag(name)


@pytest.mark.parametrize("name", ["comfy", "me/comfy:1", "host.example:5000/me/a-b_c:v1.2"])
def test_what_an_image_can_be_called(name: str) -> None:
    assert check_tag(name) == name
