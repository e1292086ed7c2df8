from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from comfy_files.machine import boot_id
from comfy_home.manifest import ManifestModel
from comfy_models.links import ModelLink
from comfy_models.store import ModelStore, linked_models
from tests.model_downloads import keep


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def _add(store: ModelStore, content: bytes) -> str:
    return keep(store.root, content).name


def test_a_link_through_another_folder_keeps_its_model(store: ModelStore, tmp_path: Path) -> None:
    sha256 = _add(store, b"one")
    shared, home = tmp_path / "shared", tmp_path / "home"
    model = ManifestModel(target_path="loras/a.bin", sha256=sha256, size=3)
    ModelLink(model=model, root=shared, source=store.path_of(sha256)).make()
    ModelLink(model=model, root=home, source=shared / "loras/a.bin").make()
    assert linked_models(shared) == linked_models(home) == {sha256}
    # Also one whose store is not mounted at the moment.
    lost = hashlib.sha256(b"lost").hexdigest()
    (home / "lost.bin").symlink_to(f"/not/mounted/sha256/{lost[:2]}/{lost}")
    assert linked_models(home) == {sha256, lost}


def test_a_file_that_may_not_be_on_the_disk_is_not_held_after_the_machine_was_started_again(
    store: ModelStore,
) -> None:
    sha256 = _add(store, b"weights")
    mark = store.mark_of(sha256)
    mark.parent.mkdir(parents=True)
    mark.write_text(boot_id() or "")
    assert store.holds(sha256)
    mark.write_text("another start")
    assert not store.holds(sha256)


def test_a_mark_is_removed_once_the_disk_has_the_file(store: ModelStore) -> None:
    sha256 = _add(store, b"weights")
    mark = store.mark_of(sha256)
    mark.parent.mkdir(parents=True)
    mark.write_text(boot_id() or "")
    store.settle()
    assert mark.exists()
    os.utime(mark, (1, 1))
    store.settle()
    assert not mark.exists()
    assert store.holds(sha256)
