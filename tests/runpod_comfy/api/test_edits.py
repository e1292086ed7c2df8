"""`add_node`, `add_model` and `override` on a spec that a user wrote, with real repositories."""

from __future__ import annotations

import hashlib
import json
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import ComfyError, InvalidInputError, MismatchError, UnavailableError
from comfy_files.files import replace_file
from runpod_comfy import add_model, add_node, override, resolve
from tests.git_repositories import GitRepository, new_repository
from tests.specs import BARE_CORE, core_repository

_SPEC = """{
  "schema_version": 2, "version_id": "mine",
  "env": {"A": "b"},
  "comfy": {"repo": "%s", "ref": "main"},
  "custom_nodes": [
    {"name": "Painter", "repo": "../nodes/painter"}
  ]
}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the version `mine`, whose node is a folder."""
    core = core_repository(tmp_path / "core", BARE_CORE, "")
    folder = tmp_path / "work"
    for name in ("painter", "brush"):
        (folder / "nodes" / name).mkdir(parents=True)
        (folder / "nodes" / name / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    (folder / "versions").mkdir()
    (folder / "versions" / "mine.json").write_text(_SPEC % core.url)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    for name in ("COMFY_VERSION_NAME", "LOCK_PATH"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    return new_repository(
        tmp_path / "Small-Node", {"__init__.py": "", "packs/one/__init__.py": ""}, tag="v1"
    )


def _spec(folder: Path) -> Any:
    return json.loads((folder / "versions" / "mine.json").read_text())


def test_a_node_is_added_at_the_commit_that_its_ref_means_now(
    folder: Path, repository: GitRepository
) -> None:
    before = (folder / "versions" / "mine.json").read_text()
    edited = add_node("mine", f"{repository.url}@main")
    commit = repository.git("rev-parse", "main")
    node = {"name": "Small-Node", "repo": repository.url, "ref": "main", "commit": commit}
    assert (edited.version_id, edited.written, edited.added) == ("mine", True, (node,))
    assert edited.path == folder / "versions" / "mine.json"
    # In the layout of the entry before it.
    last = '    {"name": "Painter", "repo": "../nodes/painter"}'
    expected = before.replace(last, f"{last},\n    {json.dumps(node)}")
    assert edited.path.read_text() == expected


def test_a_node_may_have_a_name_and_lie_in_a_folder_of_its_repository(
    folder: Path, repository: GitRepository
) -> None:
    add_node("mine", f"{repository.url}@v1#subdir=packs/one", name="first")
    add_node("mine", {"repo": repository.url, "name": "second", "ref": "v1"})
    first, second = _spec(folder)["custom_nodes"][1:]
    assert (first["name"], first["subdir"], first["ref"]) == ("first", "packs/one", "v1")
    assert (second["name"], second["ref"]) == ("second", "v1")


def test_a_path_is_from_the_working_directory_and_written_from_the_specs_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "nodes")
    add_node(None, "brush", spec="../versions/mine.json")
    assert _spec(folder)["custom_nodes"][1] == {"name": "brush", "repo": "../nodes/brush"}
    monkeypatch.chdir(folder)
    assert [node.name for node in resolve("mine").lock.custom_nodes] == ["Painter", "brush"]


def test_a_file_may_bring_several_nodes(folder: Path, repository: GitRepository) -> None:
    nodes = [{"repo": repository.url}, {"repo": "nodes/brush"}]
    (folder / "nodes.json").write_text(json.dumps(nodes))
    add_node("mine", "nodes.json")
    assert [node["name"] for node in _spec(folder)["custom_nodes"]] == [
        *("Painter", "Small-Node", "brush")
    ]


def test_a_name_that_is_taken_is_refused_with_what_to_do(
    folder: Path, repository: GitRepository
) -> None:
    add_node("mine", repository.url)
    before = (folder / "versions" / "mine.json").read_bytes()
    with pytest.raises(InvalidInputError, match="already has a custom node 'Painter'") as caught:
        add_node("mine", repository.url, name="painter")
    assert "--name" in caught.value.remedy
    with pytest.raises(InvalidInputError, match="already has a custom node 'Small-Node'") as caught:
        add_node("mine", f"{repository.url}@v1")
    assert "resolve mine --upgrade Small-Node" in caught.value.remedy
    assert (folder / "versions" / "mine.json").read_bytes() == before


def test_a_model_file_gets_its_place_and_its_checksum(folder: Path) -> None:
    (folder / "m.safetensors").write_bytes(b"weights")
    edited = add_model("mine", "m.safetensors", target_subdir="vae", auto_checksum=True)
    (model,) = _spec(folder)["models"]
    assert edited.added == (model,)
    assert model == {
        "name": "m.safetensors",
        "source": "../m.safetensors",
        "target_subdir": "vae",
        "target_path": "vae/m.safetensors",
        "checksum": "sha256:" + hashlib.sha256(b"weights").hexdigest(),
    }


def test_models_may_be_objects_files_and_urls(folder: Path) -> None:
    url = "https://e.com/a/x.safetensors"
    add_model("mine", url, target_subdir="loras", name="y.safetensors")
    add_model("mine", {"source": url, "target_path": "vae/x.safetensors", "size": 3})
    (folder / "more.json").write_text(json.dumps([{"source": url, "target_subdir": "unet"}]))
    add_model("mine", "more.json")
    places = [model["target_path"] for model in _spec(folder)["models"]]
    assert places == ["loras/y.safetensors", "vae/x.safetensors", "unet/x.safetensors"]


def test_a_place_that_is_taken_is_refused(folder: Path) -> None:
    add_model("mine", "https://e.com/x.bin", target_subdir="vae")
    before = (folder / "versions" / "mine.json").read_bytes()
    with pytest.raises(InvalidInputError, match="already has a model at 'vae/x.bin'"):
        add_model("mine", "https://e.com/other/X.bin", target_subdir="vae")
    assert (folder / "versions" / "mine.json").read_bytes() == before


def test_the_version_of_a_distribution_is_set_and_set_again(folder: Path) -> None:
    assert override("mine", "numpy==1.26").written
    edited = override("mine", "NumPy==2.0")
    assert (edited.added, edited.replaced) == (("NumPy==2.0",), ("numpy==1.26",))
    assert _spec(folder)["options"] == {"overrides": ["NumPy==2.0"]}
    before = (folder / "versions" / "mine.json").stat().st_mtime_ns
    assert not override("mine", "NumPy==2.0").written
    assert (folder / "versions" / "mine.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: add_node("mine", "nodes/none"), UnavailableError, "add-node: there is no folder"),
        (lambda: add_node("mine", '{"rep": "x"}'), InvalidInputError, "unknown key 'rep'"),
        (lambda: add_node("mine", {"repo": "nodes/brush"}, name="x"), InvalidInputError, "--name"),
        (lambda: add_node("none", "nodes/brush"), UnavailableError, "no version spec"),
        (lambda: add_model("mine", "m.bin"), InvalidInputError, "needs a target folder"),
        (lambda: add_model("mine", "m.bin", target_subdir="vae"), UnavailableError, "m.bin"),
        (
            lambda: add_model("mine", "{}", target_subdir="vae"),
            InvalidInputError,
            "--target-subdir",
        ),
        (lambda: add_model("mine", "none.json"), UnavailableError, "add-model: there is no file"),
        (lambda: add_model("mine", "[]"), InvalidInputError, "add-model: the list is empty"),
        (lambda: add_node("mine", "[]"), InvalidInputError, "add-node: the list is empty"),
        (
            lambda: add_model(
                "mine",
                {"source": "nodes/brush/__init__.py", "checksum": "0" * 64, "target_subdir": "vae"},
                auto_checksum=True,
            ),
            MismatchError,
            "checksum",
        ),
        (lambda: override("mine", "numpy=1"), InvalidInputError, "must be a requirement"),
        (lambda: override("mine", "numpy===="), InvalidInputError, "must be a requirement"),
        (lambda: override("mine", "a @ https://e.com/a.whl"), InvalidInputError, "released"),
    ],
)
def test_what_cannot_be_added_is_refused_and_the_file_stays(
    folder: Path, call: Any, error: type[ComfyError], sentence: str
) -> None:
    before = (folder / "versions" / "mine.json").read_bytes()
    with pytest.raises(error, match=sentence):
        call()
    assert (folder / "versions" / "mine.json").read_bytes() == before


