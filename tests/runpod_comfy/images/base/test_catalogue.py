"""The base of an image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.images.base.catalogue import CATALOGUE, BaseImage, find_base
from runpod_comfy.lock.model import Base
from runpod_comfy.lock.python.building import DEVEL_BASE
from tests.locks import python_lock, small_lock

_DIGEST = "sha256:" + "d" * 64
_OTHER = "sha256:" + "e" * 64


@pytest.mark.parametrize("name", ["cpu", "cuda", DEVEL_BASE])
@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_the_catalogue_has_bases_for_the_usual_pythons(name: str, python: str) -> None:
    base = find_base(small_lock(python=python_lock(version=python)), asked=name)
    assert base.image
    assert python in base.image or f"python{python}" in base.packages


def test_who_asks_for_nothing_gets_the_one_of_the_lock_and_else_cpu() -> None:
    lock = small_lock(base=Base(image="cuda-devel"))
    assert find_base(lock) == find_base(lock, asked="cuda-devel")
    assert find_base(small_lock()) == find_base(small_lock(), asked="cpu")
    assert find_base(lock, asked="cpu") == find_base(small_lock())


def test_a_python_that_a_base_lacks_is_reported_with_those_it_has() -> None:
    lock = small_lock(python=python_lock(version="3.14"))
    with pytest.raises(InvalidInputError) as raised:
        find_base(lock, asked="cuda-devel")
    assert "no Python 3.14, only 3.11, 3.12" in raised.value.message


@pytest.mark.parametrize(
    ("asked", "image", "digest"),
    [
        ("debian:bookworm-slim", "debian:bookworm-slim", None),
        ("me/comfy", "me/comfy", None),
        ("registry.example.org:5000/me/comfy:1", "registry.example.org:5000/me/comfy:1", None),
        (f"debian@{_DIGEST}", "debian", _DIGEST),
        (f"127.0.0.1:5000/debian:12@{_DIGEST}", "127.0.0.1:5000/debian:12", _DIGEST),
    ],
)
def test_any_reference_will_do(asked: str, image: str, digest: str | None) -> None:
    base = find_base(small_lock(), asked=asked)
    assert base == BaseImage(image=image, digest=digest)
    assert base.reference == asked


@pytest.mark.parametrize(
    "asked", ["gpu", "debian", "Me/Comfy:1", "a b:1", "x:1\nRUN evil", "-x:1", "x:1@sha256:12", ":"]
)
def test_what_is_neither_is_refused(asked: str) -> None:
    with pytest.raises(InvalidInputError, match="neither a base"):
        find_base(small_lock(), asked=asked)


def test_the_digest_of_the_lock_belongs_to_its_image_alone() -> None:
    lock = small_lock(base=Base(image="me/base:1", digest=_DIGEST))
    assert find_base(lock).reference == f"me/base:1@{_DIGEST}"
    assert find_base(lock, asked="me/base:1").reference == f"me/base:1@{_DIGEST}"
    assert find_base(lock, asked=f"me/base:1@{_OTHER}").digest == _OTHER
    assert find_base(lock, asked="me/other:1").digest is None


@pytest.mark.parametrize("text", ["", "[]", '{"cpu": {"3.11": {}}}', '{"cpu": {"3.11": "x"}}'])
def test_a_broken_catalogue_is_reported_by_its_path(tmp_path: Path, text: str) -> None:
    catalogue = tmp_path / "bases.json"
    catalogue.write_text(text)
    with pytest.raises(InvalidInputError, match=r"bases\.json is not a catalogue"):
        find_base(small_lock(), catalogue=catalogue)


def test_every_base_of_the_catalogue_is_a_reference() -> None:
    for pythons in json.loads(CATALOGUE.read_text()).values():
        for entry in pythons.values():
            assert find_base(small_lock(), asked=entry["image"]).image == entry["image"]
