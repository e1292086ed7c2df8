"""Models of hosts that mean harm are locked and stored inside their folders, or refused."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_errors import ComfyError
from comfy_files.files import sha256_of
from comfy_files.progress import say_nothing
from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from comfy_models.verify import HashMemory
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.models.complete import hash_models
from runpod_comfy.lock.models.pin import lock_models, pin_models
from runpod_comfy.spec.model import Spec
from tests.hostile_texts import hostile
from tests.locks import small_lock
from tests.model_hosts.hostile import (
    HostileHost,
    assert_is_refusal,
    hostile_host,
    take_no_time,
)
from tests.model_hosts.hostile_answers import Spoiled, faults
from tests.specs import whole_spec

_FOLDER = "hf://o/n/unet/"


@pytest.fixture(scope="module")
def host() -> Iterator[HostileHost]:
    with hostile_host() as it:
        yield it


@pytest.fixture(autouse=True)
def _no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    take_no_time(monkeypatch)


def _lock(source: str, hosts: Hosts) -> Lock | None:
    """The lock of a spec with this model, None if it is refused."""
    model = {"name": "a.bin", "source": source, "target_subdir": "vae"}
    options: dict[str, Any] = {"allow_pickle": ["a.bin"]}
    spec = Spec.model_validate({**whole_spec(), "models": [model], "options": options})
    try:
        pinned, errors = pin_models(spec, [], hosts, offline=False, say=say_nothing)
        for error in errors:
            assert_is_refusal(error)
        if errors:
            return None
        locked = lock_models(pinned, HashMemory([]), say_nothing)
    except ComfyError as error:
        assert_is_refusal(error)
        return None
    return small_lock(models=locked.models, unhashed_models=locked.unhashed)


@pytest.mark.slow
@hostile(150)
@given(kind=st.integers(0, 6), wrong=faults)
def test_a_lock_that_is_made_can_be_read_and_completed(
    host: HostileHost, tmp_path: Path, kind: int, wrong: list[Spoiled | None]
) -> None:
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    host.behaves(wrong)
    hosts, store = host.hosts(tmp_path), ModelStore(tmp_path / "store")
    with contextlib.closing(hosts.session):
        lock = _lock([*host.urls, _FOLDER][kind], hosts)
        if lock is None:
            return
        assert Lock.model_validate_json(lock.model_dump_json()) == lock
        for model in (*lock.models, *lock.unhashed_models):
            assert model.target_path.startswith("vae/a.bin")
            assert ".." not in model.target_path.split("/")
        try:
            whole = hash_models(lock, store, hosts, say=say_nothing)
        except ComfyError as error:
            assert_is_refusal(error)
            return
    for model in whole.models[len(lock.models) :]:
        assert sha256_of(store.path_of(model.sha256)) == model.sha256
    assert all(path.is_relative_to(store.root) for path in tmp_path.iterdir())
