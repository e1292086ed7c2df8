"""The identity of a lock follows from its content, not from how a file states it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from comfy_files.files import digest_of
from comfy_home.lock_bytes import LOCK_VERSION, canonical_bytes, lock_bytes, lock_digest
from runpod_comfy.lock.store import load_lock
from tests.locks import in_version_1, model, small_lock

DEMO = Path(__file__).parents[2] / "lockfiles" / "comfy-demo.lock.json"


def _with_defaults(value: Any) -> Any:
    """The same content, with some of what is empty written out."""
    if isinstance(value, dict):
        return {**{key: _with_defaults(each) for key, each in value.items()}, "user": None}
    return [_with_defaults(each) for each in value] if isinstance(value, list) else value


def test_a_lock_that_states_its_defaults_is_the_same_lock() -> None:
    document = json.loads(DEMO.read_text())
    assert lock_digest(_with_defaults(document)) == lock_digest(document)
    assert lock_digest(document | {"env": {"A": "1"}}) != lock_digest(document)


def test_both_sides_have_the_same_identity_and_it_is_that_of_the_file() -> None:
    lock = load_lock(DEMO)
    document = json.loads(DEMO.read_text())
    assert lock.digest == lock_digest(document) == digest_of(lock.to_bytes())
    assert lock_bytes(document) == lock.to_bytes() == DEMO.read_bytes()


def test_a_lock_of_version_1_is_the_lock_that_it_becomes(tmp_path: Path) -> None:
    sources = [{"url": "hf://org/name/x", "pin": {"commit": "c" * 40}}, {"url": "https://h/x"}]
    lock = small_lock(models=[model("loras/x.bin", sources=sources), model("vae/y.bin")])
    earlier = in_version_1(json.loads(lock.to_bytes()))
    assert lock_bytes(earlier) == lock.to_bytes()
    assert lock_digest(earlier) == lock.digest
    assert canonical_bytes(earlier) != lock.to_bytes()
    path = tmp_path / "small.lock.json"
    path.write_bytes(canonical_bytes(earlier))
    assert load_lock(path) == lock


def test_the_locks_that_a_clone_has_are_written_in_the_current_version() -> None:
    assert json.loads(DEMO.read_text())["lock_version"] == LOCK_VERSION


def test_a_lock_is_known_by_the_digest_that_an_earlier_program_computed() -> None:
    sources = [{"url": "hf://org/name/x", "pin": {"commit": "c" * 40}}, {"url": "https://h/x"}]
    lock = small_lock(models=[model("loras/x.bin", sources=sources), model("vae/y.bin")])
    digest = digest_of(canonical_bytes(in_version_1(json.loads(lock.to_bytes()))))
    assert digest != lock.digest
    assert lock.is_named_by(digest)
    assert lock.is_named_by(lock.digest)
    assert not lock.is_named_by(None)
    assert not small_lock(models=[model("vae/y.bin")]).is_named_by(digest)


def test_a_lock_that_an_earlier_program_could_not_write_has_one_digest() -> None:
    plain = small_lock(models=[model("vae/y.bin")])
    digest = digest_of(canonical_bytes(in_version_1(json.loads(plain.to_bytes()))))
    assert plain.is_named_by(digest)
    pinned = {"url": "x", "pin": {"etag": "e"}}
    for changes in ({"sources": [pinned]}, {"hashed_on_download": True}):
        assert not small_lock(models=[model("vae/y.bin", **changes)]).is_named_by(digest)
