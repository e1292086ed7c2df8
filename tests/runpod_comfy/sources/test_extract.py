"""Archives, as untrusted input: what comes out, and what must not."""

from __future__ import annotations

import calendar
import contextlib
import gzip
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from comfy_errors import InvalidInputError
from comfy_home.tree_hash import tree_hash
from runpod_comfy.sources.extract import extract

JANUARY = calendar.timegm((2024, 1, 2, 3, 4, 6))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def zip_of(
    tmp_path: Path,
    files: dict[str, str],
    *,
    modes: dict[str, int] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A zip; `modes` are Unix modes with the kind of file."""
    path = tmp_path / "archive"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name, (2024, 1, 2, 3, 4, 6))
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o600) << 16
            archive.writestr(info, text, compression)
    return path


def tar_of(tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    path = tmp_path / "archive"
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def member(
    name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", mode: int = 0o600
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime = kind, link, mode, JANUARY
    return info


def refused(archive: Path, target: Path, sentence: str, **options: object) -> None:
    with pytest.raises(InvalidInputError, match=sentence) as caught:
        extract(archive, target, where="pypi://thing@1", **options)  # type: ignore[arg-type]
    assert caught.value.remedy


def test_only_the_folder_that_was_asked_for_comes_out(tmp_path: Path, target: Path) -> None:
    archive = zip_of(tmp_path, {"a/b/x.txt": "x", "a/b/c/y.txt": "y", "a/bz.txt": "", "z": ""})
    extract(archive, target, where="thing", subdir="a/b")
    files = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert files == ["c/y.txt", "x.txt"]
    assert (target / "x.txt").read_text() == "x"


def test_a_python_file_comes_out_alone_as_a_package(tmp_path: Path, target: Path) -> None:
    archive = zip_of(tmp_path, {"a/b.py": "x", "a/c.py": "y", "z": ""})
    extract(archive, target, where="thing", subdir="a/b.py")
    assert [(path.name, path.read_text()) for path in target.iterdir()] == [("__init__.py", "x")]


def test_modes_are_644_or_755_whatever_the_archive_says(tmp_path: Path, target: Path) -> None:
    modes = {"tool": stat.S_IFREG | 0o4777, "plain": stat.S_IFREG | 0o400}
    extract(zip_of(tmp_path, {"tool": "", "plain": ""}, modes=modes), target, where="thing")
    assert (target / "tool").stat().st_mode & 0o7777 == 0o755
    assert (target / "plain").stat().st_mode & 0o7777 == 0o644


def test_the_time_is_that_of_the_newest_file_taken(tmp_path: Path, target: Path) -> None:
    path = zip_of(tmp_path, {"a/old": "", "a/new": ""})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo("b/newest", (2030, 1, 1, 0, 0, 0)), "")
    assert extract(path, target, where="thing", subdir="a") == JANUARY


def test_a_zip_and_a_tar_of_the_same_files_give_the_same_tree(tmp_path: Path) -> None:
    trees = []
    for kind in ("zip", "tar"):
        folder = tmp_path / kind
        (folder / "out").mkdir(parents=True)
        if kind == "zip":
            modes = {"./run": stat.S_IFREG | 0o755, "link": stat.S_IFLNK | 0o777}
            archive = zip_of(folder, {"./run": "go", "link": "run"}, modes=modes)
        else:
            link = member("./link", tarfile.SYMTYPE, link="run")
            archive = tar_of(folder, [(member("./run", mode=0o755), b"go"), (link, b"")])
        assert extract(archive, folder / "out", where="thing") == JANUARY
        trees.append(tree_hash(folder / "out"))
    assert trees[0] == trees[1]


def test_an_sdist_is_taken_from_inside_its_top_folder(tmp_path: Path, target: Path) -> None:
    archive = tar_of(tmp_path, [(member("thing-1/pkg/x"), b"x"), (member("thing-1/setup.py"), b"")])
    extract(archive, target, where="thing", subdir="pkg", top_folder="entered")
    assert [path.name for path in target.iterdir()] == ["x"]


def test_an_archive_with_two_top_folders_is_not_an_sdist(tmp_path: Path, target: Path) -> None:
    archive = tar_of(tmp_path, [(member("one/x"), b""), (member("two/x"), b"")])
    refused(archive, target, "a single top folder", top_folder="entered")


def test_a_hard_link_becomes_a_file_of_its_own(tmp_path: Path, target: Path) -> None:
    hard = member("b", tarfile.LNKTYPE, link="a")
    extract(tar_of(tmp_path, [(member("a"), b"same"), (hard, b"")]), target, where="thing")
    assert (target / "b").read_bytes() == b"same"


def test_a_folder_that_is_not_there_is_answered_with_those_that_are(
    tmp_path: Path, target: Path
) -> None:
    archive = zip_of(tmp_path, {"pkg/_comfyui/main.py": "", "pkg/other/x": "", "info/y": ""})
    with pytest.raises(InvalidInputError, match="has no folder '_comfyui'") as caught:
        extract(archive, target, where="thing", subdir="_comfyui")
    assert "pkg/_comfyui" in caught.value.remedy


@pytest.mark.parametrize(
    "name", ["../out", "a/../../out", "/etc/out", "a/./b", ".git/config", "a/.GIT/config"]
)
def test_a_path_that_leads_out_or_into_git_is_refused(
    tmp_path: Path, target: Path, name: str
) -> None:
    refused(zip_of(tmp_path, {"fine": "", name: "x"}), target, "unsafe path")
    refused(tar_of(tmp_path, [(member(name), b"x")]), target, "unsafe path")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../out", "/out", ".git/config", "..\\out"])
def test_an_unsafe_folder_is_refused_though_it_would_be_entered_or_left_out(
    tmp_path: Path, target: Path, name: str
) -> None:
    alone = zip_of(tmp_path, {name: "x"})
    refused(alone, target, "unsafe path", top_folder="entered if it is the only one")
    refused(alone, target, "unsafe path", top_folder="entered")
    beside = zip_of(tmp_path, {"pkg/fine": "", name: "x"})
    refused(beside, target, "unsafe path", subdir="pkg")
    assert list(target.iterdir()) == []


def test_nothing_is_written_through_a_link_of_the_archive(tmp_path: Path, target: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = member("link", tarfile.SYMTYPE, link=str(outside))
    refused(tar_of(tmp_path, [(link, b""), (member("link/x"), b"x")]), target, "two entries")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_or_pipe_is_refused(tmp_path: Path, target: Path, kind: bytes) -> None:
    refused(tar_of(tmp_path, [(member("dev", kind), b"")]), target, "neither a file, a folder nor")


def test_the_same_path_twice_is_refused(tmp_path: Path, target: Path) -> None:
    refused(tar_of(tmp_path, [(member("a"), b"1"), (member("a"), b"2")]), target, "two entries")


def test_a_decompression_bomb_stops_at_the_limit(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zip_of(tmp_path, {"bomb": "\0" * 50_000_000}, compression=zipfile.ZIP_DEFLATED)
    assert archive.stat().st_size < 100_000
    monkeypatch.setattr("runpod_comfy.sources.extract.MOST_BYTES", 5_000_000)
    refused(archive, target, "more than 5,000,000 bytes")
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_grows_beyond_all_measure_is_a_bomb(
    tmp_path: Path, target: Path, kind: str
) -> None:
    zeros = bytes(120_000_000)
    if kind == "zip":
        text = zeros.decode()
        archive = zip_of(tmp_path, {"bomb": text}, compression=zipfile.ZIP_DEFLATED)
    else:
        archive = tar_of(tmp_path, [(member("bomb"), zeros)])
    refused(archive, target, "has more than")
    assert list(target.iterdir()) == []


def test_a_zip_that_says_too_little_of_its_size_is_damaged(tmp_path: Path, target: Path) -> None:
    archive = zip_of(tmp_path, {"bomb": "\0" * 5_000_000}, compression=zipfile.ZIP_DEFLATED)
    size, lie = (5_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(size, lie))
    refused(archive, target, "not a readable archive")
    assert sum(path.stat().st_size for path in target.iterdir()) <= 10


def test_a_header_that_does_not_end_is_not_read_into_memory(tmp_path: Path, target: Path) -> None:
    info = member("x")
    info.pax_headers = {"comment": "\0" * 30_000_000}
    refused(tar_of(tmp_path, [(info, b"")]), target, "a header of 30,")


def test_a_link_of_a_zip_as_long_as_a_file_is_refused(tmp_path: Path, target: Path) -> None:
    modes = {"link": stat.S_IFLNK | 0o777}
    refused(zip_of(tmp_path, {"link": "x" * 5000}, modes=modes), target, "link 'link' is 5,000")


@pytest.mark.parametrize("link", ["", "a\0b"])
def test_a_link_to_nothing_is_refused(tmp_path: Path, target: Path, link: str) -> None:
    modes = {"link": stat.S_IFLNK | 0o777}
    refused(zip_of(tmp_path, {"link": link}, modes=modes), target, "has the link 'link'")


@pytest.mark.parametrize(
    "names", [("Web/a", "web/b"), ("README", "readme"), ("web", "WEB/a"), ("\u00e9", "e\u0301")]
)
def test_names_that_are_the_same_on_some_machine_are_refused_on_all(
    tmp_path: Path, target: Path, names: tuple[str, str]
) -> None:
    refused(zip_of(tmp_path, dict.fromkeys(names, "")), target, "two entries for")


@pytest.mark.parametrize("name", ["x" * 256, "a/" + "\u00e9" * 128 + "/b"])
def test_a_name_that_no_file_system_holds_is_refused(
    tmp_path: Path, target: Path, name: str
) -> None:
    refused(zip_of(tmp_path, {name: ""}), target, "unsafe path")


def test_separators_of_windows_are_separators(tmp_path: Path, target: Path) -> None:
    extract(zip_of(tmp_path, {"web\\js\\a.js": "1"}), target, where="thing")
    assert (target / "web/js/a.js").read_text() == "1"
    refused(zip_of(tmp_path, {"..\\..\\out": ""}), target, "unsafe path")


def test_a_member_without_a_time_is_the_oldest_there_is(tmp_path: Path, target: Path) -> None:
    archive = zip_of(tmp_path, {"a": ""})
    content = archive.read_bytes()
    date = struct.pack("<H", (2024 - 1980) << 9 | 1 << 5 | 2)
    assert content.count(date) >= 2
    archive.write_bytes(content.replace(date, b"\0\0"))
    assert extract(archive, target, where="thing") == 315532800


def test_a_time_that_no_calendar_has_is_the_last_of_a_zip(tmp_path: Path, target: Path) -> None:
    info = member("x")
    info.mtime = 2**60
    assert extract(tar_of(tmp_path, [(info, b"")]), target, where="thing") == 4354819199


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path, target: Path) -> None:
    inner = zip_of(tmp_path, {"evil": ""}).read_bytes()
    path = tmp_path / "archive"
    with tarfile.open(path, "w") as archive:
        info = member("inner.zip")
        info.size = len(inner)
        archive.addfile(info, io.BytesIO(inner))
    extract(path, target, where="thing")
    assert [item.name for item in target.iterdir()] == ["inner.zip"]


def test_a_password_is_reported(tmp_path: Path, target: Path) -> None:
    archive = zip_of(tmp_path, {"a": "x"})
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(bytes(content))
    refused(archive, target, "cannot be read: .*encrypted")


def test_bytes_of_any_kind_end_in_a_sentence(tmp_path: Path) -> None:
    """Whatever is changed in an archive, it comes out, or is refused in words."""
    random = Random(7)
    zipped = zip_of(tmp_path, {"a/b": "text" * 50, "a/c": "x"}).read_bytes()
    packed = [(member("a/b"), b"text" * 50), (member("a/l", tarfile.SYMTYPE, link="b"), b"")]
    gzipped = tar_of(tmp_path, packed).read_bytes()
    plain = gzip.decompress(gzipped)
    for number in range(600):
        content = bytearray(random.choice((zipped, gzipped, plain)))
        for _ in range(random.randint(1, 6)):
            content[random.randrange(min(len(content), 2000))] = random.randrange(256)
        (tmp_path / "archive").write_bytes(content)
        folder = tmp_path / f"target-{number}"
        folder.mkdir()
        with contextlib.suppress(InvalidInputError):
            extract(tmp_path / "archive", folder, where="thing")


def test_too_many_members_stop_at_the_limit(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zip_of(tmp_path, {str(number): "" for number in range(20)})
    monkeypatch.setattr("runpod_comfy.sources.extract.MOST_FILES", 10)
    refused(archive, target, "more than 10")


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _changed(content: bytes) -> bytes:
    return content.replace(b"the content", b"other bytes")


@pytest.mark.parametrize("damage", [_cut, _changed, lambda _: b"<html>404</html>", lambda _: b""])
def test_a_damaged_archive_is_reported_by_its_name(
    tmp_path: Path, target: Path, damage: Callable[[bytes], bytes]
) -> None:
    archive = zip_of(tmp_path, {"a": "the content" * 100})
    archive.write_bytes(damage(archive.read_bytes()))
    refused(archive, target, "pypi://thing@1 is not a readable archive")


def test_a_cut_tar_is_reported_by_its_name(tmp_path: Path, target: Path) -> None:
    content = bytes(range(256)) * 400
    archive = tar_of(tmp_path, [(member("a"), content)])
    archive.write_bytes(_cut(archive.read_bytes()))
    refused(archive, target, "pypi://thing@1 is not a readable archive")
