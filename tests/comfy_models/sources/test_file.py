from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import UnavailableError
from comfy_models.sources.errors import GoneError
from comfy_models.sources.file import FileSource


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    (tmp_path / "x.bin").write_bytes(b"0123456789")
    return FileSource(tmp_path / "x.bin")


def test_a_part_of_a_file_is_read(source: FileSource) -> None:
    with source.open(3, 7) as stream:
        assert (stream.start, stream.size) == (3, 10)
        assert [stream.read(3), stream.read(3), stream.read(3)] == [b"345", b"6", b""]


def test_a_file_that_has_changed_is_read_from_its_start(source: FileSource) -> None:
    with source.open(0, None) as stream:
        validator = stream.validator
    with source.open(3, None, validator=validator) as stream:
        assert stream.start == 3
    source.path.write_bytes(b"abcdefghij")
    with source.open(3, None, validator=validator) as stream:
        assert (stream.start, stream.read(100)) == (0, b"abcdefghij")


def test_a_missing_file_is_named(source: FileSource) -> None:
    source.path.unlink()
    with pytest.raises(GoneError, match=f"there is no file {source.path}"):
        source.open(0, None)


def test_a_disk_that_fails_while_a_file_is_read_is_no_fault_of_the_store() -> None:
    # Its first page can never be read.
    with (
        FileSource(Path("/proc/self/mem")).open(0, 4096) as stream,
        pytest.raises(UnavailableError, match="the model file /proc/self/mem cannot be read: inp"),
    ):
        stream.read(100)
