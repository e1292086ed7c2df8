from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from comfy_errors import UnavailableError
from comfy_models.hashing import hash_files
from comfy_models.verify import HashMemory


@pytest.fixture
def files(tmp_path: Path) -> dict[Path, str]:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_bytes(path.name.encode())
    return {path: f"model {path.name}" for path in paths}


def test_every_file_is_hashed_once_as_long_as_it_does_not_change(
    files: dict[Path, str], tmp_path: Path
) -> None:
    said: list[str] = []
    memory_file = tmp_path / "memory"
    expected = {path: hashlib.sha256(path.name.encode()).hexdigest() for path in files}
    assert hash_files(files, HashMemory([memory_file]), said.append) == expected
    assert sorted(said) == ["Hashing model a", "Hashing model b", "Hashing model c"]
    said.clear()
    assert hash_files(files, HashMemory([memory_file]), said.append) == expected
    assert said == []
    changed = next(iter(files))
    changed.write_bytes(b"A")
    os.utime(changed, ns=(1, 1))
    found = hash_files(files, HashMemory([memory_file]), said.append)
    assert found[changed] == hashlib.sha256(b"A").hexdigest()
    assert said == ["Hashing model a"]


def test_all_files_that_cannot_be_read_are_named(files: dict[Path, str]) -> None:
    first, second, _ = files
    first.unlink()
    second.unlink()
    with pytest.raises(UnavailableError) as caught:
        hash_files(files, HashMemory(()), lambda _: None)
    assert f"the model file {first} cannot be read: " in caught.value.message
    assert str(second) in caught.value.message
