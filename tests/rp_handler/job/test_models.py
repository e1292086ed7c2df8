"""The models of a result: those that the graph names, with the sha256 that was verified."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_home.layout import OBJECT_INFO_NAME
from comfy_home.manifest import CheckReport, Manifest, save_manifest
from comfy_models.store import MEMORY_NAME
from comfy_models.verify import HashMemory
from comfy_workflows.graph import Graph, parse_workflow
from rp_handler.home.realized import Home, open_home
from rp_handler.job.models import models_in_result
from tests.graphs import node
from tests.model_downloads import keep

CLASSES = {
    "Loader": {"input": {"required": {"name": [[], {}]}}, "python_module": "nodes"},
    "Save": {"input": {"required": {"it": ["*"]}}, "output_node": True},
}
CONTENT = b"a model"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def opened(home: Path) -> Home:
    check = CheckReport(
        comfyui_version="1",
        node_classes={},
        folder_names={"loras": ["loras"]},
        flags=[],
        model_inputs={"Loader": {"name": ["loras"]}},
    )
    save_manifest(home, Manifest(version_id="demo", complete=True, check=check))
    (home / OBJECT_INFO_NAME).write_text(json.dumps(CLASSES))
    (home / "models/loras").mkdir()
    return open_home(home, version_id="demo", id_was_asked=False)


def graph(name: str) -> Graph:
    nodes = {"1": node("Loader", name=name), "2": node("Save", it=["1", 0])}
    return parse_workflow(nodes, place="g")


def test_a_link_into_a_store_has_the_sha256_of_the_store(opened: Home, tmp_path: Path) -> None:
    (opened.models / "loras/x.pth").symlink_to(keep(tmp_path / "store", CONTENT))
    found = models_in_result(graph("x.pth"), opened)
    assert found == [{"path": "loras/x.pth", "sha256": SHA256}]


@pytest.mark.parametrize("memory", ["of the folder", "of the search"])
def test_a_file_has_the_remembered_sha256_until_it_changes(
    opened: Home, tmp_path: Path, memory: str
) -> None:
    file = opened.models / "loras/x.pth"
    file.write_bytes(CONTENT)
    place = {"of the folder": opened.models, "of the search": tmp_path}[memory] / MEMORY_NAME
    HashMemory([place]).keep(file, SHA256)
    home = replace(opened, memory_files=(place,) if memory == "of the search" else ())
    assert models_in_result(graph("x.pth"), home) == [{"path": "loras/x.pth", "sha256": SHA256}]
    os.utime(file, (1, 1))
    assert models_in_result(graph("x.pth"), home) == [{"path": "loras/x.pth", "sha256": None}]


def test_a_file_that_was_never_verified_is_not_hashed(opened: Home) -> None:
    (opened.models / "loras/x.pth").write_bytes(CONTENT)
    assert models_in_result(graph("x.pth"), opened) == [{"path": "loras/x.pth", "sha256": None}]


def test_nothing_is_known_of_an_unchecked_version_and_of_what_is_gone(opened: Home) -> None:
    assert models_in_result(graph("gone.pth"), opened) == []
    (opened.models / "loras/x.pth").write_bytes(CONTENT)
    opened.object_info.unlink()
    assert models_in_result(graph("x.pth"), replace(opened)) == []
