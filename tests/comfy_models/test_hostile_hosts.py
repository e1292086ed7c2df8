"""Hosts whose answers are wrong, broken or meant to do harm: a file, or a refusal in words."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_errors import ComfyError
from comfy_models.model_file import ModelSource
from comfy_models.sources.file import FileSource
from comfy_models.sources.hub.folder import hub_folder
from comfy_models.sources.hub_address import parse_hub_address
from comfy_models.sources.kinds import source_for
from comfy_models.sources.source import HostFile
from comfy_models.store import ModelStore
from comfy_models.transfer.fetch import fetch
from tests.hostile_texts import addresses, hostile
from tests.model_hosts.hostile import (
    OTHER_URLS,
    HostileHost,
    assert_fits_a_lock,
    assert_is_refusal,
    assert_keeps_secrets,
    hostile_host,
    take_no_time,
)
from tests.model_hosts.hostile_answers import CONTENT, ETAG, SHA256, Spoiled, faults

_KINDS = range(1 + len(OTHER_URLS))


@pytest.fixture(scope="module")
def host() -> Iterator[HostileHost]:
    with hostile_host() as it:
        yield it


@pytest.fixture(autouse=True)
def _no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    take_no_time(monkeypatch)


@dataclass(frozen=True, kw_only=True)
class _Needed:
    target_path: str = "vae/m.bin"
    sha256: str = SHA256
    size: int = len(CONTENT)
    sources: Sequence[ModelSource]


@pytest.mark.parametrize("kind", _KINDS)
def test_a_host_that_does_nothing_wrong_is_read(
    host: HostileHost, tmp_path: Path, kind: int
) -> None:
    host.behaves([])
    hosts, store = host.hosts(tmp_path), ModelStore(tmp_path / "store")
    told = source_for(host.urls[kind], hosts).pin()
    assert told.size == 600
    fetch([_Needed(sources=[ModelSource(url=host.urls[kind], pin=told.pin)])], store, hosts)
    assert store.path_of(SHA256).read_bytes() == CONTENT
    (file,) = hub_folder(parse_hub_address("hf://o/n/unet/"), hosts)
    assert file.told.sha256 == SHA256


@pytest.mark.slow
@hostile(600)
@given(kind=st.sampled_from(_KINDS), wrong=faults)
def test_a_source_tells_what_is_possible_or_is_refused(
    host: HostileHost, tmp_path: Path, kind: int, wrong: list[Spoiled | None]
) -> None:
    host.behaves(wrong)
    hosts, url = host.hosts(tmp_path), host.urls[kind]
    with contextlib.closing(hosts.session):
        told = HostFile()
        try:
            told = source_for(url, hosts).pin()
            assert_fits_a_lock(told, url)
        except ComfyError as error:
            assert_is_refusal(error)
        try:
            source = source_for(url, hosts, told.pin)
            with contextlib.closing(source.open(5, 10, validator=ETAG)) as stream:
                assert stream.start in (0, 5)
                while stream.read(1000):
                    pass
        except ComfyError as error:
            assert_is_refusal(error)
    assert list(tmp_path.iterdir()) == []


@hostile(500)
@given(url=addresses)
def test_an_address_of_any_lock_names_a_source_or_is_refused(
    host: HostileHost, tmp_path: Path, url: str
) -> None:
    hosts = host.hosts(tmp_path)
    try:
        source = source_for(url, hosts)
        if isinstance(source, FileSource):
            source.pin()
    except ComfyError as error:
        assert_keeps_secrets(error)


@pytest.mark.slow
@hostile(150)
@given(wrong=faults)
def test_a_folder_lists_files_below_it_or_is_refused(
    host: HostileHost, tmp_path: Path, wrong: list[Spoiled | None]
) -> None:
    host.behaves(wrong)
    hosts = host.hosts(tmp_path)
    with contextlib.closing(hosts.session):
        try:
            files = hub_folder(parse_hub_address("hf://o/n/unet/"), hosts)
        except ComfyError as error:
            assert_is_refusal(error)
            return
    for file in files:
        assert_fits_a_lock(file.told, file.url)
        assert not {"", ".", ".."} & set(file.path.split("/"))
        assert parse_hub_address(file.url).path == f"unet/{file.path}"


@pytest.mark.slow
@hostile(250)
@given(kind=st.sampled_from(_KINDS), wrong=faults)
def test_a_store_has_the_file_itself_or_none(
    host: HostileHost, tmp_path: Path, kind: int, wrong: list[Spoiled | None]
) -> None:
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    host.behaves(wrong)
    hosts, store = host.hosts(tmp_path), ModelStore(tmp_path / "store")
    model = _Needed(sources=[ModelSource(url=host.urls[kind])])
    with contextlib.closing(hosts.session):
        try:
            fetch([model], store, hosts)
        except ComfyError as error:
            assert_is_refusal(error)
            assert not store.holds(model.sha256)
        else:
            assert store.path_of(model.sha256).read_bytes() == CONTENT
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.name.startswith(model.sha256) for path in files)
    assert all(path.is_relative_to(store.root) for path in files)