def test_the_file_stays_a_link_and_keeps_its_permissions(folder: Path) -> None:
    spec = folder / "versions" / "mine.json"
    real = spec.rename(folder / "versions" / "real.json")
    real.chmod(0o600)
    spec.symlink_to(real)
    override("mine", "numpy<2")
    assert spec.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert _spec(folder)["options"] == {"overrides": ["numpy<2"]}


def test_several_at_once_all_get_in(folder: Path) -> None:
    names = [f"node-{number}" for number in range(8)]
    threads = [
        threading.Thread(target=add_node, args=("mine", "nodes/brush"), kwargs={"name": name})
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {node["name"] for node in _spec(folder)["custom_nodes"]} == {"Painter", *names}


def test_an_edit_during_an_upgrade_is_kept(
    folder: Path, repository: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_node("mine", repository.url)
    newer = repository.commit("newer", {"__init__.py": "# newer\n"})
    edit = threading.Thread(target=add_node, args=("mine", "nodes/brush"))

    def replace_while_edited(path: Path, content: bytes, **options: Any) -> None:
        # The upgrade has read the file, and has not written it yet.
        if threading.current_thread() is not edit:
            edit.start()
            edit.join(timeout=0.5)
        replace_file(path, content, **options)

    monkeypatch.setattr("runpod_comfy.spec.write.replace_file", replace_while_edited)
    assert [pin.after for pin in resolve("mine", upgrade=["Small-Node"]).moved] == [newer]
    edit.join()
    nodes = {node["name"]: node.get("commit") for node in _spec(folder)["custom_nodes"]}
    assert nodes == {"Painter": None, "Small-Node": newer, "brush": None}
