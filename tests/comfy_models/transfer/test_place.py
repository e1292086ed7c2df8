"""Files that a power failure may have taken."""

from __future__ import annotations

import pytest

from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from comfy_models.transfer.fetch import fetch
from tests.model_downloads import CONTENT, SHA256, Served, files_in, keep, model_at, serving


@pytest.mark.parametrize("content", [CONTENT, CONTENT[:1000] + bytes(len(CONTENT) - 1000)])
def test_a_file_that_may_be_lost_is_hashed_and_downloaded_again_only_if_it_is(
    store: ModelStore, hosts: Hosts, content: bytes
) -> None:
    place = keep(store.root, CONTENT)
    place.chmod(0o644)
    place.write_bytes(content)
    mark = store.mark_of(SHA256)
    mark.parent.mkdir()
    mark.write_text("an earlier start of the machine")
    with serving(x=(served := Served())) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
    assert place.read_bytes() == CONTENT
    assert files_in(store.root) == [place]
    assert bool(served.requests) == (content != CONTENT)


def test_a_large_file_has_a_mark_until_the_disk_has_it(
    store: ModelStore, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_models.unsynced._LARGE_BYTES", 1000)
    with serving(x=Served()) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
        assert store.mark_of(SHA256).exists()
        assert store.holds(SHA256)
        monkeypatch.setattr("comfy_models.unsynced._WRITTEN_AFTER_S", 0.0)
        fetch([model_at(f"{url}/x")], store, hosts)
    assert files_in(store.root) == [store.path_of(SHA256)]
