from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, MismatchError
from comfy_home.manifest import ManifestModel
from comfy_models.links import ModelFolders, ModelLink, make_link, missing_links, needs_link
from comfy_models.store import ModelStore
from comfy_models.verify import HashMemory
from tests.model_downloads import keep

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def model(target_path: str) -> ManifestModel:
    return ManifestModel(target_path=target_path, sha256=SHA256, size=len(CONTENT))


Link = Callable[..., bool]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return keep(tmp_path / "store", CONTENT)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def link(stored: Path, models: Path) -> Link:
    def make(
        target_path: str = "checkpoints/a.bin",
        *,
        replace_links: bool = False,
        overwrite: bool = False,
    ) -> bool:
        wanted = model(target_path)
        needed = needs_link(
            models, wanted, HashMemory(()), replace_links=replace_links, overwrite=overwrite
        )
        if needed:
            ModelLink(model=wanted, root=models, source=stored).make()
        return needed

    return make


def test_a_link_within_one_mount_is_relative_so_that_the_volume_may_be_mounted_elsewhere(
    link: Link, stored: Path, models: Path, tmp_path: Path
) -> None:
    assert link()
    place = models / "checkpoints" / "a.bin"
    assert place.is_symlink()
    assert not place.readlink().is_absolute()
    moved = tmp_path.with_name(f"{tmp_path.name}-elsewhere")
    tmp_path.rename(moved)
    assert (moved / "models/checkpoints/a.bin").read_bytes() == CONTENT
    moved.rename(tmp_path)


def test_linking_twice_does_nothing_the_second_time(link: Link) -> None:
    assert link()
    assert not link()


def test_a_link_leads_to_a_link_not_past_it(stored: Path, models: Path, tmp_path: Path) -> None:
    ModelLink(model=model("a.bin"), root=models, source=stored).make()
    ModelLink(model=model("a.bin"), root=tmp_path / "home", source=models / "a.bin").make()
    assert (tmp_path / "home" / "a.bin").readlink() == Path("../models/a.bin")


def test_a_file_that_is_there_with_the_right_bytes_is_used_as_it_is(
    link: Link, models: Path
) -> None:
    place = models / "checkpoints" / "a.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert not link()
    assert not place.is_symlink()


@pytest.mark.parametrize("content", [b"WEIGHTS", b"other size"])
def test_a_file_with_other_bytes_is_left_alone_and_named(
    link: Link, models: Path, content: bytes
) -> None:
    place = models / "checkpoints" / "a.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    with pytest.raises(MismatchError, match=r"checkpoints/a\.bin is not the file"):
        link(replace_links=True)
    assert place.read_bytes() == content


