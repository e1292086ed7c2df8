"""Folders of the Hub, listed from its double."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_models.model_file import Pin
from comfy_models.sources.errors import AccessDeniedError, GoneError, NotAModelError
from comfy_models.sources.hub.folder import FolderFile, hub_folder
from comfy_models.sources.hub_address import parse_hub_address
from comfy_models.sources.kinds import source_for
from tests.comfy_models.sources.reached import hosts_with, read
from tests.http_server import Answer, Request, serve
from tests.model_hosts.hub import TOKEN, HubDouble, hub

_FILES = {
    "model_index.json": b"{}",
    "unet/config.json": b'{"layers": 4}',
    "unet/a b.safetensors": b"weights",
    "unet/fp16/model.safetensors": b"half",
    "unets/other.safetensors": b"other",
}


@pytest.fixture
def double() -> Iterator[HubDouble]:
    with hub() as it:
        it.publish("acme/diffuser", _FILES)
        yield it


def _listed(double: HubDouble, folder: Path, url: str, token: str = "") -> list[FolderFile]:
    hosts = hosts_with(folder, {"HF_ENDPOINT": double.url, "HF_TOKEN": token})
    return hub_folder(parse_hub_address(url, double.url), hosts)


def test_the_files_below_a_folder_are_listed_with_their_pins(
    double: HubDouble, tmp_path: Path
) -> None:
    files = _listed(double, tmp_path, "hf://acme/diffuser/unet/")
    assert [(file.path, file.url) for file in files] == [
        ("a b.safetensors", "hf://acme/diffuser/unet/a%20b.safetensors"),
        ("config.json", "hf://acme/diffuser/unet/config.json"),
        ("fp16/model.safetensors", "hf://acme/diffuser/unet/fp16/model.safetensors"),
    ]
    commit = double.repos["acme/diffuser"].branches["main"]
    sha256 = hashlib.sha256(b"weights").hexdigest()
    told = files[0].told
    assert (told.size, told.sha256, told.pin) == (7, sha256, Pin(commit=commit, etag=sha256))
    assert files[1].told.sha256 is None


def test_what_a_folder_tells_about_a_file_is_what_the_file_tells(
    double: HubDouble, tmp_path: Path
) -> None:
    hosts = hosts_with(tmp_path, {"HF_ENDPOINT": double.url})
    for file in _listed(double, tmp_path, "hf://acme/diffuser/"):
        assert source_for(file.url, hosts).pin() == file.told
        content = read(source_for(file.url, hosts, file.told.pin))
        assert content == _FILES[file.path]


def test_a_long_folder_is_listed_page_by_page(double: HubDouble, tmp_path: Path) -> None:
    double.page_size = 2
    files = _listed(double, tmp_path, "https://huggingface.co/acme/diffuser/tree/main")
    # There is no such folder, only files whose names start with those of others.
    assert [file.path for file in files] == sorted(_FILES)
    assert sum("/tree/" in request.path for request in double.asked) == 4


def test_the_url_of_a_file_keeps_the_revision(double: HubDouble, tmp_path: Path) -> None:
    commit = double.publish("acme/diffuser", {"a/b.json": b"[]"}, revision="refs/pr/1")
    (file,) = _listed(double, tmp_path, "hf://acme/diffuser@refs/pr/1/a/")
    assert (file.url, file.told.pin.commit) == ("hf://acme/diffuser@refs%2Fpr%2F1/a/b.json", commit)


def test_a_private_repository_is_listed_with_a_token(double: HubDouble, tmp_path: Path) -> None:
    double.publish("acme/private", {"a/b.json": b"[]"}, access="private")
    with pytest.raises(AccessDeniedError, match="has no acme/private, or it is private"):
        _listed(double, tmp_path, "hf://acme/private/a/")
    assert len(_listed(double, tmp_path, "hf://acme/private/a/", TOKEN)) == 1


@pytest.mark.parametrize("url", ["hf://acme/diffuser/vae/", "hf://acme/diffuser/unet/config.json/"])
def test_a_folder_that_is_not_there_is_said(double: HubDouble, tmp_path: Path, url: str) -> None:
    with pytest.raises(GoneError, match="acme/diffuser on the Hugging Face Hub has no "):
        _listed(double, tmp_path, url)


def test_the_rate_limit_is_obeyed_between_pages(double: HubDouble, tmp_path: Path) -> None:
    double.page_size, double.allowed["api"], double.window_s = 5, 2, 0.5
    assert len(_listed(double, tmp_path, "hf://acme/diffuser/")) == len(_FILES)
    assert len(double.asked) == 4


_ENTRY = {"type": "file", "path": "unet/a.bin", "oid": "0" * 40, "size": 1}


@pytest.mark.parametrize(
    ("page", "link"),
    [
        ([{**_ENTRY, "path": "unet/../../a.bin"}], ""),
        ([{**_ENTRY, "path": "/etc/passwd"}], ""),
        ([{**_ENTRY, "path": "vae/a.bin"}], ""),
        ([{**_ENTRY, "size": -1}], ""),
        ([{**_ENTRY, "lfs": {"oid": "../../../a"}}], ""),
        ([_ENTRY], '<https://elsewhere.example/list>; rel="next"'),
        ({"error": "none"}, ""),
    ],
)
def test_a_list_that_is_none_of_the_hubs_is_refused(tmp_path: Path, page: Any, link: str) -> None:
    def answer(request: Request) -> Answer:
        document = page if "/tree/" in request.path else {"sha": "1" * 40}
        return Answer(headers={"Link": link}, body=json.dumps(document).encode())

    with serve(answering=answer) as url:
        hosts = hosts_with(tmp_path, {"HF_ENDPOINT": url})
        with pytest.raises(NotAModelError, match="does not list the files of hf://acme/up/unet/"):
            hub_folder(parse_hub_address("hf://acme/up/unet/"), hosts)
