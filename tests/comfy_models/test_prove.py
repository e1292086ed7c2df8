from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from comfy_files.progress import Progress
from comfy_home.manifest import ManifestModel
from comfy_http.client import HttpClient
from comfy_http.settings import NetworkSettings
from comfy_models.links import ModelFolders
from comfy_models.model_file import ModelFile, ModelSource
from comfy_models.proof import Proof
from comfy_models.prove import is_settled, prove
from comfy_models.sources.hosts import hosts_for
from comfy_models.store import ModelStore
from comfy_models.transfer.fetch import fetch
from comfy_models.verify import store_memory
from tests.ordinary_user import as_ordinary_user, users_folder


def model(content: bytes, target_path: str = "loras/a.bin") -> ManifestModel:
    """A model whose host is a folder, in which the file may be missing."""
    sha256 = hashlib.sha256(content).hexdigest()
    sources = [ModelSource(url=sha256)]
    return ManifestModel(target_path=target_path, sha256=sha256, size=len(content), sources=sources)


class Reads(Progress):
    """How many bytes were read to be hashed."""

    def __init__(self) -> None:
        self.files = self.size_bytes = 0

    def arrived(self, part: str, *, count: int = 0, size_bytes: int = 0) -> None:
        assert part == "hashed"
        self.files += count
        self.size_bytes += size_bytes


@dataclass(kw_only=True)
class World:
    """A store, a models folder, and a folder of files that are fetched from."""

    folders: ModelFolders
    host: Path
    asked: list[str] = field(default_factory=list)
    read_bytes: int = 0

    def prove(self, *models: ManifestModel, fetching: bool = False, **options: Any) -> Proof:
        reads = Reads()
        memory = store_memory(self.folders.store, self.folders.shared)

        def bring(lacking: Sequence[ModelFile]) -> None:
            self.asked += [each.target_path for each in lacking]
            client = HttpClient(settings=NetworkSettings(), remedy="")
            hosts = hosts_for(client, self.host, {})
            fetch(lacking, self.store, hosts, remember=memory.keep)

        options["fetch"] = bring if fetching else None
        proof = prove(models, self.folders, memory, progress=reads, **options)
        self.read_bytes = reads.size_bytes
        return proof

    def states(self, *models: ManifestModel, **options: Any) -> list[str]:
        return [each.state for each in self.prove(*models, **options).models]

    def put_at_host(self, *contents: bytes) -> None:
        for content in contents:
            write(self.host / hashlib.sha256(content).hexdigest(), content)

    @property
    def store(self) -> ModelStore:
        return self.folders.store

    def put_in_store(self, wanted: ManifestModel, content: bytes) -> Path:
        return write(self.store.path_of(wanted.sha256), content)

    def place(self, wanted: ManifestModel) -> Path:
        return self.folders.shared / wanted.target_path


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def make_world(folder: Path) -> World:
    store = ModelStore(folder / "store")
    return World(folders=ModelFolders(store=store, shared=folder / "models"), host=folder / "host")


A, B = model(b"model a"), model(b"model b", "vae/b.bin")


def test_a_missing_model_is_downloaded_and_linked_and_known_from_then_on(world: World) -> None:
    world.put_at_host(b"model a", b"model b")
    assert world.states(A, B, fetching=True) == ["downloaded", "downloaded"]
    assert world.read_bytes == 0
    assert world.place(A).readlink() == Path(
        os.path.relpath(world.store.path_of(A.sha256), world.place(A).parent)
    )
    assert world.states(A, B, fetching=True) == ["present", "present"]
    assert world.asked == [A.target_path, B.target_path]
    assert world.read_bytes == 0


def test_a_file_that_entered_the_store_by_other_ways_is_hashed_once(world: World) -> None:
    world.put_in_store(A, b"model a")
    assert world.states(A) == ["verified"]
    assert world.read_bytes == A.size
    assert world.states(A) == ["present"]
    assert world.read_bytes == 0


