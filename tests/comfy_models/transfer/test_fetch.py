from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from comfy_errors import MismatchError
from comfy_http.client import HttpClient
from comfy_http.settings import NetworkSettings
from comfy_models.model_file import ModelSource
from comfy_models.sources.hosts import Hosts, hosts_for
from comfy_models.store import ModelStore
from comfy_models.transfer.fetch import fetch, fetch_to
from tests.http_server import Answer, Request, ranged, serve

CONTENT = random.Random(1).randbytes(40_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Model:
    target_path: str = "vae/x.safetensors"
    sha256: str = SHA256
    size: int = len(CONTENT)
    sources: Sequence[ModelSource] = field(default=())


def model_at(*urls: str) -> Model:
    return Model(sources=[ModelSource(url=url) for url in urls])


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    client = HttpClient(settings=NetworkSettings(), remedy="")
    return hosts_for(client, tmp_path, os.environ)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_of_this_machine_is_stored_read_only(
    store: ModelStore, hosts: Hosts, tmp_path: Path
) -> None:
    (tmp_path / "x.bin").write_bytes(CONTENT)
    fetch([model_at("x.bin")], store, hosts)
    assert store.path_of(SHA256).read_bytes() == CONTENT
    assert store.path_of(SHA256).stat().st_mode & 0o777 == 0o444
    assert files_in(store.root) == [store.path_of(SHA256)]


def test_a_file_of_a_web_server_is_stored(store: ModelStore, hosts: Hosts) -> None:
    with serve(answering=lambda request: ranged(request, CONTENT, etag='"1"')) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
    assert store.path_of(SHA256).read_bytes() == CONTENT
    assert files_in(store.root) == [store.path_of(SHA256)]


def test_a_file_is_written_outside_the_store(hosts: Hosts, tmp_path: Path) -> None:
    place = tmp_path / "models/vae/x.safetensors"
    with serve(answering=lambda request: ranged(request, CONTENT, etag='"1"')) as url:
        fetch_to([(model_at(f"{url}/x"), place)], hosts)
    assert place.read_bytes() == CONTENT
    assert files_in(tmp_path) == [place]


def test_a_mirror_is_asked_when_the_source_fails(store: ModelStore, hosts: Hosts) -> None:
    def answer(request: Request) -> Answer | None:
        return ranged(request, CONTENT, etag='"1"') if request.path == "/right" else None

    with serve(answering=answer) as url:
        fetch([model_at(f"{url}/none", f"{url}/right")], store, hosts)
    assert store.holds(SHA256)


def test_a_wrong_file_never_gets_its_final_name(store: ModelStore, hosts: Hosts) -> None:
    wrong = CONTENT[:-1] + b"!"
    found = hashlib.sha256(wrong).hexdigest()
    with (
        serve(answering=lambda request: ranged(request, wrong, etag='"1"')) as url,
        pytest.raises(MismatchError, match=f"{url}/x has sha256 {found}, but {SHA256}"),
    ):
        fetch([model_at(f"{url}/x")], store, hosts)
    assert not store.holds(SHA256)
