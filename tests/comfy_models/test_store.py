from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_errors import MismatchError
from comfy_files.hashing import sha256_of
from comfy_models.store import ModelStore


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def _write(path: Path, content: bytes = b"weights") -> Path:
    path.write_bytes(content)
    return path


def test_a_file_is_stored_under_its_sha256_and_stays_where_it_was(
    store: ModelStore, tmp_path: Path
) -> None:
    source = _write(tmp_path / "a.bin")
    sha256, size_bytes = store.add_file(source)
    assert sha256 == hashlib.sha256(b"weights").hexdigest()
    assert size_bytes == 7
    assert store.path_of(sha256) == store.root / "sha256" / sha256[:2] / sha256
    assert store.path_of(sha256).read_bytes() == b"weights"
    assert source.read_bytes() == b"weights"


def test_a_stored_copy_does_not_change_with_its_source(store: ModelStore, tmp_path: Path) -> None:
    source = _write(tmp_path / "a.bin")
    sha256, _ = store.add_file(source)
    source.write_bytes(b"changed")
    assert sha256_of(store.path_of(sha256)) == sha256


def test_other_bytes_than_expected_are_refused_and_leave_nothing(
    store: ModelStore, tmp_path: Path
) -> None:
    source = _write(tmp_path / "a.bin")
    with pytest.raises(MismatchError, match=r"a\.bin has sha256"):
        store.add_file(source, expected_sha256="0" * 64)
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_a_transfer_that_was_killed_leaves_no_final_name_and_its_remains_are_used_up(
    store: ModelStore, tmp_path: Path
) -> None:
    source = _write(tmp_path / "big.bin", b"x" * 10_000)
    sha256 = sha256_of(source)
    program = (
        "import os, sys; from pathlib import Path; import comfy_models.store as module\n"
        "def cut(chunks, target):\n"
        "    target.write(next(chunks)[:100]); target.flush(); os._exit(9)\n"
        "module.write_hashed = cut\n"
        "module.ModelStore(Path(sys.argv[1])).add_file(Path(sys.argv[2]), "
        "expected_sha256=sys.argv[3])\n"
    )
    command = [sys.executable, "-c", program, str(store.root), str(source), sha256]
    killed = subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, check=False)
    assert killed.returncode == 9
    assert not store.holds(sha256)
    assert [path.stat().st_size for path in (store.root / "tmp").iterdir()] == [100]
    store.add_file(source, expected_sha256=sha256)
    assert store.path_of(sha256).read_bytes() == b"x" * 10_000
    assert not list((store.root / "tmp").iterdir())


def test_several_processes_can_bring_the_same_file_at_once(
    store: ModelStore, tmp_path: Path
) -> None:
    source = _write(tmp_path / "big.bin", b"y" * 3_000_000)
    sha256 = sha256_of(source)
    program = (
        "import sys; from pathlib import Path; from comfy_models.store import ModelStore\n"
        "ModelStore(Path(sys.argv[1])).add_file(Path(sys.argv[2]), expected_sha256=sys.argv[3])\n"
    )
    command = [sys.executable, "-c", program, str(store.root), str(source), sha256]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    together = [subprocess.Popen(command, env=environment) for _ in range(4)]
    assert [process.wait() for process in together] == [0, 0, 0, 0]
    assert sha256_of(store.path_of(sha256)) == sha256
    assert not list((store.root / "tmp").iterdir())


def test_bytes_that_arrive_are_kept_only_if_they_are_the_expected_ones(store: ModelStore) -> None:
    with pytest.raises(MismatchError, match=r"model\.bin has sha256"):
        store.add([b"wei", b"ghts"], where="model.bin", expected_sha256="0" * 64)
    assert not list(store.root.rglob("*.partial"))
    sha256, size_bytes = store.add([b"wei", b"ghts"], where="model.bin")
    assert (store.path_of(sha256).read_bytes(), size_bytes) == (b"weights", 7)
