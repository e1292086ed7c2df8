from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_models.transfer.journal import Form, Journal

FORM = Form(size_bytes=1000, part_bytes=300)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "x.parts", FORM, partial_bytes=1000)
    journal.note(0, 300)
    journal.note(2, 40)
    journal.close()
    return tmp_path / "x.parts"


def _counts(path: Path, form: Form = FORM, partial_bytes: int = 1000) -> list[int]:
    journal = Journal(path, form, partial_bytes=partial_bytes)
    try:
        return list(journal.received)
    finally:
        journal.close()


def test_counts_are_read_again(path: Path) -> None:
    assert _counts(path) == [300, 0, 40]


def test_a_torn_entry_is_ignored(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])
    assert _counts(path) == [300, 0]


@pytest.mark.parametrize(
    "form",
    [
        Form(size_bytes=1001, part_bytes=300),
        Form(size_bytes=1000, part_bytes=299),
        Form(size_bytes=1000, part_bytes=300, tag=b"another validator".ljust(32)),
        Form(size_bytes=None, part_bytes=300),
    ],
)
def test_a_journal_of_another_file_counts_nothing(path: Path, form: Form) -> None:
    assert _counts(path, form) == []
    # From now on it is about this file.
    assert _counts(path) == []


def test_more_than_the_partial_file_has_is_not_believed(path: Path) -> None:
    assert _counts(path, partial_bytes=640) == [300, 0, 40]
    assert _counts(path, partial_bytes=639) == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda _: b"",
        lambda content: content[:50],
        lambda content: bytes(len(content)),
        lambda content: content[:64] + (301).to_bytes(8, "little"),
        lambda content: content[:64] + b"\xff" * 24,
        lambda content: content + bytes(1000),
        lambda content: random.Random(1).randbytes(len(content)),
    ],
)
def test_nonsense_counts_nothing(path: Path, harm: Callable[[bytes], bytes]) -> None:
    path.write_bytes(harm(path.read_bytes()))
    assert _counts(path) == []


def test_a_link_is_replaced(path: Path, tmp_path: Path) -> None:
    valuable = tmp_path / "valuable"
    valuable.write_text("mine")
    path.unlink()
    path.symlink_to(valuable)
    assert _counts(path) == []
    assert not path.is_symlink()
    assert valuable.read_text() == "mine"