def test_a_link_that_another_version_may_need_is_left_alone_unless_it_is_ours(
    link: Link, models: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(b"another model")
    place = models / "checkpoints" / "a.bin"
    place.parent.mkdir(parents=True)
    place.symlink_to(other)
    with pytest.raises(MismatchError):
        link()
    assert place.resolve() == other
    assert link(replace_links=True)
    assert place.read_bytes() == CONTENT
    assert other.read_bytes() == b"another model"


def test_a_link_into_a_store_that_was_moved_is_fixed(link: Link, models: Path) -> None:
    place = models / "checkpoints" / "a.bin"
    place.parent.mkdir(parents=True)
    place.symlink_to(f"/lost/store/sha256/{SHA256[:2]}/{SHA256}")
    assert link()
    assert place.read_bytes() == CONTENT


def test_a_users_broken_link_is_left_alone(link: Link, models: Path) -> None:
    place = models / "checkpoints" / "a.bin"
    place.parent.mkdir(parents=True)
    place.symlink_to("/media/unplugged/a.bin")
    with pytest.raises(MismatchError):
        link()
    assert place.is_symlink()


def test_a_link_to_a_wrong_copy_of_the_model_is_replaced(
    link: Link, models: Path, tmp_path: Path
) -> None:
    wrong = ModelStore(tmp_path / "elsewhere").path_of(SHA256)
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(b"short")
    place = models / "checkpoints" / "a.bin"
    place.parent.mkdir(parents=True)
    place.symlink_to(wrong)
    assert link()
    assert place.read_bytes() == CONTENT


def test_a_link_to_another_stored_model_is_left_alone_because_a_version_may_need_it(
    link: Link, models: Path, tmp_path: Path
) -> None:
    sha256 = hashlib.sha256(b"another").hexdigest()
    another = keep(tmp_path / "store", b"another")
    place = models / "checkpoints" / "a.bin"
    place.parent.mkdir(parents=True)
    place.symlink_to(another)
    with pytest.raises(
        MismatchError, match=f"it has sha256 {sha256}, not {SHA256}; it was left alone"
    ):
        link()
    place.unlink()
    place.symlink_to(tmp_path / "store" / "sha256" / "00" / ("0" * 64))
    assert link()


def test_with_overwrite_another_file_is_replaced_and_a_folder_is_not(
    link: Link, models: Path
) -> None:
    place = models / "checkpoints" / "a.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"another")
    assert link(overwrite=True)
    assert place.read_bytes() == CONTENT
    (models / "folder").mkdir()
    with pytest.raises(MismatchError):
        link("folder", overwrite=True)


def test_a_version_links_to_the_shared_folder_and_that_to_the_store(
    stored: Path, models: Path, tmp_path: Path
) -> None:
    folders = ModelFolders(
        store=ModelStore(tmp_path / "store"), shared=models, home=tmp_path / "home"
    )
    links = missing_links(model("a.bin"), folders, HashMemory(()))
    for each in links:
        each.make()
    assert (models / "a.bin").readlink() == Path(os.path.relpath(stored, models))
    assert (tmp_path / "home" / "a.bin").readlink() == Path("../models/a.bin")
    assert missing_links(model("a.bin"), folders, HashMemory(())) == []


def test_a_model_without_a_folder_to_lie_in_is_reported_before_anything_is_done(
    link: Link, models: Path
) -> None:
    models.mkdir()
    (models / "checkpoints").write_bytes(b"a file")
    with pytest.raises(MismatchError, match=r"checkpoints is not a folder"):
        link()


def test_a_replaced_file_is_never_gone_and_leaves_of_killed_processes_are_removed(
    stored: Path, models: Path
) -> None:
    models.mkdir()
    place = models / "a[1].bin"
    place.write_bytes(b"another")
    left, recent = models / ".a[1].bin.0.partial", models / ".a[1].bin.1.partial"
    for path in (left, recent):
        path.touch()
    os.utime(left, (0, 0))
    make_link(stored, place)
    assert place.read_bytes() == CONTENT
    assert sorted(path.name for path in models.iterdir()) == [recent.name, place.name]


def test_nothing_is_written_through_a_folder_link_that_leads_out(
    link: Link, models: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    models.mkdir()
    (models / "checkpoints").symlink_to(outside)
    with pytest.raises(InvalidInputError, match="leads outside"):
        link()
    assert not list(outside.iterdir())


def test_a_folder_that_links_to_itself_is_named(link: Link, models: Path) -> None:
    models.mkdir()
    (models / "checkpoints").symlink_to("checkpoints")
    with pytest.raises(MismatchError, match=r"checkpoints is not a folder"):
        link()


def test_where_symlinks_are_impossible_a_hard_link_is_made(
    link: Link, stored: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forbid(monkeypatch, "symlink_to", errno.EPERM)
    assert link()
    assert (models / "checkpoints/a.bin").samefile(stored)
    assert not (models / "checkpoints/a.bin").is_symlink()


def test_where_no_links_are_possible_a_copy_is_made(
    link: Link, stored: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forbid(monkeypatch, "symlink_to", errno.ENOTSUP)
    _forbid(monkeypatch, "hardlink_to", errno.EXDEV)
    assert link()
    assert (models / "checkpoints/a.bin").read_bytes() == CONTENT
    assert not (models / "checkpoints/a.bin").samefile(stored)


def test_a_full_disk_is_not_taken_for_a_disk_without_links(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forbid(monkeypatch, "symlink_to", errno.ENOSPC)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        make_link(stored, tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


def _forbid(monkeypatch: pytest.MonkeyPatch, method: str, number: int) -> None:
    def refuse(_path: Path, _target: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, method, refuse)
