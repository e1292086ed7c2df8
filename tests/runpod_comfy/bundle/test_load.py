from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import InvalidInputError, MismatchError, OperationFailedError, UnavailableError
from comfy_home.lock_bytes import canonical_bytes
from comfy_home.tree_hash import tree_hash
from comfy_models.store import MEMORY_NAME, ModelStore
from runpod_comfy.bundle.format import BUNDLE_VERSION, END, Entry, Index
from runpod_comfy.bundle.load import describe_bundle, load_bundle
from runpod_comfy.cache.archive_store import find_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.lock.model import Lock, PythonLock
from runpod_comfy.lock.store import committed_lock_path, load_lock
from runpod_comfy.sources.folder import FolderSource
from tests.locks import in_version_1
from tests.program import start_python
from tests.runpod_comfy.bundle.conftest import PLATFORM, SPEC, Place


def _parts(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as archive:
        return {
            member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
        }


def _entry(name: str, content: bytes) -> Entry:
    return Entry(path=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _write(path: Path, index: Index, parts: dict[str, bytes]) -> Path:
    """A bundle of any parts, its headers as they should be."""
    with path.open("wb") as stream:
        for name, content in {"bundle.json": index.to_bytes(), **parts}.items():
            entry = _entry(name, content)
            stream.write(entry.header + content + entry.padding)
        stream.write(END)
    return path


def _changed(bundle: Path, change: Callable[[dict[str, Any], dict[str, bytes]], object]) -> Path:
    """The bundle after `change` of its index and parts, with a right digest and right sizes."""
    parts = _parts(bundle)
    document = json.loads(parts.pop("bundle.json"))
    change(document, parts)
    document["entries"] = [_entry(name, content) for name, content in parts.items()]
    return _write(bundle.with_name("changed.bundle"), Index(**document), parts)


def _held(cache: Cache) -> list[str]:
    """What is under a final name in a cache, without what belongs to this machine's files."""
    return [
        str(path.relative_to(cache.root))
        for path in sorted(cache.root.rglob("*"))
        if path.is_file() and cache.tmp not in path.parents and path.name != MEMORY_NAME
    ]


def test_after_load_the_caches_have_everything_and_the_folders_are_not_needed(
    here: Place, bundle: Path, away: Cache
) -> None:
    lock = here.lock()
    here.folder.rename(here.folder.with_name("gone"))
    summary = load_bundle(bundle, away, platform=PLATFORM)
    assert (summary.trees, summary.wheels, summary.models) == (2, 2, 1)
    fetch_context = FetchContext(cache=away, base_dir=here.folder, offline=True)
    for tree in (lock.comfy, *lock.custom_nodes):
        request = TreeRequest(repo=tree.repo, commit=tree.commit)
        fetched = FolderSource().fetch(request, fetch_context)
        assert fetched.tree_hash == tree.tree_hash == tree_hash(fetched.path)
    core = next(away.trees.glob("core@*[0-9a-f]"))
    assert (core / "bin/tool.sh").stat().st_mode & 0o777 == 0o755
    assert (core / "link.py").readlink() == Path("main.py")
    assert find_archive(lock.python.torch[0].files[0].sha256, away)
    assert ModelStore(away.models).holds(lock.models[0].sha256)
    assert not list(away.tmp.iterdir())


def test_a_bundle_of_an_earlier_program_is_read(here: Place, bundle: Path, away: Cache) -> None:
    def to_version_1(_index: object, parts: dict[str, bytes]) -> None:
        parts["lock.json"] = canonical_bytes(in_version_1(json.loads(parts["lock.json"])))

    load_bundle(_changed(bundle, to_version_1), away, platform=PLATFORM)
    assert load_lock(committed_lock_path(away.loaded_spec("small"), "small")) == here.lock()


def test_a_lock_in_another_layout_is_refused(bundle: Path, away: Cache) -> None:
    def reformat(_index: object, parts: dict[str, bytes]) -> None:
        parts["lock.json"] = json.dumps(json.loads(parts["lock.json"])).encode()

    with pytest.raises(InvalidInputError, match="is not written as this program writes locks"):
        load_bundle(_changed(bundle, reformat), away, platform=PLATFORM)


def test_the_handlers_wheels_are_kept_whichever_they_are(
    here: Place, away: Cache, tmp_path: Path
) -> None:
    own = here.wheels("own")
    handler = PythonLock(version="3.11", platforms=[PLATFORM], wheels=[own])
    here.create(tmp_path / "x", handler=handler)
    load_bundle(tmp_path / "x", away, platform=PLATFORM)
    assert find_archive(own.files[0].sha256, away)


def test_lock_and_spec_keep_their_bytes_and_so_does_the_bundle_of_a_loaded_version(
    here: Place, bundle: Path, away: Cache, tmp_path: Path
) -> None:
    load_bundle(bundle, away, platform=PLATFORM)
    assert (
        committed_lock_path(away.loaded_spec("small"), "small").read_bytes()
        == here.lock().to_bytes()
    )
    assert away.loaded_spec("small").read_text() == SPEC
    lock = Lock.model_validate_json(
        committed_lock_path(away.loaded_spec("small"), "small").read_text()
    )
    there = Place(folder=away.loaded_spec("small").parent, cache=away)
    there.create(tmp_path / "again", lock=lock)
    assert (tmp_path / "again").read_bytes() == bundle.read_bytes()


def test_loading_twice_changes_nothing(bundle: Path, away: Cache) -> None:
    load_bundle(bundle, away, platform=PLATFORM)
    before = {path: path.stat().st_ino for path in away.root.rglob("*") if path.is_file()}
    load_bundle(bundle, away, platform=PLATFORM)
    after = {path: path.stat().st_ino for path in away.root.rglob("*") if path.is_file()}
    unchanged = [path for path in before if "loaded" not in path.parts]
    assert set(after) == set(before)
    assert [after[path] for path in unchanged] == [before[path] for path in unchanged]


def test_every_part_with_a_wrong_byte_is_refused_by_name_and_not_kept(
    here: Place, bundle: Path, tmp_path: Path
) -> None:
    whole = bundle.read_bytes()
    names = {
        "trees": "the tree of ",
        "wheels": "-1.0-",
        "models": "the model a.bin",
        "lock.json": "lock.json",
        "spec.json": "spec.json",
        "bundle.json": "bundle.json",
    }
    with tarfile.open(bundle) as archive:
        members = {member.name: member for member in archive}
    for number, (name, member) in enumerate(members.items()):
        cache = Cache(root=tmp_path / f"cache-{number}")
        spoilt = bytearray(whole)
        spoilt[member.offset_data + member.size // 2] ^= 1
        bundle.write_bytes(spoilt)
        with pytest.raises(MismatchError) as caught:
            load_bundle(bundle, cache, platform=PLATFORM)
        assert names[name.split("/")[0]] in caught.value.message
        held = [path for path in _held(cache) if _name_in_cache(member.name) in path]
        assert held == []
        assert not committed_lock_path(cache.loaded_spec("small"), "small").exists()


def _name_in_cache(entry: str) -> str:
    """The part of an entry's name by which a cache would name it."""
    return entry.split("/")[-1].removesuffix(".tar")


def test_no_byte_of_a_bundle_can_change_unnoticed(bundle: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    cache = Cache(root=tmp_path / "cache")
    with tarfile.open(bundle) as archive:
        members = list(archive)
    # Each byte of the headers, of the padding and of the end; of the content each 97th.
    places = {
        place
        for member in members
        for place in (
            *range(member.offset, member.offset + 512, 7),
            *range(member.offset_data, member.offset_data + member.size, 97),
            *range(
                member.offset_data + member.size,
                member.offset_data + -(-member.size // 512) * 512,
                5,
            ),
        )
    } | set(range(len(whole) - len(END), len(whole), 31))
    for place in sorted(places):
        spoilt = bytearray(whole)
        spoilt[place] ^= 0x10
        bundle.write_bytes(spoilt)
        with pytest.raises((MismatchError, InvalidInputError)):
            load_bundle(bundle, cache, platform=PLATFORM)


def test_a_bundle_that_is_cut_short_is_refused_and_nothing_of_it_is_kept(
    bundle: Path, away: Cache
) -> None:
    whole = bundle.read_bytes()
    for size in (0, 100, 512, 700, len(whole) // 2, len(whole) - 1):
        bundle.write_bytes(whole[:size])
        with pytest.raises(InvalidInputError, match="truncated|not a bundle"):
            load_bundle(bundle, away, platform=PLATFORM)
        assert not away.root.exists()


def test_a_file_that_is_not_a_bundle_is_refused(bundle: Path, away: Cache, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    with tarfile.open(foreign, "w") as archive:
        archive.add(bundle, "bundle.json")
    for content in (b"", b"PK\x03\x04" + bytes(2000), bytes(4096), foreign.read_bytes()):
        foreign.write_bytes(content)
        with pytest.raises(InvalidInputError, match="not a bundle"):
            load_bundle(foreign, away, platform=PLATFORM)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_bundle(tmp_path, away, platform=PLATFORM)
    with pytest.raises(UnavailableError, match="no file"):
        load_bundle(tmp_path / "missing", away, platform=PLATFORM)
    with bundle.open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(InvalidInputError, match="1 bytes follow its end"):
        load_bundle(bundle, away, platform=PLATFORM)


def test_a_bundle_for_another_platform_is_refused(here: Place, away: Cache, tmp_path: Path) -> None:
    here.create(tmp_path / "mac", platform="macos-arm64")
    with pytest.raises(InvalidInputError, match="is for macos-arm64") as caught:
        load_bundle(tmp_path / "mac", away, platform=PLATFORM)
    assert f"--platform {PLATFORM}" in caught.value.remedy


def test_a_bundle_of_another_program_is_refused(bundle: Path, away: Cache) -> None:
    parts = _parts(bundle)
    index = Index.model_validate_json(parts.pop("bundle.json"))
    later = index.model_copy(update={"bundle_version": BUNDLE_VERSION + 1})
    with pytest.raises(InvalidInputError, match="version 4; this program reads 3"):
        load_bundle(_write(bundle, later, parts), away, platform=PLATFORM)
    # The first one's index had other fields.
    content = b'{"bundle_version": 1, "version_id": "small"}'
    with tarfile.open(bundle, "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(_member("bundle.json", size=len(content)), io.BytesIO(content))
    with pytest.raises(InvalidInputError, match="version 1; this program reads 3") as caught:
        load_bundle(bundle, away, platform=PLATFORM)
    assert "bundle create" in caught.value.remedy


def _rename(old: str, new: str) -> Callable[[dict[str, Any], dict[str, bytes]], object]:
    def change(_document: dict[str, Any], parts: dict[str, bytes]) -> None:
        found = next(name for name in parts if name.startswith(old))
        parts[new] = parts.pop(found)

    return change


def _add(name: str) -> Callable[[dict[str, Any], dict[str, bytes]], object]:
    return lambda _document, parts: parts.update({name: b"content"})


def _other(name: str) -> Callable[[dict[str, Any], dict[str, bytes]], object]:
    def change(_document: dict[str, Any], parts: dict[str, bytes]) -> None:
        found = next(part for part in parts if part.startswith(name))
        parts[found] = b"another content"

    return change


@pytest.mark.parametrize(
    "change",
    [
        _rename("wheels/", "../../../outside"),
        _rename("wheels/", "/tmp/outside"),
        _rename("models/", "models/" + "0" * 64),
        _rename("trees/", "trees/" + "0" * 40 + ".tar"),
        _add("unknown"),
        _add("wheels/" + "0" * 64),
        _other("wheels/"),
        _other("models/"),
        _other("spec.json"),
        _other("lock.json"),
        lambda document, _parts: document.update(platform="linux-never"),
        lambda document, _parts: document["epochs"].pop(),
        lambda document, _parts: document["epochs"].append(1),
        lambda document, _parts: document.update(epochs=[2**40, 1]),
        lambda document, _parts: document.update(epochs=[]),
        lambda _document, parts: parts.pop(next(name for name in parts if "trees/" in name)),
        lambda _document, parts: parts.pop(next(name for name in parts if "models/" in name)),
        lambda document, _parts: document.update(handler=[{"name": "x", "sha256": "0" * 64}]),
    ],
)
def test_what_is_not_of_the_lock_is_refused_before_anything_is_kept(
    bundle: Path, away: Cache, change: Callable[[dict[str, Any], dict[str, bytes]], object]
) -> None:
    hostile = _changed(bundle, change)
    with pytest.raises(InvalidInputError):
        load_bundle(hostile, away, platform=PLATFORM)
    assert not away.root.exists()


def test_an_entry_named_twice_is_refused(bundle: Path, away: Cache) -> None:
    parts = _parts(bundle)
    index = Index.model_validate_json(parts.pop("bundle.json"))
    twice = index.model_copy(update={"entries": [*index.entries, index.entries[-1]]})
    with pytest.raises(InvalidInputError, match="two entries with the same name"):
        load_bundle(_write(bundle, twice, parts), away, platform=PLATFORM)


def _tar(*members: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member in members:
            content = b"x" * member.size
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _member(name: str, **attributes: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(member, key, value)
    return member


@pytest.mark.parametrize(
    "members",
    [
        [_member("../outside", size=3)],
        [_member("/outside", size=3)],
        [_member("a", type=tarfile.SYMTYPE, linkname="../../outside")],
        [_member("a", type=tarfile.SYMTYPE, linkname="/etc"), _member("a/b", size=3)],
        [_member("a", type=tarfile.LNKTYPE, linkname="/etc/passwd")],
        [_member("a", type=tarfile.FIFOTYPE)],
        [_member("a", type=tarfile.CHRTYPE)],
        [_member("a", size=3), _member("a", size=3)],
        [_member(".git/config", size=3)],
    ],
)
def test_a_hostile_tree_is_refused(
    bundle: Path, away: Cache, tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    def change(_document: dict[str, Any], parts: dict[str, bytes]) -> None:
        parts[next(name for name in parts if name.startswith("trees/"))] = _tar(*members)

    with pytest.raises((InvalidInputError, MismatchError)):
        load_bundle(_changed(bundle, change), away, platform=PLATFORM)
    assert not (tmp_path / "outside").exists()
    assert not [name for name in _held(away) if name.startswith("trees/")]
    assert not list(away.tmp.iterdir())


def test_a_tree_with_other_files_than_the_lock_says_is_refused_by_name(
    bundle: Path, away: Cache
) -> None:
    def change(_document: dict[str, Any], parts: dict[str, bytes]) -> None:
        names = [name for name in parts if name.startswith("trees/")]
        parts[names[0]] = _tar(_member("main.py", size=3))

    with pytest.raises(MismatchError, match="the tree of (core|painter)"):
        load_bundle(_changed(bundle, change), away, platform=PLATFORM)
    assert not committed_lock_path(away.loaded_spec("small"), "small").exists()


def test_a_disk_that_is_too_small_is_reported_before_anything_is_written(
    bundle: Path, away: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage)
    with pytest.raises(OperationFailedError, match="are needed below"):
        load_bundle(bundle, away, platform=PLATFORM)
    assert _held(away) == []


_LOAD = """
import sys
from pathlib import Path
from runpod_comfy.bundle.load import load_bundle
from runpod_comfy.cache.paths import Cache
load_bundle(Path(sys.argv[1]), Cache(root=Path(sys.argv[2])), platform=sys.argv[3])
"""


def _start(bundle: Path, cache: Cache) -> subprocess.Popen[str]:
    return start_python("-c", _LOAD, bundle, cache.root, PLATFORM)


def test_several_processes_can_load_the_same_bundle_at_once(
    bundle: Path, away: Cache, tmp_path: Path
) -> None:
    processes = [_start(bundle, away) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    alone = Cache(root=tmp_path / "alone")
    load_bundle(bundle, alone, platform=PLATFORM)
    names = [name for name in _held(alone) if not name.startswith("roots/")]
    assert [name for name in _held(away) if not name.startswith("roots/")] == names
    assert all(
        (away.root / name).read_bytes() == (alone.root / name).read_bytes() for name in names
    )


def test_a_load_that_was_killed_is_taken_up_by_the_next(
    bundle: Path, away: Cache, tmp_path: Path
) -> None:
    alone = Cache(root=tmp_path / "alone")
    began = time.monotonic()
    assert _start(bundle, alone).wait() == 0
    seconds = time.monotonic() - began
    for moment in range(6):
        process = _start(bundle, away)
        # Its first half goes into starting Python.
        time.sleep(seconds * (0.5 + 0.08 * moment))
        process.send_signal(signal.SIGKILL)
        process.wait()
    load_bundle(bundle, away, platform=PLATFORM)
    names = [name for name in _held(alone) if not name.startswith("roots/")]
    assert [name for name in _held(away) if not name.startswith(("roots/", "models/tmp/"))] == names


def test_what_a_bundle_holds_is_reported_without_reading_its_parts(bundle: Path) -> None:
    whole = bytearray(bundle.read_bytes())
    with tarfile.open(bundle) as archive:
        model = archive.getmembers()[-1]
    whole[model.offset_data] ^= 1
    bundle.write_bytes(whole)
    summary = describe_bundle(bundle)
    assert (summary.version_id, summary.platform, summary.models) == ("small", PLATFORM, 1)


def test_a_folder_that_a_loaded_version_never_had_is_not_missed(
    here: Place, bundle: Path, away: Cache
) -> None:
    load_bundle(bundle, away, platform=PLATFORM)
    said: list[str] = []
    base_dir = away.loaded_spec("small").parent
    fetch_context = FetchContext(cache=away, base_dir=base_dir, offline=True, say=said.append)
    core = here.lock().comfy
    FolderSource().fetch(TreeRequest(repo=core.repo, commit=core.commit), fetch_context)
    assert said == []
