from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_errors import UnavailableError
from comfy_home.manifest import CheckReport, Manifest, save_manifest
from rp_handler.home.realized import open_home
from rp_handler.job.listing import listing


def test_node_classes_are_those_that_the_check_recorded(home: Path, tmp_path: Path) -> None:
    opened = open_home(home, version_id="demo", id_was_asked=True)
    facts = {"display_name": "Save", "category": "image", "python_module": "nodes", "input": {}}
    opened.object_info.write_text(json.dumps({"SaveImage": facts, "Bare": {}}))
    assert listing("nodes", opened, tmp_path)["nodes"] == [
        {"name": "Bare", "display_name": "Bare", "category": "", "module": ""},
        {"name": "SaveImage", "display_name": "Save", "category": "image", "module": "nodes"},
    ]


def test_the_nodes_of_an_unchecked_version_are_not_known(home: Path, tmp_path: Path) -> None:
    opened = open_home(home, version_id="demo", id_was_asked=True)
    with pytest.raises(UnavailableError, match="never checked"):
        listing("nodes", opened, tmp_path)


def test_models_are_listed_as_nodes_offer_them(home: Path, tmp_path: Path) -> None:
    check = CheckReport(
        comfyui_version="1",
        node_classes={},
        folder_names={"loras": ["loras"], "vae": ["vae"]},
        flags=[],
    )
    save_manifest(home, Manifest(version_id="demo", complete=True, check=check))
    (home / "models/loras/inner").mkdir(parents=True)
    for name in ("b.safetensors", "inner/a.safetensors", "notes.txt"):
        (home / "models/loras" / name).touch()
    opened = open_home(home, version_id="demo", id_was_asked=True)
    found = listing("models", opened, tmp_path)
    assert found == {"models": {"loras": ["b.safetensors", "inner/a.safetensors"]}}


def test_workflows_are_those_of_the_folder(home: Path, tmp_path: Path) -> None:
    opened = open_home(home, version_id="demo", id_was_asked=True)
    folder = tmp_path / "workflows"
    folder.mkdir()
    for name in ("b.json", "a.json", "notes.txt"):
        (folder / name).touch()
    assert listing("workflows", opened, folder) == {"workflows": ["a", "b"]}
