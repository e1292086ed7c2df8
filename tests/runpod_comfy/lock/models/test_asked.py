"""A folder of the Hub is one model of a spec and many of a lock."""

from __future__ import annotations

import hashlib

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from comfy_models.model_file import ModelSource, Pin
from runpod_comfy.lock.models.asked import KnownModel
from tests.model_hosts.hub import HubDouble
from tests.runpod_comfy.lock.model_shelf import Shelf

FILES = {
    "README.md": b"# Small",
    "unet/config.json": b"{}",
    "unet/model.safetensors": b"weights" * 100,
    "unet/deep/more.safetensors": b"more weights" * 100,
}
UNET = {"name": "unet", "source": "hf://org/small@main/unet/", "target_path": "diffusers/small"}


@pytest.fixture
def small(hub_here: HubDouble) -> HubDouble:
    """A Hub with the repository org/small."""
    hub_here.publish("org/small", FILES)
    return hub_here


def test_every_file_of_a_folder_is_a_model_of_the_lock_at_one_commit(
    shelf: Shelf, small: HubDouble
) -> None:
    commit = small.publish("org/small", FILES)
    locked = shelf.lock(UNET)
    assert [(model.name, model.target_path) for model in locked.models] == [
        ("unet/deep/more.safetensors", "diffusers/small/deep/more.safetensors"),
        ("unet/model.safetensors", "diffusers/small/model.safetensors"),
    ]
    _, model = locked.models
    sha256 = hashlib.sha256(FILES["unet/model.safetensors"]).hexdigest()
    assert (model.sha256, model.size) == (sha256, 700)
    url = "hf://org/small@main/unet/model.safetensors"
    assert model.sources == [ModelSource(url=url, pin=Pin(commit=commit, etag=sha256))]
    # The Hub does not tell the sha256 of files in Git.
    (config,) = locked.unhashed
    assert (config.name, config.index, config.size) == ("unet/config.json", 0, 2)
    assert config.sources[0].pin.commit == commit
    # It was asked for the list, and nothing of a file was read.
    assert all(request.path.startswith("/api/models/") for request in small.asked)


def test_a_whole_repository_is_a_folder_too(shelf: Shelf, small: HubDouble) -> None:
    asked = UNET | {"source": "hf://org/small/", "target_path": "LLM/unet"}
    locked = shelf.lock(asked)
    places = sorted(each.target_path for each in (*locked.models, *locked.unhashed))
    assert places == [f"LLM/unet/{path}" for path in sorted(FILES)]


def test_a_folder_stays_at_its_commit(shelf: Shelf, small: HubDouble) -> None:
    before = shelf.lock(UNET)
    small.publish("org/small", FILES | {"unet/new.safetensors": b"new"})
    small.asked.clear()
    known: list[KnownModel] = [*before.models, *before.unhashed]
    assert shelf.lock(UNET, known=known) == before
    assert shelf.lock(UNET, known=known, offline=True) == before
    assert small.asked == []
    (error,) = shelf.pin(UNET, offline=True)[1]
    assert isinstance(error, UnavailableError)
    assert "cannot be listed (--offline)" in error.message
    assert len(shelf.lock(UNET).models) == 3


def test_pickles_of_a_folder_are_allowed_by_the_name_of_the_folder(
    shelf: Shelf, small: HubDouble
) -> None:
    small.publish("org/small", FILES | {"unet/old.bin": b"pickle", "unet/older.pt": b"pickle"})
    (error,) = shelf.faults(UNET)
    assert isinstance(error, InvalidInputError)
    assert "diffusers/small/old.bin, diffusers/small/older.pt" in error.message
    assert '{"allow_pickle": ["unet"]}' in error.remedy
    shelf.options = {"allow_pickle": ["unet"]}
    assert shelf.faults(UNET) == []


def test_a_file_at_the_place_of_a_folders_file_is_refused_with_both_names(
    shelf: Shelf, small: HubDouble
) -> None:
    shelf.put("a.gguf")
    path = "diffusers/small/Model.safetensors"
    (error,) = shelf.faults(UNET, {"name": "mine", "source": "a.gguf", "target_path": path})
    assert isinstance(error, InvalidInputError)
    assert "the models unet/model.safetensors and mine both go to" in error.message
    inside = {"name": "mine", "source": "a.gguf", "target_path": "diffusers/small/config.json/x"}
    (error,) = shelf.faults(UNET, inside)
    assert "below the file of the model unet/config.json" in error.message


def test_a_file_whose_path_cannot_be_a_place_is_refused(shelf: Shelf, small: HubDouble) -> None:
    name = f"{'x' * 300}.safetensors"
    small.publish("org/small", {f"unet/{name}": b"x"})
    (error,) = shelf.faults(UNET)
    assert isinstance(error, InvalidInputError)
    assert f"model unet: hf://org/small@main/unet/ has the file '{name}', whose" in error.message
    assert "longer than 255 bytes" in error.message


def test_all_models_that_need_a_token_are_named_in_one_error(
    shelf: Shelf, small: HubDouble
) -> None:
    small.publish("org/gated", {"a.safetensors": b"x"}, access="gated")
    small.publish("org/private", {"unet/a.safetensors": b"x"}, access="private")
    gated, private = sorted(
        error.in_words()
        for error in shelf.faults(
            {"source": "hf://org/gated/a.safetensors"},
            UNET | {"source": "hf://org/private/unet/"},
        )
    )
    for words, name in ((gated, "org/gated"), (private, "org/private")):
        assert words.startswith("error: model ")
        assert name in words
        assert "HF_TOKEN" in words
