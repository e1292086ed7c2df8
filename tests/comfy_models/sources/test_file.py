from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from comfy_errors import UnavailableError
from comfy_models.sources.errors import GoneError, NotAModelError
from comfy_models.sources.file import FileSource


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    (tmp_path / "x.bin").write_bytes(b"0123456789")
    return FileSource(tmp_path / "x.bin")


def test_a_part_of_a_file_is_read(source: FileSource) -> None:
    with contextlib.closing(source.open(3, 7)) as stream:
        assert (stream.start, stream.size) == (3, 10)
        assert [stream.read(3), stream.read(3), stream.read(3)] == [b"345", b"6", b""]


def test_a_file_that_has_changed_is_read_from_its_start(source: FileSource) -> None:
    with contextlib.closing(source.open(0, None)) as stream:
        validator = stream.validator
    with contextlib.closing(source.open(3, None, validator=validator)) as stream:
        assert stream.start == 3
    source.path.write_bytes(b"abcdefghij")
    with contextlib.closing(source.open(3, None, validator=validator)) as stream:
        assert (stream.start, stream.read(100)) == (0, b"abcdefghij")


def test_a_missing_file_is_named(source: FileSource) -> None:
    source.path.unlink()
    with pytest.raises(GoneError, match=f"there is no file {source.path}"):
        source.open(0, None)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(GoneError, match=f"{tmp_path} is a folder, not a model file"):
        FileSource(tmp_path).pin()


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.safetensors", b"<!doctype html><title>Sign in</title>", "is a web page ('Sign in')"),
        ("a.gguf", b"version https://git-lfs.github.com/spec/v1\noid sha256:", "is a Git LFS"),
    ],
)
def test_what_is_no_model_is_not_pinned_as_one(
    tmp_path: Path, name: str, content: bytes, fault: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NotAModelError) as caught:
        FileSource(tmp_path / name).pin()
    assert caught.value.message.startswith(f"{tmp_path / name} {fault}")


def test_a_disk_that_fails_while_a_file_is_read_is_no_fault_of_the_store() -> None:
    # Its first page can never be read.
    with (
        contextlib.closing(FileSource(Path("/proc/self/mem")).open(0, 4096)) as stream,
        pytest.raises(UnavailableError, match="the model file /proc/self/mem cannot be read: inp"),
    ):
        stream.read(100)
