"""A lock whose models no host tells the sha256 of is completed by downloading them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import ComfyError, MismatchError, UnavailableError
from comfy_models.model_file import ModelSource, Pin
from comfy_models.store import ModelStore
from comfy_models.verify import store_memory
from runpod_comfy.lock.model import Lock, UnhashedModel
from runpod_comfy.lock.models.complete import hash_models
from runpod_comfy.sources.model_hosts import model_hosts
from tests.http_server import Answer
from tests.locks import model, small_lock
from tests.runpod_comfy.lock.model_shelf import Shelf


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def unhashed(url: str, index: int = 0, **changes: Any) -> UnhashedModel:
    fields: dict[str, Any] = {"name": "a", "target_path": f"vae/{index}", "format": "other"}
    sources = [ModelSource(url=url)]
    return UnhashedModel(**({**fields, "index": index, "sources": sources} | changes))


def complete(shelf: Shelf, store: ModelStore, *models: UnhashedModel) -> Lock:
    lock = small_lock(models=[model("vae/known")], unhashed_models=list(models))
    hosts = model_hosts(shelf.folder, say=shelf.said.append)
    return hash_models(lock, store, hosts, say=shelf.said.append)


def refused(shelf: Shelf, store: ModelStore, *models: UnhashedModel) -> ComfyError:
    with pytest.raises(ComfyError) as caught:
        complete(shelf, store, *models)
    assert not (store.root / "sha256").exists()
    left = store.root / "tmp"
    assert not left.exists() or list(left.iterdir()) == []
    return caught.value


def test_models_are_hashed_as_they_enter_the_store_and_take_their_places(
    shelf: Shelf, store: ModelStore
) -> None:
    shelf.put("a", b"first")
    shelf.put("b", b"second")
    stated = hashlib.sha256(b"second").hexdigest()
    later = unhashed(f"{shelf.url}/b", 2, name="b", sha256=stated)
    whole = complete(shelf, store, later, unhashed(f"{shelf.url}/a", 0, size=5))
    assert whole.unhashed_models == []
    first, known, second = whole.models
    assert (first.target_path, known.target_path, second.target_path) == (
        *("vae/0", "vae/known", "vae/2"),
    )
    assert (first.sha256, first.size) == (hashlib.sha256(b"first").hexdigest(), 5)
    assert (first.hashed_on_download, second.hashed_on_download) == (True, None)
    assert first.sources == [ModelSource(url=f"{shelf.url}/a")]
    for made in (first, second):
        assert store.path_of(made.sha256).stat().st_size == made.size
        assert store_memory(store).recall(store.path_of(made.sha256)) == made.sha256
    assert "2 models (b, a)" in shelf.said[0]


def test_a_complete_lock_asks_nobody(shelf: Shelf, store: ModelStore) -> None:
    lock = small_lock()
    hosts = model_hosts(shelf.folder)
    assert hash_models(lock, store, hosts, say=shelf.said.append) is lock
    assert shelf.said == []


def test_a_mirror_is_asked_if_the_source_does_not_give_it(shelf: Shelf, store: ModelStore) -> None:
    shelf.put("a", b"first")
    sources = [ModelSource(url=f"{shelf.url}/{name}") for name in ("gone", "a")]
    (made, _) = complete(shelf, store, unhashed("", sources=sources)).models
    assert made.sha256 == hashlib.sha256(b"first").hexdigest()
    assert made.sources == sources


def test_a_file_of_another_size_or_checksum_is_refused(shelf: Shelf, store: ModelStore) -> None:
    shelf.put("a", b"first")
    error = refused(shelf, store, unhashed(f"{shelf.url}/a", size=8))
    assert isinstance(error, MismatchError)
    assert "has the size in bytes 5, not 8" in error.message
    with pytest.raises(MismatchError, match=f"has the sha256 .*, not {'0' * 64}"):
        complete(shelf, store, unhashed(f"{shelf.url}/a", sha256="0" * 64))


def test_a_file_that_was_replaced_since_it_was_pinned_is_refused(
    shelf: Shelf, store: ModelStore
) -> None:
    shelf.answers["/a"] = Answer(headers={"ETag": '"v2"'}, body=b"first")
    sources = [ModelSource(url=f"{shelf.url}/a", pin=Pin(etag="v1", length=5))]
    error = refused(shelf, store, unhashed("", sources=sources))
    assert isinstance(error, MismatchError)
    assert "its entity tag is v2, not v1" in error.message
    assert "--upgrade a" in error.remedy


def test_a_web_page_is_no_model(shelf: Shelf, store: ModelStore) -> None:
    shelf.answers["/a"] = Answer(body=b"<!DOCTYPE html><html>Please log in</html>")
    error = refused(shelf, store, unhashed(f"{shelf.url}/a", target_path="vae/a.safetensors"))
    assert isinstance(error, MismatchError)


def test_every_model_that_cannot_be_had_is_named(shelf: Shelf, store: ModelStore) -> None:
    error = refused(
        shelf, store, unhashed(f"{shelf.url}/gone"), unhashed(f"{shelf.url}/away", 1, name="b")
    )
    assert isinstance(error, UnavailableError)
    assert "/gone" in error.message
    assert "/away" in error.message