def test_a_changed_file_is_hashed_again(world: World) -> None:
    stored = world.put_in_store(A, b"model a")
    world.prove(A)
    os.utime(stored)
    assert world.states(A) == ["verified"]
    os.utime(stored)
    stored.write_bytes(b"model x")
    assert world.states(A) == ["wrong"]


def test_rehash_reads_what_is_remembered(world: World) -> None:
    world.put_in_store(A, b"model a")
    world.prove(A)
    assert world.states(A, rehash=True) == ["verified"]
    assert world.read_bytes == A.size


def test_rehash_does_not_believe_the_memory(world: World) -> None:
    stored = world.put_in_store(A, b"model x")
    store_memory(world.store).keep(stored, A.sha256)
    assert world.states(A) == ["present"]
    (found,) = world.prove(A, rehash=True).models
    assert found.state == "wrong"
    assert found.reason.startswith(f"{stored} has sha256 ")


def test_a_thousand_known_models_are_proven_without_opening_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [b"%d" % number for number in range(1000)]
    models = [model(each, f"loras/{each.decode()}.bin") for each in contents]
    for wanted, content in zip(models, contents, strict=True):
        world.put_in_store(wanted, content)
    assert set(world.states(*models)) == {"verified"}
    opened = []

    def audit(path: Any, *_rest: Any) -> None:
        opened.append(str(path))

    monkeypatch.setattr("comfy_files.files.Path.open", audit)
    assert set(world.states(*models)) == {"present"}
    assert opened == []


def test_a_wrong_copy_in_the_store_is_fetched_again(world: World) -> None:
    world.put_at_host(b"model a")
    world.put_in_store(A, b"model x")
    assert world.states(A) == ["wrong"]
    assert world.states(A, fetching=True) == ["downloaded"]
    assert world.place(A).read_bytes() == b"model a"


def test_what_no_host_has_is_missing_and_the_error_says_why(world: World) -> None:
    world.put_at_host(b"model b")
    proof = world.prove(A, B, fetching=True)
    assert [each.state for each in proof.models] == ["missing", "downloaded"]
    assert proof.error is not None
    assert "there is no file" in proof.error.message
    assert not os.path.lexists(world.place(A))


def test_a_file_that_a_person_put_into_the_models_folder_is_adopted(world: World) -> None:
    write(world.place(A), b"model a")
    assert world.states(A, fetching=True) == ["verified"]
    assert world.states(A, fetching=True) == ["present"]
    assert world.asked == []
    assert not world.place(A).is_symlink()
    assert not world.store.holds(A.sha256)


def test_another_file_is_never_replaced_unless_that_is_asked_for(world: World) -> None:
    world.put_at_host(b"model a")
    write(world.place(A), b"my own file")
    (found,) = world.prove(A, fetching=True).models
    assert found.state == "wrong"
    assert "it has 11 bytes, not 7" in found.reason
    assert found.reason.endswith("; move it away, or replace it with --overwrite")
    assert world.place(A).read_bytes() == b"my own file"
    assert world.asked == []
    assert world.states(A, fetching=True, overwrite=True) == ["downloaded"]
    assert world.place(A).read_bytes() == b"model a"
    assert world.place(A).is_symlink()


def test_another_file_stays_until_the_model_is_there(world: World) -> None:
    write(world.place(A), b"my own file")
    assert world.states(A, fetching=True, overwrite=True) == ["missing"]
    assert world.place(A).read_bytes() == b"my own file"


def test_links_into_a_store_that_is_gone_are_repaired(world: World, tmp_path: Path) -> None:
    world.put_in_store(A, b"model a")
    world.place(A).parent.mkdir(parents=True)
    world.place(A).symlink_to(ModelStore(tmp_path / "gone").path_of(A.sha256))
    (found,) = world.prove(A).models
    assert (found.state, found.linked) == ("verified", True)
    assert world.place(A).read_bytes() == b"model a"


