"""The demo's upscaler from every kind of host: ComfyUI makes the picture that the file gives."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.http_server import serve
from tests.model_hosts import civitai, hub
from tests.model_hosts.gcs import gcs
from tests.model_hosts.s3 import s3
from tests.program import ROOT, Program

_NAME = "bicubic-2x-compact.safetensors"
_FILE = ROOT / "versions/demo/models" / _NAME
_NODE = ROOT / "versions/demo/custom_nodes/marbled_paper"


class Offer(NamedTuple):
    """Where a host has the file, what a machine needs to get it from there, and how often the host
    was asked.
    """

    source: str
    variables: dict[str, str]
    asked: Callable[[], int]


@contextlib.contextmanager
def _http(_folder: Path) -> Iterator[Offer]:
    asked: list[str] = []
    with serve(_FILE.parent, lambda request: asked.append(request.path)) as url:
        yield Offer(f"{url}/{_NAME}", {}, lambda: len(asked))


@contextlib.contextmanager
def _hf(_folder: Path) -> Iterator[Offer]:
    with hub.hub() as double:
        double.publish("org/up", {f"models/{_NAME}": _FILE.read_bytes()}, access="gated")
        variables = {"HF_ENDPOINT": double.url, "HF_TOKEN": hub.TOKEN}
        yield Offer(f"hf://org/up/models/{_NAME}", variables, lambda: len(double.asked))


@contextlib.contextmanager
def _civitai(_folder: Path) -> Iterator[Offer]:
    with civitai.civitai() as double:
        file = civitai.CivitaiFile(id=7, name=_NAME, content=_FILE.read_bytes(), primary=True)
        double.publish(5, file)
        variables = {"CIVITAI_ENDPOINT": double.url, "CIVITAI_TOKEN": civitai.TOKEN}
        yield Offer("civitai://5", variables, lambda: len(double.asked))


@contextlib.contextmanager
def _gs(folder: Path) -> Iterator[Offer]:
    with gcs(folder) as double:
        double.bucket("models", "private")
        double.put("models", f"up/{_NAME}", _FILE)
        variables = {
            "STORAGE_EMULATOR_HOST": double.url,
            "GOOGLE_APPLICATION_CREDENTIALS": str(double.key_file()),
        }
        yield Offer(f"gs://models/up/{_NAME}", variables, lambda: len(double.asked))


@contextlib.contextmanager
def _s3(_folder: Path) -> Iterator[Offer]:
    with s3() as double:
        double.bucket("models")
        double.put("models", f"up/{_NAME}", _FILE.read_bytes())
        yield Offer(f"s3://models/up/{_NAME}", double.variables, lambda: len(double.asked))


_HOSTS: dict[str, Callable[[Path], AbstractContextManager[Offer]]] = {
    "http": _http,
    "hf": _hf,
    "gs": _gs,
    "civitai": _civitai,
    "s3": _s3,
}


@pytest.fixture(scope="module")
def workflow(place: Path) -> Path:
    """The example, small."""
    graph = json.loads((ROOT / "workflows/example.json").read_text())
    graph["1"]["inputs"] |= {"width": 64, "height": 64}
    path = place / "small.json"
    path.write_text(json.dumps(graph))
    return path


@pytest.fixture(scope="module")
def wanted(program: Program, place: Path, workflow: Path) -> str:
    """The sha256 of the picture that the demo makes with the file of this repository."""
    spec = ROOT / "versions" / "demo.json"
    return _picture(program, "--spec", spec, "--workflow", workflow, "--target", place / "home")


@pytest.mark.parametrize("kind", _HOSTS)
def test_the_picture_is_the_same_with_the_model_from(
    kind: str, program: Program, place: Path, workflow: Path, wanted: str, tmp_path: Path
) -> None:
    folder = place / kind
    with _HOSTS[kind](tmp_path) as offer:
        _write_version(folder, offer.source)
        variables = {**offer.variables, "COMFY_CACHE_MODELS": str(folder / "store")}
        there = replace(program, folder=folder, variables=variables)
        models = folder / "models"
        assert there("resolve", "demo").code == 0
        proven = there("verify-models", "demo", "--models-dir", models, "--json")
        assert proven.code == 0, proven.err
        assert (models / "upscale_models" / _NAME).read_bytes() == _FILE.read_bytes()
        asked = offer.asked()
        assert asked > 0
        loaded = place / "home/models/upscale_models" / _NAME
        loaded.unlink(missing_ok=True)
        options = ("--workflow", workflow, "--target", place / "home", "--models-dir", models)
        assert _picture(there, "demo", *options) == wanted
        assert offer.asked() == asked, "it was proven already"
    assert loaded.resolve().is_relative_to(folder)


def _write_version(folder: Path, source: str) -> None:
    """The demo with its model from `source`, of which nothing is known, and the demo's lock, whose
    packages stay.
    """
    spec = json.loads((ROOT / "versions/demo.json").read_text())
    (node,) = spec["custom_nodes"]
    (model,) = spec["models"]
    node["repo"] = str(_NODE)
    spec["models"] = [{key: model[key] for key in ("name", "target_subdir")} | {"source": source}]
    for place in ("versions", "lockfiles"):
        (folder / place).mkdir(parents=True)
    (folder / "versions/demo.json").write_text(json.dumps(spec))
    shutil.copy(ROOT / "lockfiles/comfy-demo.lock.json", folder / "lockfiles")


def _picture(program: Program, *arguments: str | Path) -> str:
    (image,) = program("run", *arguments, "--json").document()["images"]
    return str(image["sha256"])
