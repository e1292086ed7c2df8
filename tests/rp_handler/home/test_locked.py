from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_home.lock_bytes import lock_digest
from comfy_home.manifest import ChangedFile, CheckReport, Manifest, ManifestModel, save_manifest
from comfy_home.tree_hash import tree_hash
from rp_handler.home.locked import LOCKED, require_locked
from rp_handler.home.realized import Home, open_home
from rp_handler.variables import is_strict

_MODEL = b"the bytes of a model"
_PLACES = ("loras/a.safetensors", "node_models/n/weights/b.pth")


def write(path: Path, content: bytes | str = "x = 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def node(home: Path) -> Path:
    """The folder of the only node, `n`, of the version in `home`, which has two models and is like
    its lock.
    """
    folder = home / "ComfyUI/custom_nodes/n"
    write(folder / "__init__.py")
    write(folder / "web/n.js")
    lock = {"custom_nodes": [{"name": "n", "tree_hash": tree_hash(folder)}], "lock_version": 2}
    write(home / "lock.json", json.dumps(lock))
    for place in _PLACES:
        write(home / "models" / place, _MODEL)
    # As the home is made.
    (folder / "weights").mkdir()
    (folder / "weights/b.pth").symlink_to("../../../models/node_models/n/weights/b.pth")
    (home / "ComfyUI/models").rmdir()
    (home / "ComfyUI/models").symlink_to("../models")
    write(home / "ComfyUI/core_models/configs/shipped.ckpt")
    write(home / "ComfyUI/custom_nodes/of_core.py")
    write(home / ".comfy_core_files", "./custom_nodes/of_core.py\0./main.py\0")
    models = [
        ManifestModel(
            target_path=place, sha256=hashlib.sha256(_MODEL).hexdigest(), size=len(_MODEL)
        )
        for place in _PLACES
    ]
    digest = lock_digest(lock)
    save_manifest(
        home, Manifest(version_id="demo", lock_digest=digest, complete=True, models=models)
    )
    return folder


def opened(home: Path) -> Home:
    return open_home(home, version_id="demo", id_was_asked=False)


def with_changes(home: Path, *changed: ChangedFile) -> None:
    """The start of the check changed these files."""
    manifest = opened(home).manifest
    check = CheckReport(
        comfyui_version="1", node_classes={}, folder_names={}, flags=[], changed=list(changed)
    )
    save_manifest(home, manifest.model_copy(update={"check": check}))


@pytest.mark.usefixtures("node")
def test_a_home_like_its_lock_is_known_to_be_locked(home: Path) -> None:
    assert not opened(home).is_locked
    assert require_locked(opened(home), None).is_locked


def _another_node(home: Path) -> None:
    write(home / "ComfyUI/custom_nodes/other/__init__.py")


def _another_file_as_a_node(home: Path) -> None:
    write(home / "ComfyUI/custom_nodes/other.py")


def _changed_file(home: Path) -> None:
    write(home / "ComfyUI/custom_nodes/n/__init__.py", "x = 2\n")


def _added_file(home: Path) -> None:
    write(home / "ComfyUI/custom_nodes/n/late.py")


def _removed_file(home: Path) -> None:
    (home / "ComfyUI/custom_nodes/n/web/n.js").unlink()


def _file_for_a_link(home: Path) -> None:
    link = home / "ComfyUI/custom_nodes/n/weights/b.pth"
    link.unlink()
    write(link)


def _missing_node(home: Path) -> None:
    (home / "ComfyUI/custom_nodes/n").rename(home / "away")


def _another_model(home: Path) -> None:
    write(home / "models/loras/late.safetensors")


def _another_model_in_a_linked_folder(home: Path) -> None:
    write(home / "elsewhere/deep/late.CKPT")
    (home / "elsewhere/round").symlink_to("..")
    (home / "models/linked").symlink_to(home / "elsewhere")


def _changed_model(home: Path) -> None:
    write(home / "models/loras/a.safetensors", _MODEL[::-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_another_node, "other is not in the lock"),
        (_another_file_as_a_node, "other.py is not in the lock"),
        (_changed_file, "n is tree:"),
        (_added_file, "n is tree:"),
        (_removed_file, "n is tree:"),
        (_file_for_a_link, "n is tree:"),
        (_missing_node, "n is missing"),
        (_another_model, "models/loras/late.safetensors is not in the lock"),
        (_another_model_in_a_linked_folder, "linked/deep/late.CKPT is not in the lock"),
        (_changed_model, "loras/a.safetensors "),
    ],
)
@pytest.mark.usefixtures("node")
def test_what_differs_from_the_lock_is_refused(
    change: Callable[[Path], None], message: str, home: Path
) -> None:
    # Its bytes are remembered.
    require_locked(opened(home), None)
    change(home)
    with pytest.raises(MismatchError) as caught:
        require_locked(opened(home), None)
    assert message in caught.value.message
    assert caught.value.exit_code == 4
    assert len(caught.value.message.splitlines()) == 1


def test_what_was_added_when_the_home_was_made_may_be_there(home: Path, node: Path) -> None:
    write(node / "state.json")
    code = write(node / "made.py")
    changed = [
        ChangedFile(path=f"ComfyUI/custom_nodes/n/{name}", change="added", sha256="0" * 64)
        for name in ("state.json", "made.py")
    ]
    with_changes(home, *changed)
    with pytest.raises(MismatchError, match="n is tree:"):
        require_locked(opened(home), None)
    sha256 = hashlib.sha256(code.read_bytes()).hexdigest()
    with_changes(home, changed[0], changed[1].model_copy(update={"sha256": sha256}))
    require_locked(opened(home), None)
    write(node / "state.json", "another state")
    require_locked(opened(home), None)
    write(node / "installed.bin")
    files = [{"path": "installed.bin", "change": "added", "sha256": None}]
    write(home / ".comfy_install/n.json", json.dumps({"files": {"node": files}}))
    require_locked(opened(home), None)


@pytest.mark.usefixtures("node")
def test_the_lock_may_be_named_and_has_to_be_the_homes(home: Path, tmp_path: Path) -> None:
    named = tmp_path / "named.lock.json"
    (home / "lock.json").rename(named)
    with pytest.raises(UnavailableError, match="no lock to compare"):
        require_locked(opened(home), None)
    assert require_locked(opened(home), str(named)).is_locked
    write(named, json.dumps({"lock_version": 2, "custom_nodes": []}))
    with pytest.raises(InvalidInputError, match="is not the lock that"):
        require_locked(opened(home), str(named))


def test_only_strict_is_known() -> None:
    assert not is_strict({}, LOCKED)
    assert is_strict({"COMFY_LOCKED": "strict"}, LOCKED)
    with pytest.raises(InvalidInputError, match='COMFY_LOCKED is "yes"'):
        is_strict({"COMFY_LOCKED": "yes"}, LOCKED)


@pytest.mark.usefixtures("node")
def test_a_model_is_named_once(home: Path) -> None:
    _another_model(home)
    with pytest.raises(MismatchError) as caught:
        require_locked(opened(home), None)
    assert caught.value.message.count("late.safetensors") == 1
    assert os.fspath(home) in caught.value.message
