"""An image's models: found on whatever is mounted, or all reported as missing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_home.manifest import Manifest, ManifestModel, load_manifest, save_manifest
from comfy_models.model_file import ModelSource, Pin
from comfy_models.verify import MEMORY_NAME
from rp_handler.home.engine_setup import engine_setup
from rp_handler.home.model_search import ModelSearch
from rp_handler.home.models import models_at_hand
from rp_handler.home.open import opened_for_run
from rp_handler.home.realized import Home
from rp_handler.main import main
from rp_handler.run_request import make_request
from tests.full_disk import nearly_full
from tests.graphs import SAVE, write_graph
from tests.http_server import Answer, Request, ranged, serve
from tests.model_hosts.hub import TOKEN, hub
from tests.program import start_python

NAMES = ("a.pth", "b.pth")
BYTES = {"a.pth": b"first model", "b.pth": b"second"}


def sha256(name: str) -> str:
    return hashlib.sha256(BYTES[name]).hexdigest()


def manifest_model(name: str, **more: Any) -> ManifestModel:
    return ManifestModel(
        target_path=f"upscale_models/{name}", sha256=sha256(name), size=len(BYTES[name]), **more
    )


@pytest.fixture(autouse=True)
def image(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image of two models, with no place configured to find them in."""
    models = [manifest_model(name) for name in NAMES]
    save_manifest(home, Manifest(version_id="demo", complete=True, models=models))
    monkeypatch.setenv("COMFY_BAKED_HOME", str(home))
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    for name in ("SERVERLESS", "POD"):
        monkeypatch.setattr(f"rp_handler.home.model_search._{name}_VOLUME", tmp_path / name.lower())
    monkeypatch.chdir(tmp_path)
    return home


def put(folder: Path, name: str, content: bytes | None = None) -> Path:
    place = folder / "upscale_models" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(BYTES[name] if content is None else content)
    return place


def run(graph: dict[str, Any], tmp_path: Path) -> int:
    path = write_graph(tmp_path / "graph.json", graph)
    return main(["--workflow", path, "--output", "base64"])


def counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> int:
    """How many model files the engine sees."""
    capsys.readouterr()
    assert run({}, tmp_path) == 0
    count: int = json.loads(capsys.readouterr().out)["counts"]["models"]
    return count


def test_missing_models_are_listed_all_at_once_with_where_was_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = tmp_path / "volume"
    put(volume / "models", "a.pth", b"too short")
    (volume / "models/upscale_models/b.pth").symlink_to("/host/store/sha256/ab")
    monkeypatch.setenv("COMFY_HOME", str(volume))
    assert run(SAVE, tmp_path) == 3
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["error_type"] == "missing_models"
    assert [one["target_path"] for one in document["details"]["models"]] == [
        "upscale_models/a.pth",
        "upscale_models/b.pth",
    ]
    assert "a.pth has 9 bytes, not 11" in said.err
    assert "b.pth links to /host/store/sha256/ab, which does not exist" in said.err
    assert f"{volume}/models" in said.err
    assert f"{tmp_path}/serverless/models (does not exist)" in said.err
    assert "MODELS_DIR" in said.err
    assert "Starting ComfyUI" not in said.err


