from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from comfy_home.layout import MARKER_NAME
from comfy_home.manifest import (
    ChangedFile,
    CheckReport,
    Manifest,
    ManifestModel,
    load_manifest,
    save_manifest,
)
from comfy_models.model_file import ModelSource, Pin


def test_a_manifest_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    manifest = Manifest(
        version_id="demo",
        lock_digest="sha256:" + "a" * 64,
        complete=True,
        layers={"core": "k"},
        models=[ManifestModel(target_path="vae/x.pth", sha256="b" * 64, size=3)],
        env={"A": "1"},
        check=CheckReport(
            comfyui_version="0.3.75",
            node_classes={"mine": ["Mine"]},
            folder_names={"vae": ["vae"]},
            flags=["--cpu"],
            model_inputs={"VAELoader": {"vae_name": ["vae"]}},
        ),
    )
    save_manifest(tmp_path, manifest)
    assert load_manifest(tmp_path) == manifest
    assert [path.name for path in tmp_path.iterdir()] == [MARKER_NAME]


def test_a_folder_without_marker_has_no_manifest(tmp_path: Path) -> None:
    assert load_manifest(tmp_path) is None


def test_a_report_from_before_model_inputs_is_still_read(tmp_path: Path) -> None:
    (tmp_path / MARKER_NAME).write_text(
        '{"check": {"comfyui_version": "1", "node_classes": {}, "folder_names": {}, "flags": []}}',
        encoding="utf-8",
    )
    manifest = load_manifest(tmp_path)
    assert manifest is not None
    assert manifest.check is not None
    assert manifest.check.model_inputs == {}


def test_models_of_an_earlier_manifest_are_read(tmp_path: Path) -> None:
    model = {"target_path": "vae/x.pth", "sha256": "b" * 64, "size": 3}
    earlier = [
        {**model, "source": "hf://o/n/x", "revision": "c" * 40, "mirrors": ["https://h/x"]},
        {**model, "source": None, "revision": None, "mirrors": []},
    ]
    (tmp_path / MARKER_NAME).write_text(json.dumps({"models": earlier}), encoding="utf-8")
    manifest = load_manifest(tmp_path)
    assert manifest is not None
    first, second = manifest.models
    assert first.sources == [
        ModelSource(url="hf://o/n/x", pin=Pin(commit="c" * 40)),
        ModelSource(url="https://h/x"),
    ]
    assert second.sources == []


@pytest.mark.parametrize("text", ["", "{", '{"manifest_version": 2}', '{"more": 1}'])
def test_a_broken_marker_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / MARKER_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=MARKER_NAME):
        load_manifest(tmp_path)


@pytest.mark.parametrize("path", ["../x.pth", "vae/../../x.pth", "/etc/x.pth", "vae/", ""])
def test_a_model_outside_the_models_folder_is_refused(tmp_path: Path, path: str) -> None:
    model = {"target_path": path, "sha256": "b" * 64, "size": 3}
    (tmp_path / MARKER_NAME).write_text(json.dumps({"models": [model]}), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"'models\[0\].target_path' must") as caught:
        load_manifest(tmp_path)
    assert str(tmp_path / MARKER_NAME) in caught.value.message


def test_a_changed_file_is_named_on_one_line() -> None:
    report = CheckReport(
        comfyui_version="0.3.75",
        node_classes={},
        folder_names={},
        flags=[],
        changed=[ChangedFile(path="a\n\x1b[2J.json", change="added")],
    )
    said = "Starting ComfyUI changes 1 file of the home: a\\n\\x1b[2J.json (added)"
    assert report.changes_in_words == said
