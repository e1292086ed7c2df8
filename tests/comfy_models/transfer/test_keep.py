from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_errors import MismatchError
from comfy_models.store import ModelStore
from comfy_models.transfer.keep import keep

SHA256 = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def _files(store: ModelStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]


def test_bytes_are_stored_by_their_sha256_and_cannot_be_written(store: ModelStore) -> None:
    keep([b"wei", b"ghts"], store, where="a.bin", expected_sha256=SHA256)
    assert store.path_of(SHA256).read_bytes() == b"weights"
    assert store.path_of(SHA256).stat().st_mode & 0o777 == 0o444


def test_other_bytes_than_expected_are_refused_and_leave_nothing(store: ModelStore) -> None:
    with pytest.raises(MismatchError, match=r"a\.bin has sha256"):
        keep([b"weight", b"S"], store, where="a.bin", expected_sha256=SHA256)
    assert _files(store) == []


def test_what_breaks_off_leaves_nothing(store: ModelStore) -> None:
    def broken() -> Iterator[bytes]:
        yield b"wei"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        keep(broken(), store, where="a.bin", expected_sha256=SHA256)
    assert _files(store) == []


def test_a_stored_file_is_not_read_again(store: ModelStore) -> None:
    keep([b"weights"], store, where="a.bin", expected_sha256=SHA256)
    keep([], store, where="a.bin", expected_sha256=SHA256)
    assert store.path_of(SHA256).read_bytes() == b"weights"
