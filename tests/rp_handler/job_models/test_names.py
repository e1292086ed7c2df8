from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from comfy_home.manifest import Manifest, save_manifest
from rp_handler.home.realized import Home, open_home
from rp_handler.job_models.names import directories_of_engine, file_in_the_way, names_of


def test_only_directories_below_a_models_folder_count(opened: Home) -> None:
    assert directories_of_engine(opened) == {
        "checkpoints": ["checkpoints"],
        "loras": ["loras"],
        "text_encoders": ["text_encoders", "clip"],
        "upscale_models": ["upscale_models"],
    }


def test_of_an_unchecked_version_nothing_is_known(home: Path) -> None:
    save_manifest(home, Manifest(version_id="demo", complete=True))
    with pytest.raises(UnavailableError, match="never checked"):
        directories_of_engine(open_home(home, version_id="demo", id_was_asked=False))


def test_names_are_those_in_each_folder_of_the_engine() -> None:
    known = {"loras": ["loras"], "clip": ["text_encoders", "clip"], "faces": ["loras/faces"]}
    assert names_of("clip/a/x.sft", known) == [("clip", "a/x.sft")]
    assert names_of("loras/faces/x.sft", known) == [("loras", "faces/x.sft"), ("faces", "x.sft")]


@pytest.mark.parametrize("path", ["lora/x.sft", "x.sft", "custom_nodes/x.sft", "loras.sft"])
def test_other_folders_are_refused(path: str) -> None:
    with pytest.raises(InvalidInputError, match="is not in a model folder of this version"):
        names_of(path, {"loras": ["loras"]})
    with pytest.raises(InvalidInputError, match="the nearest is loras/"):
        names_of("lora/x.sft", {"loras": ["loras"]})


def test_a_file_of_another_directory_of_the_folder_is_in_the_way(opened: Home) -> None:
    known = directories_of_engine(opened)
    names = names_of("text_encoders/x.sft", known)
    assert file_in_the_way(names, opened.model_folders()) is None
    file = opened.models / "clip/x.sft"
    file.parent.mkdir()
    file.touch()
    assert file_in_the_way(names, opened.model_folders()) == file