@pytest.mark.parametrize(
    "place", ["MODELS_DIR", "COMFY_HOME", "home", "serverless", "pod", "COMFY_CACHE_ROOT", "store"]
)
def test_models_are_found_wherever_they_are_mounted(
    place: str,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mounted = tmp_path / "mounted"
    stores = {"store": mounted, "COMFY_CACHE_ROOT": tmp_path / "cache/models"}
    for name in NAMES:
        if place in stores:
            stored = stores[place] / "sha256" / sha256(name)[:2] / sha256(name)
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_bytes(BYTES[name])
        else:
            folders = {
                "MODELS_DIR": mounted,
                "COMFY_HOME": mounted / "models",
                "home": image / "models",
                "serverless": tmp_path / "serverless/models",
                "pod": tmp_path / "pod/models",
            }
            put(folders[place], name)
    if place in ("MODELS_DIR", "COMFY_HOME"):
        monkeypatch.setenv(place, str(mounted))
    if place == "store":
        monkeypatch.setenv("COMFY_CACHE_MODELS", str(mounted))
    assert run(SAVE, tmp_path) == 0
    assert counted(tmp_path, capsys) == 2


def test_models_are_found_in_runpods_cache_of_the_hub(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pin = Pin(commit="c0ffee")
    models = [
        manifest_model(name, sources=[ModelSource(url=f"hf://org/repo/{name}", pin=pin)])
        for name in NAMES
    ]
    save_manifest(image, Manifest(version_id="demo", complete=True, models=models))
    repository = tmp_path / "serverless/huggingface-cache/hub/models--org--repo"
    (repository / "snapshots/c0ffee").mkdir(parents=True)
    (repository / "blobs").mkdir()
    for name in NAMES:
        (repository / "blobs" / sha256(name)).write_bytes(BYTES[name])
        link = repository / "snapshots/c0ffee" / name
        link.symlink_to(f"../../blobs/{sha256(name)}")
    assert run(SAVE, tmp_path) == 0
    assert counted(tmp_path, capsys) == 2


def test_a_wrong_file_of_the_same_name_does_not_hide_the_right_one(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The core takes the first file of a name: ours has to come first."""
    put(image / "models", "a.pth", b"wrong model")
    put(image / "models", "b.pth")
    put(tmp_path / "pod/models", "a.pth")
    request = make_request({}, workflow=tmp_path / "graph.json")

    async def scenario(home: Home, search: ModelSearch | None) -> None:
        async with models_at_hand(home, search, say=print) as (ready, warnings):
            assert warnings == ()
            first = ready.model_folders().directories(["upscale_models"])[0]
            assert [path.name for path in first.iterdir()] == ["a.pth"]
            assert (first / "a.pth").read_bytes() == BYTES["a.pth"]
            with engine_setup(ready) as setup:
                assert setup.extra_model_paths is not None
                told = setup.extra_model_paths.read_text(encoding="utf-8")
                assert "is_default: true" in told
        assert not first.exists()

    with opened_for_run(request, os.environ, say=print) as opened:
        asyncio.run(scenario(*opened))


def test_what_was_hashed_once_is_remembered_beside_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    for name in NAMES:
        put(models, name)
    monkeypatch.setenv("MODELS_DIR", str(models))
    assert run(SAVE, tmp_path) == 0
    remembered = (models / MEMORY_NAME).read_text(encoding="utf-8").split()
    assert sorted(remembered[::2]) == sorted(map(sha256, NAMES))
    # A memory that lies is believed, until somebody asks for the bytes.
    wrong = "".join(f"{'0' * 64} {identity}\n" for identity in remembered[1::2])
    (models / MEMORY_NAME).write_text(wrong, encoding="utf-8")
    assert run(SAVE, tmp_path) == 3
    monkeypatch.setenv("COMFY_VERIFY_MODELS", "1")
    assert run(SAVE, tmp_path) == 0


def test_missing_models_can_be_ignored_and_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFY_MISSING_MODELS", "ignore")
    assert run(SAVE, tmp_path) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "a.pth" in warning
    assert "b.pth" in warning


def test_the_smoke_test_reports_missing_models_and_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run({}, tmp_path) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "b.pth" in warning


@pytest.mark.parametrize(
    ("name", "value"), [("COMFY_MISSING_MODELS", "shrug"), ("COMFY_VERIFY_MODELS", "perhaps")]
)
def test_a_value_that_means_nothing_is_refused(
    name: str,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    assert run({}, tmp_path) == 2
    assert f'{name} is "{value}"' in capsys.readouterr().err


@pytest.fixture
def asked() -> list[str]:
    """The paths that the server was asked for."""
    return []


@pytest.fixture
def server(tmp_path: Path, asked: list[str]) -> Iterator[str]:
    """An HTTP server that has both models."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(BYTES[name])
    with serve(folder, lambda request: asked.append(request.path)) as url:
        yield url


def with_sources(image: Path, *sources: str) -> None:
    manifest = load_manifest(image)
    assert manifest is not None
    models = [
        manifest_model(name, sources=[ModelSource(url=source)])
        for name, source in zip(NAMES, sources, strict=True)
    ]
    save_manifest(image, manifest.model_copy(update={"models": models}))


@pytest.fixture
def downloaded_to(
    server: str, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The models folder, not made yet, that the missing models of `image` are downloaded to."""
    with_sources(image, f"{server}/a.pth", f"{server}/b.pth")
    models = tmp_path / "not made yet"
    monkeypatch.setenv("MODELS_DIR", str(models))
    monkeypatch.setenv("COMFY_MISSING_MODELS", "download")
    return models


def test_missing_models_can_be_downloaded_to_the_models_folder(
    downloaded_to: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(SAVE, tmp_path) == 0
    for name in NAMES:
        assert (downloaded_to / "upscale_models" / name).read_bytes() == BYTES[name]
    assert counted(tmp_path, capsys) == 2


def test_too_little_room_for_missing_models_is_reported_before_a_download(
    downloaded_to: Path,
    asked: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nearly_full(monkeypatch, free_bytes=sum(map(len, BYTES.values())) - 1)
    assert run(SAVE, tmp_path) == 3
    said = capsys.readouterr().err
    assert "are needed below" in said
    assert asked == []
    assert not list(downloaded_to.rglob("*.pth"))


def test_what_cannot_be_downloaded_is_reported_with_its_reason(
    server: str,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_sources(image, f"{server}/b.pth", f"{server}/none")
    monkeypatch.setenv("COMFY_MISSING_MODELS", "download")
    assert run(SAVE, tmp_path) == 3
    said = capsys.readouterr().err
    assert "has 6 bytes, not 11" in said
    assert "/none could not be read: it answered 404" in said
    assert not (image / "models/upscale_models/a.pth").exists()


def test_outside_of_an_image_nothing_is_looked_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMFY_BAKED_HOME")
    monkeypatch.setenv("COMFY_HOME", str(home))
    assert run(SAVE, tmp_path) == 0


def test_a_variable_for_the_volumes_other_path_does_not_hide_the_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "serverless/models"))
    put(tmp_path / "pod/models", "a.pth")
    assert run(SAVE, tmp_path) == 3
    said = capsys.readouterr().err
    assert f"Looked in {tmp_path}/serverless/models (does not exist), " in said
    assert "upscale_models/a.pth" not in said
    put(tmp_path / "pod/models", "b.pth")
    assert run(SAVE, tmp_path) == 0


def test_a_models_folder_in_another_layout_is_named_with_the_variable_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "serverless/ComfyUI/models"
    for name in NAMES:
        put(models, name)
    assert run(SAVE, tmp_path) == 3
    said = capsys.readouterr()
    assert f"a.pth is the right file: MODELS_DIR={models} finds it" in said.err
    assert f"→ Set MODELS_DIR={models}." in said.err
    (first, _) = json.loads(said.out)["details"]["models"]
    assert first["elsewhere"] == [str(models / "upscale_models/a.pth")]
    monkeypatch.setenv("MODELS_DIR", str(models))
    assert run(SAVE, tmp_path) == 0


def test_a_right_file_in_a_wrong_folder_is_named_with_the_place_that_it_belongs_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "pod/models"
    put(models, "b.pth")
    misplaced = models / "checkpoints/a.pth"
    misplaced.parent.mkdir()
    misplaced.write_bytes(BYTES["a.pth"])
    assert run(SAVE, tmp_path) == 3
    said = capsys.readouterr().err
    belongs = f"it belongs at {models}/upscale_models/a.pth"
    assert f"{misplaced} is the right file; {belongs}" in said
    assert "Move the files that were found to where they belong." in said


def test_missing_models_are_downloaded_to_a_volume_that_is_there(
    server: str, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_sources(image, f"{server}/a.pth", f"{server}/b.pth")
    monkeypatch.setenv("COMFY_MISSING_MODELS", "download")
    (tmp_path / "serverless").mkdir()
    assert run(SAVE, tmp_path) == 0
    for name in NAMES:
        place = tmp_path / "serverless/models/upscale_models" / name
        assert place.read_bytes() == BYTES[name]
    assert not (tmp_path / "pod").exists()


def test_a_private_model_is_downloaded_with_the_token_of_the_environment(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFY_MISSING_MODELS", "download")
    with hub() as double:
        files = {name: BYTES[name] for name in NAMES}
        commit = double.publish("org/repo", files, access="private")
        with_sources(image, *(f"hf://org/repo@{commit}/{name}" for name in NAMES))
        monkeypatch.setenv("HF_ENDPOINT", double.url)
        assert run(SAVE, tmp_path) == 3
        said = capsys.readouterr().err
        assert "HF_TOKEN" in said
        assert all(f"upscale_models/{name}" in said for name in NAMES)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert run(SAVE, tmp_path) == 0
    assert TOKEN not in capsys.readouterr().err


def test_of_two_workers_that_start_on_one_volume_one_downloads_and_both_run(
    image: Path, tmp_path: Path
) -> None:
    content = random.Random(1).randbytes(4_000_000)
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        return replace(ranged(request, content, etag='"1"'), rate=2_000_000)

    volume = tmp_path / "volume"
    volume.mkdir()
    variables = {"COMFY_MISSING_MODELS": "download", "COMFY_HOME": str(volume)}
    graph = write_graph(tmp_path / "graph.json", SAVE)
    command = ["-m", "rp_handler.main", "--workflow", graph, "--output", "base64"]
    with serve(None, answer) as url:
        model = ManifestModel(
            target_path="upscale_models/big.onnx",
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            sources=[ModelSource(url=f"{url}/big.onnx")],
        )
        save_manifest(image, Manifest(version_id="demo", complete=True, models=[model]))
        workers = [
            start_python(*command, variables=variables, stderr=subprocess.PIPE) for _ in range(2)
        ]
        said = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert any("which is already being downloaded" in one for one in said)
    assert len(asked) == 1
    assert (volume / "models/upscale_models/big.onnx").read_bytes() == content
