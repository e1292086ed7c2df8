from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.files import digest_of
from comfy_home.lock_bytes import LOCK_VERSION, canonical_bytes, lock_bytes, lock_digest
from comfy_home.manifest import Manifest, save_manifest
from rp_handler.home.open import baked_version_id, choose_home, require_lock
from rp_handler.home.realized import open_home


def image(home: Path, **others: str) -> dict[str, str]:
    return {"COMFY_BAKED_HOME": str(home), **others}


def test_outside_of_an_image_the_usual_places_count(tmp_path: Path) -> None:
    choice = choose_home("demo", None, {"COMFY_HOME": str(tmp_path)})
    assert (choice.path, choice.baked, choice.volume) == (tmp_path, None, None)
    assert choose_home("demo", None, {}).path == Path.home() / "comfy-demo"
    assert baked_version_id({}) is None


def test_an_image_runs_its_own_home(home: Path) -> None:
    choice = choose_home("demo", None, image(home))
    assert choice.path == home
    assert choice.path == choice.baked
    assert baked_version_id(image(home)) == "demo"


def test_a_marked_home_on_the_volume_replaces_the_images_own(home: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    save_manifest(volume, Manifest(version_id="other", complete=True))
    choice = choose_home("demo", None, image(home, COMFY_HOME=str(volume)))
    assert choice.path == volume
    assert choice.baked == home
    assert choice.volume is None


@pytest.mark.parametrize("exists", [True, False])
def test_an_unmarked_folder_on_the_volume_is_only_a_place_for_models(
    home: Path, tmp_path: Path, exists: bool
) -> None:
    volume = tmp_path / "volume"
    if exists:
        volume.mkdir()
    choice = choose_home("demo", None, image(home, COMFY_HOME=str(volume)))
    assert (choice.path, choice.volume) == (home, volume)


def test_a_home_that_was_asked_for_comes_before_all_others(home: Path, tmp_path: Path) -> None:
    choice = choose_home("demo", tmp_path, image(home, COMFY_HOME=str(home)))
    assert choice.path == tmp_path
    assert choice.baked == home


def test_the_lock_that_is_asked_for_has_to_be_that_of_the_home(home: Path, tmp_path: Path) -> None:
    document = {"lock_version": LOCK_VERSION, "version_id": "dämo"}
    digest = lock_digest(document)
    lock = tmp_path / "lock.json"
    # Another layout, and a default that is stated.
    lock.write_text(json.dumps({**document, "user": None}), encoding="utf-8")
    opened = open_home(home, version_id="demo", id_was_asked=False)
    with pytest.raises(InvalidInputError) as caught:
        require_lock(opened, lock)
    assert "sha256:" + "0" * 64 in caught.value.message
    assert digest in caught.value.message
    save_manifest(home, Manifest(version_id="demo", lock_digest=digest, complete=True))
    require_lock(open_home(home, version_id="demo", id_was_asked=False), lock)


def test_a_home_of_an_earlier_program_is_that_of_its_lock(home: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    document = {"lock_version": 1, "models": [{"source": "x", "mirrors": ["y"]}]}
    lock.write_bytes(canonical_bytes(document))
    digest = digest_of(lock.read_bytes())
    save_manifest(home, Manifest(version_id="demo", lock_digest=digest, complete=True))
    opened = open_home(home, version_id="demo", id_was_asked=False)
    require_lock(opened, lock)
    # Also once the lock was written again.
    lock.write_bytes(lock_bytes(document))
    require_lock(opened, lock)


def test_a_missing_or_invalid_lock_is_reported(home: Path, tmp_path: Path) -> None:
    opened = open_home(home, version_id="demo", id_was_asked=False)
    with pytest.raises(UnavailableError, match="no lock at"):
        require_lock(opened, tmp_path / "lock.json")
    for text, fault in (("{", "is not valid JSON"), ("[]", "is not a JSON object")):
        (tmp_path / "lock.json").write_text(text, encoding="utf-8")
        with pytest.raises(InvalidInputError, match=fault):
            require_lock(opened, tmp_path / "lock.json")
