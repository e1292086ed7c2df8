from __future__ import annotations

from comfy_files.lfs import LfsPointer, read_pointer

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 12345\n"


def test_a_pointer_names_the_content_that_it_stands_for() -> None:
    assert read_pointer(POINTER.encode()) == LfsPointer(sha256="ab" * 32, size=12345)


def test_other_content_is_no_pointer() -> None:
    for text in ("", "version 2\n" + POINTER, POINTER.split("size")[0], "\x00" + POINTER):
        assert read_pointer(text.encode()) is None