def test_a_link_to_a_wrong_stored_file_is_repaired(world: World, tmp_path: Path) -> None:
    world.put_in_store(A, b"model a")
    wrong = write(ModelStore(tmp_path / "other").path_of(A.sha256), b"model x")
    world.place(A).parent.mkdir(parents=True)
    world.place(A).symlink_to(wrong)
    assert world.states(A) == ["verified"]
    assert world.place(A).read_bytes() == b"model a"


def test_the_links_of_a_version_are_made_too(world: World, tmp_path: Path) -> None:
    home = tmp_path / "home"
    world.folders = ModelFolders(store=world.store, shared=world.folders.shared, home=home)
    world.put_in_store(A, b"model a")
    world.prove(A)
    memory = store_memory(world.store)
    assert (home / A.target_path).readlink() == Path("../../models/loras/a.bin")
    assert is_settled(A, world.folders, memory)
    (home / A.target_path).unlink()
    assert not is_settled(A, world.folders, memory)


def test_a_file_of_two_names_is_read_once(world: World) -> None:
    world.put_in_store(A, b"model a")
    world.place(A).parent.mkdir(parents=True)
    world.place(A).hardlink_to(world.store.path_of(A.sha256))
    assert world.states(A) == ["verified"]
    assert world.read_bytes == A.size


users_place = pytest.fixture(users_folder)


def test_a_file_that_cannot_be_read_is_wrong(users_place: Path) -> None:
    world = make_world(users_place)
    world.put_in_store(A, b"model a").chmod(0)

    def work() -> None:
        (found,) = world.prove(A).models
        assert (found.state, "cannot be read" in found.reason) == ("wrong", True)

    as_ordinary_user(work, users_place)


def test_a_models_folder_that_cannot_be_written_lacks_the_model(users_place: Path) -> None:
    world = make_world(users_place)
    world.put_at_host(b"model a")
    world.folders.shared.mkdir(mode=0o555)

    def work() -> None:
        proof = world.prove(A, fetching=True)
        (found,) = proof.models
        assert (found.state, "permission denied" in found.reason) == ("missing", True)
        assert proof.error is not None
        assert proof.error.message.endswith(found.reason)
        assert "permissions" in proof.error.remedy

    as_ordinary_user(work, users_place)


def test_a_folder_in_the_way_is_to_be_moved_even_with_overwrite(world: World) -> None:
    world.put_at_host(b"model a")
    write(world.place(A) / "mine", b"my own file")
    (found,) = world.prove(A, fetching=True, overwrite=True).models
    assert (found.state, found.reason.endswith("; move it away")) == ("wrong", True)


def test_a_file_that_the_disk_may_have_lost_is_read_again(world: World) -> None:
    stored = world.put_in_store(A, b"model a")
    mark = world.store.mark_of(A.sha256)
    world.prove(A)
    write(mark, b"an earlier start of the machine")
    assert world.states(A) == ["verified"]
    assert not mark.exists()
    write(mark, b"an earlier start of the machine")
    before = stored.stat()
    stored.write_bytes(bytes(A.size))
    os.utime(stored, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert world.states(A) == ["wrong"]
    world.put_at_host(b"model a")
    assert world.states(A, fetching=True) == ["downloaded"]


def test_without_room_nothing_is_fetched_and_the_reason_is_given(world: World) -> None:
    huge = ManifestModel(target_path="huge.bin", sha256="0" * 64, size=1 << 60)
    proof = world.prove(huge, fetching=True)
    assert proof.error is not None
    assert "are free there" in proof.error.message
    assert not list(world.store.root.rglob("*.partial"))


def test_a_path_that_leads_out_of_the_models_folder_is_refused(
    world: World, tmp_path: Path
) -> None:
    world.put_in_store(A, b"model a")
    world.folders.shared.mkdir()
    (tmp_path / "outside").mkdir()
    (world.folders.shared / "loras").symlink_to(tmp_path / "outside")
    (found,) = world.prove(A).models
    assert found.state == "wrong"
    assert "leads outside" in found.reason
    assert not list((tmp_path / "outside").iterdir())
