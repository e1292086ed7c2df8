"""What nobody needs of a store, and what a link keeps."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_models.gc import linked_models, unused_models
from comfy_models.links import link_model
from comfy_models.store import ModelStore


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def _add(store: ModelStore, folder: Path, text: str) -> str:
    file = folder / "source"
    file.write_text(text)
    return store.add_file(file)[0]


def test_only_models_that_nobody_needs_are_unused(store: ModelStore, tmp_path: Path) -> None:
    needed, unneeded = (_add(store, tmp_path, text) for text in ("one", "two"))
    found = unused_models(store, {needed})
    assert found.files == (store.path_of(unneeded),)
    assert found.leftovers == ()
    assert found.unknown == ()


def test_a_store_that_is_not_there_has_nothing_unused(store: ModelStore) -> None:
    assert unused_models(store, set()).files == ()


def test_what_no_store_makes_is_unknown(store: ModelStore, tmp_path: Path) -> None:
    sha256 = _add(store, tmp_path, "one")
    strangers = [store.root / "notes.txt", store.path_of(sha256).with_name("model.safetensors")]
    for path in strangers:
        path.write_text("mine")
    assert set(unused_models(store, {sha256}).unknown) == set(strangers)


def test_a_link_through_another_folder_keeps_its_model(store: ModelStore, tmp_path: Path) -> None:
    sha256 = _add(store, tmp_path, "one")
    shared, home = tmp_path / "shared", tmp_path / "home"
    link_model(store.path_of(sha256), shared, "loras/a.bin", sha256=sha256, size_bytes=3)
    link_model(shared / "loras/a.bin", home, "loras/a.bin", sha256=sha256, size_bytes=3)
    assert linked_models(shared) == linked_models(home) == {sha256}
    # Also one whose store is not mounted at the moment.
    lost = hashlib.sha256(b"lost").hexdigest()
    (home / "lost.bin").symlink_to(f"/not/mounted/sha256/{lost[:2]}/{lost}")
    assert linked_models(home) == {sha256, lost}


def test_the_file_of_a_killed_transfer_is_left_over_and_that_of_a_running_one_is_not(
    store: ModelStore,
) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from comfy_models.store import ModelStore\n"
        "store = ModelStore(Path(sys.argv[1]))\n"
        "def chunks():\n"
        "    yield b'some'\n"
        "    print('begun', flush=True)\n"
        "    sys.stdin.readline()\n"
        "store.add(chunks(), where='x')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(store.root)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    (partial,) = (store.root / "tmp").iterdir()
    assert unused_models(store, set()).leftovers == ()
    process.kill()
    process.communicate()
    assert unused_models(store, set()).leftovers == (partial,)
