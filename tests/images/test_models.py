from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from runpod_comfy.images.image_paths import MODELS_LINK
from tests.images.conftest import EPOCH, Bench

FOLDER_PATHS = """
import os
base_path = os.path.dirname(os.path.realpath(__file__))
models_dir = os.path.join(base_path, "models")
folder_names_and_paths = {
    "checkpoints": ([os.path.join(models_dir, "checkpoints")], {".safetensors"}),
    "text_encoders": (
        [os.path.join(models_dir, "text_encoders"), os.path.join(models_dir, "clip")],
        {".safetensors"},
    ),
    "custom_nodes": ([os.path.join(base_path, "custom_nodes")], set()),
}
"""


def _run(bench: Bench, folders: str = "", variables: Mapping[str, str] | None = None) -> None:
    (bench.core).mkdir(parents=True, exist_ok=True)
    (bench.core / "folder_paths.py").write_text(FOLDER_PATHS)
    (bench.core / "extra_model_paths.yaml").write_text("stray: {base_path: /nowhere}\n")
    bench.give({"folders.txt": folders})
    bench.run("models", variables)


def _section(bench: Bench, name: str = "runpod_comfy") -> dict[str, object]:
    document = yaml.safe_load((bench.core / "extra_model_paths.yaml").read_text())
    section: dict[str, object] = document[name]
    return section


def test_the_core_is_asked_for_its_folders_and_each_value_is_a_string(bench: Bench) -> None:
    _run(bench)
    section = _section(bench)
    assert section.pop("base_path") == "models"
    assert section.pop("is_default") is True
    assert section == {"checkpoints": "checkpoints", "text_encoders": "clip\ntext_encoders\n"}


def test_a_core_that_cannot_list_its_folders_is_reported_without_a_traceback(bench: Bench) -> None:
    bench.core.mkdir(parents=True)
    (bench.core / "folder_paths.py").write_text("import no_such_module\n")
    bench.give({"folders.txt": ""})
    outcome = bench.attempt("models")
    assert outcome.returncode == 3
    assert "folder_paths.py does not import: ModuleNotFoundError" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_the_file_says_the_same_wherever_the_home_is(bench: Bench) -> None:
    _run(bench)
    assert str(bench.folder) not in (bench.core / "extra_model_paths.yaml").read_text()


def test_mount_points_and_folders_for_inputs_and_outputs_are_made(bench: Bench) -> None:
    _run(bench)
    made = {path.name for path in (bench.home / "models").iterdir()}
    assert made == {"checkpoints", "text_encoders", "clip"}
    assert all((bench.home / name).is_dir() for name in ("input", "output", "user"))


def test_a_folder_that_only_a_node_knows_is_named_too(bench: Bench) -> None:
    _run(bench, "checkpoints\nclip\nface models\n")
    assert _section(bench)["face models"] == "face models"
    assert "clip" not in _section(bench)
    assert (bench.home / "models" / "face models").is_dir()


def test_models_and_user_files_keep_their_times(bench: Bench) -> None:
    kept = [bench.home / "models/checkpoints/a.bin", bench.home / "output/picture.png"]
    for path in kept:
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1_700_000_000, 1_700_000_000))
    _run(bench)
    assert [path.stat().st_mtime for path in kept] == [1_700_000_000, 1_700_000_000]
    assert (bench.home / "models/checkpoints").stat().st_mtime == EPOCH


def test_asking_the_core_leaves_no_bytecode_that_depends_on_times(bench: Bench) -> None:
    _run(bench)
    assert not list(bench.core.rglob("*.pyc"))


def test_the_cores_models_folder_is_the_homes(bench: Bench) -> None:
    _run(bench, "LLM\n")
    assert (bench.core / "models").readlink() == Path("../models")
    (bench.core / "models/LLM/x.gguf").write_text("x")
    assert (bench.home / "models/LLM/x.gguf").read_text() == "x"
    assert (bench.core / "models").lstat().st_mtime == EPOCH


def test_in_an_image_it_leads_to_where_the_handler_says(bench: Bench) -> None:
    me = f"{os.getuid()}:{os.getgid()}"
    _run(bench, variables={"TARGET": "image", "IMAGE_USER": me})
    assert str((bench.core / "models").readlink()) == MODELS_LINK


def test_models_of_an_earlier_home_move_along(bench: Bench) -> None:
    old = bench.core / "models"
    (old / "LLM").mkdir(parents=True)
    (old / "LLM/a.gguf").write_text("a")
    (old / "LLM/same.gguf").write_text("same")
    (old / "LLM/link.gguf").symlink_to("a.gguf")
    (old / "outside").symlink_to("../../input")
    (bench.home / "models/LLM").mkdir(parents=True)
    (bench.home / "models/LLM/same.gguf").write_text("same")
    _run(bench)
    assert old.is_symlink()
    moved = bench.home / "models/LLM"
    assert sorted(path.name for path in moved.iterdir()) == ["a.gguf", "link.gguf", "same.gguf"]
    assert (moved / "link.gguf").read_text() == "a"
    assert (bench.home / "models/outside").resolve() == (bench.home / "input").resolve()


def test_two_different_models_for_one_place_are_reported_and_kept(bench: Bench) -> None:
    old, new = bench.core / "models/a.bin", bench.home / "models/a.bin"
    for path in (old, new):
        path.parent.mkdir(parents=True)
        path.write_text(str(path))
    (bench.core / "folder_paths.py").write_text(FOLDER_PATHS)
    bench.give({"folders.txt": ""})
    outcome = bench.attempt("models")
    assert outcome.returncode == 1
    assert f"{old} and {new} are different files for the same place" in outcome.stderr
    assert [path.read_text() for path in (old, new)] == [str(old), str(new)]


def test_files_that_the_core_ships_are_named_after_the_users(bench: Bench) -> None:
    (bench.core / "core_models/checkpoints").mkdir(parents=True)
    (bench.core / "core_models/other").mkdir()
    _run(bench)
    assert _section(bench, "core") == {
        "base_path": "core_models",
        "is_default": True,
        "checkpoints": "checkpoints",
    }
    # The core puts the last default first.
    names = list(yaml.safe_load((bench.core / "extra_model_paths.yaml").read_text()))
    assert names == ["core", "runpod_comfy"]


def test_a_repository_that_someone_works_on_keeps_its_folder(bench: Bench) -> None:
    (bench.core / ".git").mkdir(parents=True)
    (bench.core / "models").mkdir()
    _run(bench)
    assert not (bench.core / "models").is_symlink()
    assert _section(bench)["base_path"] == "../models"


def test_the_file_is_json_compatible_in_its_names(bench: Bench) -> None:
    _run(bench, 'odd: "name" #1\n')
    assert json.dumps('odd: "name" #1') in (bench.core / "extra_model_paths.yaml").read_text()
    assert _section(bench)['odd: "name" #1'] == 'odd: "name" #1'
