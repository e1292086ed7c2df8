"""The name of a build, the proxies passed to it, and what it reports about its base."""

from __future__ import annotations

import pytest

from runpod_comfy.images.base.catalogue import BaseImage
from runpod_comfy.images.build import base_digest_label, image_tags, proxies
from runpod_comfy.images.dockerfile import BASE_DIGEST
from tests.locks import small_lock

DIGEST = "sha256:" + "5" * 64
BASE = BaseImage(image="registry.example:5000/python:3.11")


def test_the_engine_tells_the_digest_of_a_base_by_tag() -> None:
    inspected = {
        "RepoDigests": [f"python@sha256:{'4' * 64}", f"registry.example:5000/python@{DIGEST}"]
    }
    assert base_digest_label(inspected, BASE) == {BASE_DIGEST: DIGEST}


@pytest.mark.parametrize("inspected", [{}, {"RepoDigests": None}, {"RepoDigests": []}])
def test_a_base_from_no_registry_has_no_digest(inspected: dict[str, object]) -> None:
    assert base_digest_label(inspected, BASE) == {}


def test_a_digest_in_the_dockerfile_is_not_reported_twice() -> None:
    base = BaseImage(image=BASE.image, digest=DIGEST)
    assert (
        base_digest_label({"RepoDigests": [f"registry.example:5000/python@{DIGEST}"]}, base) == {}
    )


def test_an_image_is_called_by_its_version_and_by_its_lock() -> None:
    lock = small_lock()
    short = lock.digest.removeprefix("sha256:")[:12]
    name = lock.version_id
    assert image_tags(lock) == [f"runpod-comfy:{name}", f"runpod-comfy:{name}-{short}"]
    assert image_tags(lock, tag="host:5000/me/comfy:1") == [
        "host:5000/me/comfy:1",
        f"host:5000/me/comfy:{name}-{short}",
    ]


def test_the_proxy_of_pip_counts_where_the_environment_has_none() -> None:
    assert proxies({"NO_PROXY": "intern"}, "proxy:3128") == {
        "NO_PROXY": "intern",
        "HTTP_PROXY": "http://proxy:3128",
        "HTTPS_PROXY": "http://proxy:3128",
    }
    assert proxies({"HTTPS_PROXY": "http://other"}, "proxy:3128") == {"HTTPS_PROXY": "http://other"}
