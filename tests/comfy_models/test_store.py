from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_errors import MismatchError
from comfy_files.files import sha256_of
from comfy_home.manifest import ManifestModel
from comfy_models.links import ModelLink
from comfy_models.store import ModelStore, linked_models


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def _add(store: ModelStore, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    store.add([content[:2], content[2:]], where="a.bin", expected_sha256=sha256)
    return sha256


# Adds a large file under its sha256, both named by arguments.
_PROGRAM = """\
import os, sys
import comfy_models.store as module
{cut}
with open(sys.argv[2], "rb") as source:
    chunks = iter(lambda: source.read(100_000), b"")
    module.ModelStore(module.Path(sys.argv[1])).add(
        chunks, where="big.bin", expected_sha256=sys.argv[3]
    )
"""
_CUT = """\
def cut(chunks, target):
    target.write(next(chunks)[:100]); target.flush(); os._exit(9)
module.write_hashed = cut
"""


def _start(store: ModelStore, source: Path, sha256: str, cut: str = "") -> subprocess.Popen[bytes]:
    program = _PROGRAM.format(cut=cut)
    command = [sys.executable, "-c", program, str(store.root), str(source), sha256]
    return subprocess.Popen(command, env={"PYTHONPATH": ":".join(sys.path)})


def test_a_file_is_stored_under_its_sha256(store: ModelStore) -> None:
    sha256 = _add(store, b"weights")
    assert store.path_of(sha256) == store.root / "sha256" / sha256[:2] / sha256
    assert store.path_of(sha256).read_bytes() == b"weights"


def test_a_stored_file_is_read_only(store: ModelStore) -> None:
    assert store.path_of(_add(store, b"weights")).stat().st_mode & 0o777 == 0o444


def test_other_bytes_than_expected_are_refused_and_leave_nothing(store: ModelStore) -> None:
    with pytest.raises(MismatchError, match=r"a\.bin has sha256"):
        store.add([b"wei", b"ghts"], where="a.bin", expected_sha256="0" * 64)
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_a_transfer_that_was_killed_leaves_no_final_name_and_its_remains_are_used_up(
    store: ModelStore, tmp_path: Path
) -> None:
    source = tmp_path / "big.bin"
    source.write_bytes(b"x" * 10_000)
    sha256 = sha256_of(source)
    assert _start(store, source, sha256, _CUT).wait() == 9
    assert not store.holds(sha256)
    assert [path.stat().st_size for path in (store.root / "tmp").iterdir()] == [100]
    assert _start(store, source, sha256).wait() == 0
    assert store.path_of(sha256).read_bytes() == b"x" * 10_000
    assert not list((store.root / "tmp").iterdir())


def test_several_processes_can_bring_the_same_file_at_once(
    store: ModelStore, tmp_path: Path
) -> None:
    source = tmp_path / "big.bin"
    source.write_bytes(b"y" * 3_000_000)
    sha256 = sha256_of(source)
    together = [_start(store, source, sha256) for _ in range(4)]
    assert [process.wait() for process in together] == [0, 0, 0, 0]
    assert sha256_of(store.path_of(sha256)) == sha256
    assert not list((store.root / "tmp").iterdir())


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
