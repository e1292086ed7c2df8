from __future__ import annotations

import json
from pathlib import Path

import pytest

from runpod_comfy.api.model_request import RequestMemory
from runpod_comfy.cache.paths import Cache
from runpod_comfy.models.verify import AskedFolder, AskedModel, in_one_folder

MODEL = AskedModel(
    name="x", target_path="vae/x", sha256="1" * 64, size=1, versions=("a",), base_dir=Path()
)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "a.json"
    path.write_text("{}")
    return path


@pytest.fixture
def asked(tmp_path: Path) -> list[AskedFolder]:
    return [in_one_folder(tmp_path / "models", [MODEL], is_own=True)]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(root=tmp_path / "cache")


def test_a_repeated_request_is_recalled(cache: Cache, spec: Path, asked: list[AskedFolder]) -> None:
    RequestMemory(cache, {"versions": "a"}, [spec]).note(asked)
    assert RequestMemory(cache, {"versions": "a"}, [spec]).recall() == asked
    assert RequestMemory(cache, {"versions": "b"}, [spec]).recall() is None


def test_a_request_is_not_recalled_once_one_of_its_files_has_changed(
    cache: Cache, spec: Path, asked: list[AskedFolder], tmp_path: Path
) -> None:
    lock = tmp_path / "lock.json"
    RequestMemory(cache, {}, [spec, lock]).note(asked)
    assert RequestMemory(cache, {}, [spec, lock]).recall() == asked
    lock.write_text("{}")
    assert RequestMemory(cache, {}, [spec, lock]).recall() is None


def test_what_changes_during_the_request_is_noticed_the_next_time(
    cache: Cache, spec: Path, asked: list[AskedFolder]
) -> None:
    memory = RequestMemory(cache, {}, [spec])
    spec.write_text("{ }")
    memory.note(asked)
    assert RequestMemory(cache, {}, [spec]).recall() is None


def test_the_variables_and_the_working_directory_count(
    cache: Cache,
    spec: Path,
    asked: list[AskedFolder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    RequestMemory(cache, {}, [spec]).note(asked)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("COMFY_HOME", "/another")
        assert RequestMemory(cache, {}, [spec]).recall() is None
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir(tmp_path)
        assert RequestMemory(cache, {}, [spec]).recall() is None
    assert RequestMemory(cache, {}, [spec]).recall() == asked


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"basis": 1}', "[" * 100_000])
def test_a_broken_note_is_no_note(
    cache: Cache, spec: Path, asked: list[AskedFolder], text: str
) -> None:
    RequestMemory(cache, {}, [spec]).note(asked)
    (note,) = cache.asked.iterdir()
    note.write_text(text)
    assert RequestMemory(cache, {}, [spec]).recall() is None


def test_a_note_with_broken_models_is_no_note(
    cache: Cache, spec: Path, asked: list[AskedFolder]
) -> None:
    RequestMemory(cache, {}, [spec]).note(asked)
    (note,) = cache.asked.iterdir()
    document = json.loads(note.read_text())
    document["folders"][0]["models"][0].pop()
    note.write_text(json.dumps(document))
    assert RequestMemory(cache, {}, [spec]).recall() is None
