"""The models of a lock: hashed here, told by their hosts, or kept from the lock before."""

from __future__ import annotations

import hashlib
import os

import pytest

from comfy_errors import MismatchError
from comfy_models.model_file import ModelSource, Pin
from comfy_models.verify import HashMemory
from runpod_comfy.lock.model import LockedModel, UnhashedModel
from runpod_comfy.lock.models.asked import KnownModel
from runpod_comfy.lock.models.pin import lock_models
from tests.http_server import Answer
from tests.runpod_comfy.lock.model_shelf import Shelf

SHA256 = hashlib.sha256(b"weights").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


def test_a_model_whose_checksum_and_size_are_known_is_not_downloaded(shelf: Shelf) -> None:
    shelf.put("a.safetensors", b"weights" * 100_000)
    source = f"{shelf.url}/a.safetensors"
    (model,) = shelf.lock({"source": source, "checksum": f"sha256:{SHA256}"}).models
    assert (model.sha256, model.size, model.format) == (SHA256, 700_000, "safetensors")
    assert model.target_path == "vae/a.safetensors"
    assert model.hashed_on_download is None
    (asked,) = shelf.asked
    assert asked.headers["Range"] == "bytes=0-1023"


def test_a_model_that_no_host_tells_the_hash_of_waits_for_its_first_download(shelf: Shelf) -> None:
    shelf.put("a.safetensors")
    shelf.answers["/endless"] = Answer(headers={"Connection": "close"}, body=b"weights")
    locked = shelf.lock(
        {"source": "a.safetensors", "target_path": "vae/1"},
        {"source": f"{shelf.url}/a.safetensors", "target_path": "vae/2.safetensors"},
        {"source": "a.safetensors", "target_path": "vae/3"},
        {"source": f"{shelf.url}/endless", "target_path": "vae/4", "checksum": f"sha256:{SHA256}"},
    )
    assert [model.target_path for model in locked.models] == ["vae/1", "vae/3"]
    second, fourth = locked.unhashed
    assert second == UnhashedModel(
        name="a.safetensors",
        sources=[ModelSource(url=f"{shelf.url}/a.safetensors", pin=Pin(length=7))],
        target_path="vae/2.safetensors",
        format="safetensors",
        index=1,
        size=7,
    )
    assert (fourth.index, fourth.sha256, fourth.size) == (3, SHA256, None)


def test_a_mirror_on_this_machine_tells_the_hash(shelf: Shelf) -> None:
    shelf.put("a.safetensors")
    model = {"source": f"{shelf.url}/a.safetensors", "mirrors": ["a.safetensors"]}
    (locked,) = shelf.lock(model).models
    assert locked.sha256 == SHA256
    shelf.put("a.safetensors", b"changed")
    pinned, faults = shelf.pin(model, known=[locked])
    assert faults == []
    with pytest.raises(MismatchError, match=f"has sha256 .*, the lock says {SHA256}") as caught:
        lock_models(pinned, HashMemory([]), shelf.said.append)
    assert "--upgrade a.safetensors" in caught.value.remedy


def test_pins_are_kept_and_no_host_is_asked_for_them(shelf: Shelf) -> None:
    shelf.answers["/a"] = Answer(headers={"ETag": '"v1"'}, body=b"weights")
    shelf.answers["/b"] = Answer(headers={"ETag": '"v1"'}, body=b"weights")
    hashed = {"source": f"{shelf.url}/a", "target_path": "vae/a", "checksum": f"sha256:{SHA256}"}
    unhashed = {"source": f"{shelf.url}/b", "target_path": "vae/b"}
    before = shelf.lock(hashed, unhashed)
    shelf.asked.clear()
    shelf.answers["/a"] = Answer(headers={"ETag": '"v2"'}, body=b"other")
    known: list[KnownModel] = [*before.models, *before.unhashed]
    assert shelf.lock(hashed, unhashed, known=known) == before
    assert shelf.lock(hashed, unhashed, known=known, offline=True) == before
    assert shelf.asked == []


def test_a_mirror_that_is_new_in_the_spec_is_pinned_alone(shelf: Shelf) -> None:
    shelf.answers["/a"] = Answer(headers={"ETag": '"v1"'}, body=b"weights")
    shelf.answers["/b"] = Answer(headers={"ETag": '"v1"'}, body=b"weights")
    alone = {"source": f"{shelf.url}/a", "checksum": f"sha256:{SHA256}"}
    before = shelf.lock(alone)
    shelf.asked.clear()
    model = {**alone, "mirrors": [f"{shelf.url}/b"]}
    (locked,) = shelf.lock(model, known=before.models).models
    assert [source.pin.etag for source in locked.sources] == ["v1", "v1"]
    assert [request.path for request in shelf.asked] == ["/b"]
    (locked,) = shelf.lock(model, known=before.models, offline=True).models
    assert [source.pin.etag for source in locked.sources] == ["v1", None]
    assert "cannot be asked (--offline)" in shelf.said[-1]
    shelf.answers["/b"] = Answer(body=b"longer than weights")
    (error,) = shelf.pin(model, known=before.models)[1]
    assert isinstance(error, MismatchError)
    assert "has 19 bytes, the lock says 7" in error.message


def test_a_pin_is_not_kept_for_another_checksum_or_size(shelf: Shelf) -> None:
    shelf.put("a.safetensors")
    model = {"source": f"{shelf.url}/a.safetensors"}
    before = shelf.lock(model | {"checksum": f"sha256:{SHA256}"})
    other = model | {"checksum": f"sha256:{OTHER}"}
    (locked,) = shelf.lock(other, known=before.models).models
    assert locked.sha256 == OTHER
    (error,) = shelf.pin(model | {"size": 8}, known=before.models)[1]
    assert "has 7 bytes, the spec says 8" in error.message


def test_what_was_learnt_at_a_download_stays_marked_until_the_spec_states_it(shelf: Shelf) -> None:
    model = {"source": f"{shelf.url}/a.safetensors"}
    known = LockedModel(
        name="a.safetensors",
        sources=[ModelSource(url=f"{shelf.url}/a.safetensors")],
        sha256=SHA256,
        size=7,
        target_path="vae/a.safetensors",
        format="safetensors",
        hashed_on_download=True,
    )
    assert shelf.lock(model, known=[known]).models == [known]
    stated = model | {"checksum": f"sha256:{SHA256}"}
    (locked,) = shelf.lock(stated, known=[known]).models
    assert locked.hashed_on_download is None


def test_a_file_that_was_hashed_and_not_changed_is_not_hashed_again(shelf: Shelf) -> None:
    path = shelf.put("a.safetensors")
    model = {"source": "a.safetensors"}
    before = shelf.lock(model)
    assert shelf.said == ["Hashing a.safetensors"]
    shelf.said.clear()
    assert shelf.lock(model) == before
    assert shelf.said == []
    path.write_bytes(b"WEIGHTS")
    os.utime(path, ns=(1, 1))
    (locked,) = shelf.lock(model).models
    assert locked.sha256 == hashlib.sha256(b"WEIGHTS").hexdigest()


def test_the_pin_of_a_file_that_is_gone_is_kept_with_a_warning(shelf: Shelf) -> None:
    path = shelf.put("a.safetensors")
    before = shelf.lock({"source": "a.safetensors"})
    path.unlink()
    shelf.said.clear()
    assert shelf.lock({"source": "a.safetensors"}, known=before.models) == before
    assert shelf.said == [f"Warning: a.safetensors is not at {path}; keeping its pin"]
