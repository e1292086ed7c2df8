from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfy_files.files import is_locked
from comfy_models.store import ModelStore
from comfy_models.transfer.lease import take_lease
from comfy_models.transfer.place import unhashed_key
from comfy_models.unused import unused_models
from comfy_models.verify import store_memory
from tests.model_downloads import Served, fetching, keep, serving


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def _add(store: ModelStore, content: bytes) -> str:
    return keep(store.root, content).name


def test_only_models_that_are_not_needed_are_unused(store: ModelStore) -> None:
    needed, unneeded = (_add(store, text) for text in (b"one", b"two"))
    found = unused_models(store, {needed})
    assert found.files == (store.path_of(unneeded),)
    assert found.leftovers == ()
    assert found.unknown == ()


def test_a_store_that_is_not_there_has_nothing_unused(store: ModelStore) -> None:
    assert unused_models(store, set()).files == ()


def test_what_no_store_makes_is_unknown(store: ModelStore) -> None:
    sha256 = _add(store, b"one")
    strangers = [store.root / "notes.txt", store.path_of(sha256).with_name("model.safetensors")]
    for path in strangers:
        path.write_text("mine")
    assert set(unused_models(store, {sha256}).unknown) == set(strangers)


def test_the_models_of_jobs_in_a_store_are_left_alone(store: ModelStore) -> None:
    keep(store.root / "jobs", b"one")
    found = unused_models(store, set())
    assert (found.files, found.leftovers, found.unknown) == ((), (), ())


def test_the_files_of_a_killed_transfer_are_left_over_and_those_of_a_running_one_are_not(
    store: ModelStore,
) -> None:
    with serving(x=Served(rate=100_000)) as url:
        process = fetching(store.root, f"{url}/x")
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdecimal()
        files = set((store.root / "tmp").iterdir())
        assert {path.suffix for path in files} == {".partial", ".parts", ".lease"}
        assert unused_models(store, set()).leftovers == ()
        process.kill()
        process.communicate()
    assert set(unused_models(store, set()).leftovers) == files


def test_a_transfer_that_finishes_while_it_is_looked_at_is_no_leftover(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = store.root / "tmp" / "x.partial"
    partial.parent.mkdir(parents=True)
    partial.touch()

    def finish_first(path: Path) -> bool:
        path.unlink()
        return is_locked(path)

    monkeypatch.setattr("comfy_models.unused.is_locked", finish_first)
    assert unused_models(store, set()).leftovers == ()


def _in_tmp(store: ModelStore, *names: str) -> list[Path]:
    folder = store.root / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in names]
    for path in paths:
        path.touch()
    return paths


def test_the_memory_is_known_and_what_a_killed_process_left_of_it_is_left_over(
    store: ModelStore,
) -> None:
    sha256 = _add(store, b"one")
    store_memory(store).keep(store.path_of(sha256), sha256)
    partial = store.root / "..comfy_verified.partial"
    partial.touch()
    found = unused_models(store, {sha256})
    assert (found.unknown, found.leftovers) == ((), (partial,))


def test_a_journal_is_left_over_together_with_its_file(store: ModelStore) -> None:
    paths = _in_tmp(store, "a.lease", "a.partial", "a.parts", "b.parts")
    paths[0].write_text(f"token {'0' * 36} 1-1")
    os.utime(paths[0], (0, 0))
    assert unused_models(store, set()).leftovers == tuple(paths)


def test_what_the_next_download_of_a_needed_model_continues_with_is_kept(store: ModelStore) -> None:
    needed = unhashed_key("https://host/x.gguf")
    _in_tmp(store, *(f"{needed}{end}" for end in (".partial", ".parts", ".lease", ".learnt")))
    unneeded = _in_tmp(store, "b.learnt", "b.partial", "b.parts")
    assert unused_models(store, {needed}).leftovers == tuple(unneeded)


def test_what_another_machine_writes_is_no_leftover(store: ModelStore) -> None:
    lease, *_ = _in_tmp(store, "a.lease", "a.partial", "a.parts")
    lease.write_text("token another-start-of-another-machine 1-1")
    assert unused_models(store, set()).leftovers == ()


def test_what_a_process_of_this_machine_has_leased_is_no_leftover_until_it_ends(
    store: ModelStore,
) -> None:
    (partial,) = _in_tmp(store, "a.partial")
    lease = take_lease(
        store.root / "tmp" / "a.lease", is_locked=True, is_done=lambda: False, wait=lambda: None
    )
    assert lease is not None
    assert unused_models(store, set()).leftovers == ()
    lease.end()
    assert unused_models(store, set()).leftovers == (partial,)


def test_a_mark_of_bytes_that_the_disk_may_lack_is_kept_with_its_file(store: ModelStore) -> None:
    sha256 = _add(store, b"one")
    _in_tmp(store, f"{sha256}.unsynced")
    (of_nothing,) = _in_tmp(store, f"{'0' * 64}.unsynced")
    assert unused_models(store, {sha256}).leftovers == (of_nothing,)
