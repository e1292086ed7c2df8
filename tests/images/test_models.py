from __future__ import annotations

import json
import os

import yaml

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


def _run(bench: Bench, folders: str = "") -> None:
    (bench.core).mkdir(parents=True, exist_ok=True)
    (bench.core / "folder_paths.py").write_text(FOLDER_PATHS)
    (bench.core / "extra_model_paths.yaml").write_text("stray: {base_path: /nowhere}\n")
    bench.give({"folders.txt": folders})
    bench.run("models")


def _section(bench: Bench) -> dict[str, object]:
    document = yaml.safe_load((bench.core / "extra_model_paths.yaml").read_text())
    assert list(document) == ["runpod_comfy"]
    section: dict[str, object] = document["runpod_comfy"]
    return section


def test_the_core_is_asked_for_its_folders_and_each_value_is_a_string(bench: Bench) -> None:
    _run(bench)
    section = _section(bench)
    assert section.pop("base_path") == "../models"
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


def test_the_file_is_json_compatible_in_its_names(bench: Bench) -> None:
    _run(bench, 'odd: "name" #1\n')
    assert json.dumps('odd: "name" #1') in (bench.core / "extra_model_paths.yaml").read_text()
    assert _section(bench)['odd: "name" #1'] == 'odd: "name" #1'
