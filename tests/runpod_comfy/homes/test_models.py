"""The models of a lock: from any source into the store, and from there to a home."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_errors import OperationFailedError, UnavailableError
from comfy_files.progress import UNSEEN, say_nothing
from comfy_models.links import ModelFolders
from comfy_models.model_file import ModelSource
from comfy_models.store import ModelStore
from comfy_models.verify import store_memory
from runpod_comfy.homes.models import (
    bring_models,
    links_to_make,
    models_to_bring,
    refuse_missing_sources,
)
from runpod_comfy.homes.run import realize
from runpod_comfy.lock.model import LockedModel
from tests.http_server import Answer, Request, serve
from tests.locks import model
from tests.runpod_comfy.homes.conftest import Version

CONTENT = b"weights"


class Web:
    """A server of the model at every path but `/gone`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    def answer(self, request: Request) -> Answer:
        self.asked.append(request.path)
        return Answer(status=404) if request.path == "/gone" else Answer(body=CONTENT)


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    with serve(answering=web.answer) as url:
        web.url = url
        yield web


@pytest.fixture
def folders(tmp_path: Path) -> ModelFolders:
    return ModelFolders(
        store=ModelStore(tmp_path / "store"),
        shared=tmp_path / "shared",
        home=tmp_path / "home/models",
    )


def locked(*urls: str) -> LockedModel:
    return model(
        "loras/a.bin",
        name="a",
        sources=[ModelSource(url=url) for url in urls],
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
    )


def bring(
    folders: ModelFolders, base_dir: Path, *models: LockedModel, offline: bool = False
) -> list[str]:
    return bring_models(
        models, folders, base_dir=base_dir, offline=offline, say=say_nothing, progress=UNSEEN
    )


def test_a_home_gets_a_model_from_a_web_server(version: Version, web: Web) -> None:
    version.models = [locked(f"{web.url}/a.bin")]
    home = realize(version.job()).target
    assert (home / "models/loras/a.bin").read_bytes() == CONTENT
    assert not realize(version.job()).changed
    asked = len(web.asked)
    realize(version.job(version.folder / "another"))
    assert len(web.asked) == asked


def test_a_mirror_is_used_where_the_first_source_lacks_the_model(
    web: Web, folders: ModelFolders, tmp_path: Path
) -> None:
    both = locked(f"{web.url}/gone", f"{web.url}/mirror")
    assert bring(folders, tmp_path, both) == ["a"]
    assert folders.store.path_of(both.sha256).read_bytes() == CONTENT
    assert bring(folders, tmp_path, both) == []


def test_offline_a_file_of_this_machine_is_used_and_no_host_asked(
    web: Web, folders: ModelFolders, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    assert bring(folders, tmp_path, locked(f"{web.url}/a.bin", "a.bin"), offline=True) == ["a"]
    assert web.asked == []


def test_offline_a_realization_names_the_models_that_are_not_here(
    version: Version, web: Web
) -> None:
    realize(version.job())
    version.models = [locked(f"{web.url}/a.bin")]
    with pytest.raises(UnavailableError, match=r"model a \(7 bytes\), from http://127"):
        realize(version.job(offline=True))
    assert web.asked == []


def test_only_models_of_this_machine_alone_are_missed_before_the_work(
    web: Web, tmp_path: Path
) -> None:
    refuse_missing_sources([locked(f"{web.url}/gone"), locked("a.bin", f"{web.url}/a")], tmp_path)
    (tmp_path / "mirror.bin").touch()
    refuse_missing_sources([locked("a.bin", "mirror.bin")], tmp_path)
    with pytest.raises(UnavailableError, match=r"missing model files: a \(.*/a.bin\)"):
        refuse_missing_sources([locked("a.bin", "b.bin")], tmp_path)
    assert web.asked == []


def test_a_file_of_the_shared_folder_is_hashed_once(
    folders: ModelFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folders.shared / "loras/a.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert models_to_bring([locked("gone.bin")], folders) == []
    monkeypatch.setattr("comfy_models.verify.sha256_of", lambda *_, **__: pytest.fail("hashed"))
    assert models_to_bring([locked("gone.bin")], folders) == []
    (link,) = links_to_make([locked("gone.bin")], folders)
    assert (link.root, link.source) == (folders.home, place)


def test_what_is_known_to_be_wrong_in_the_store_is_fetched_again(
    folders: ModelFolders, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    wanted = locked("a.bin")
    stored = folders.store.path_of(wanted.sha256)
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"WEIGHTS")
    assert bring(folders, tmp_path, wanted) == []
    memory = store_memory(folders.store)
    memory.hash_of(stored)
    memory.save()
    assert bring(folders, tmp_path, wanted) == ["a"]
    assert stored.read_bytes() == CONTENT


def test_a_store_that_cannot_be_written_says_how_to_name_another(
    folders: ModelFolders, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    folders.store.root.write_bytes(b"a file")
    with pytest.raises(OperationFailedError, match="the model store .* could not be written") as it:
        bring(folders, tmp_path, locked("a.bin"))
    assert "COMFY_CACHE_MODELS" in it.value.remedy
