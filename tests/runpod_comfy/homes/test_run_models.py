"""The models of a lock, in a home that is made from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import (
    MismatchError,
    UnavailableError,
)
from comfy_files.files import digest_of
from comfy_home.lock_bytes import canonical_bytes
from comfy_home.manifest import load_manifest
from comfy_models.model_file import ModelSource, Pin
from runpod_comfy.cache.roots import read_roots
from runpod_comfy.homes.remove import plan_removal, remove
from runpod_comfy.homes.run import realize
from runpod_comfy.homes.verify.home import take_away, verify
from tests.locks import in_version_1, model_in_version_1
from tests.runpod_comfy.homes.conftest import Version, built


def test_models_go_from_the_store_through_the_shared_folder_to_the_home(version: Version) -> None:
    model = version.model("a.bin", "weights", target_path="upscale_models/a.bin")
    version.models = [model]
    shared = version.folder / "shared"
    result = realize(version.job(models_dir=shared))
    assert result.linked == ("a.bin",)
    assert shared in [root.path for root in read_roots(version.cache)]
    seen = version.home / "models/upscale_models/a.bin"
    assert seen.readlink() == Path("../../../shared/upscale_models/a.bin")
    stored = version.cache.models / "sha256" / model.sha256[:2] / model.sha256
    assert (shared / "upscale_models/a.bin").resolve() == stored
    assert seen.read_text() == "weights"
    assert not realize(version.job(models_dir=shared)).changed


def test_a_model_lies_in_the_folder_of_a_node_also_of_a_changed_one(version: Version) -> None:
    place = "node_models/painter/ckpts/a.bin"
    version.models = [version.model("a.bin", "weights", target_path=place)]
    shared = version.folder / "shared"
    seen = version.home / "ComfyUI/custom_nodes/painter/ckpts/a.bin"
    for number in range(2):
        version.write("painter/__init__.py", f"NODE_CLASS_MAPPINGS = {{}}  # {number}\n")
        job = version.job(models_dir=shared)
        realize(job)
        assert seen.samefile(shared / place)
        assert seen.read_text() == "weights"
        assert verify(job).faults == []
    seen.unlink()
    found = verify(job)
    assert [fault.path for fault in found.faults] == [seen]
    take_away(found, job)
    realize(job)
    assert seen.read_text() == "weights"

    remove(plan_removal(version.home))
    assert not seen.parent.exists()
    assert (shared / place).read_text() == "weights"


def test_a_home_tells_where_its_models_come_from(version: Version) -> None:
    model = version.model("a.bin", "weights")
    pinned = Pin(etag="e", length=7)
    sources = [*model.sources, ModelSource(url="https://example.org/a.bin", pin=pinned)]
    version.models = [model.model_copy(update={"sources": sources})]
    realize(version.job())
    manifest = load_manifest(version.home)
    assert manifest is not None
    (told,) = manifest.models
    assert (told.target_path, told.sha256, told.size) == ("loras/a.bin", model.sha256, 7)
    assert told.sources == sources


def test_a_home_of_an_earlier_lock_version_is_brought_up_to_date_without_making_a_layer(
    version: Version,
) -> None:
    version.models = [version.model("a.bin", "weights")]
    job = version.job()
    realize(job)
    now = version.home.joinpath(".comfy_env").read_text()
    earlier = json.loads(now)
    earlier["models"] = [model_in_version_1(each) for each in earlier["models"]]
    document = in_version_1(json.loads(job.lock.to_bytes()))
    earlier["lock_digest"] = digest_of(canonical_bytes(document))
    version.home.joinpath(".comfy_env").write_text(json.dumps(earlier))
    assert verify(job).faults == []
    (version.folder / "a.bin").unlink()
    said: list[str] = []
    result = realize(replace(job, say=said.append))
    assert (built(result), result.linked, said) == ([], (), [])
    assert version.home.joinpath(".comfy_env").read_text() == now


def test_missing_model_files_are_found_before_anything_is_fetched(version: Version) -> None:
    gone = version.model("a.bin", "weights").model_copy(
        update={"sources": [ModelSource(url="gone.bin")], "sha256": "1" * 64}
    )
    also_gone = version.model("b.bin", "more").model_copy(
        update={
            "sources": [ModelSource(url="also.bin"), ModelSource(url="mirror.bin")],
            "sha256": "2" * 64,
        }
    )
    version.models = [gone, also_gone]
    with pytest.raises(UnavailableError, match="missing model files: a.bin .*, b.bin "):
        realize(version.job())
    assert not version.cache.environments.exists()


def test_models_of_the_home_alone_are_one_link_from_the_store(version: Version) -> None:
    model = version.model("a.bin", "weights")
    version.models = [model]
    realize(version.job())
    stored = version.cache.models / "sha256" / model.sha256[:2] / model.sha256
    seen = version.home / "models/loras/a.bin"
    assert (seen.parent / seen.readlink()).resolve() == stored


def test_a_model_that_changed_in_the_lock_is_linked_again(version: Version) -> None:
    version.models = [version.model("a.bin", "old")]
    realize(version.job())
    version.models = [version.model("a.bin", "newer")]
    assert built(realize(version.job())) == []
    assert (version.home / "models/loras/a.bin").read_text() == "newer"


def test_a_models_folder_that_already_has_the_file_needs_no_source(version: Version) -> None:
    version.models = [version.model("a.bin", "weights")]
    shared = version.folder / "shared"
    (shared / "loras").mkdir(parents=True)
    (version.folder / "a.bin").rename(shared / "loras/a.bin")
    realize(version.job(models_dir=shared))
    assert (version.home / "models/loras/a.bin").read_text() == "weights"
    assert not (shared / "loras/a.bin").is_symlink()


def test_missing_model_files_are_all_named_before_anything_is_made(version: Version) -> None:
    version.models = [version.model(name, name) for name in ("a.bin", "b.bin", "c.bin")]
    (version.folder / "a.bin").unlink()
    (version.folder / "c.bin").unlink()
    with pytest.raises(UnavailableError, match=r"a\.bin .*c\.bin") as caught:
        realize(version.job())
    assert "correct 'source'" in caught.value.remedy
    assert not version.home.exists()


def test_a_model_file_that_changed_since_it_was_locked_is_named(version: Version) -> None:
    version.models = [version.model("a.bin", "weights")]
    (version.folder / "a.bin").write_text("changed")
    with pytest.raises(MismatchError, match=r"model loras/a\.bin: a\.bin has sha256"):
        realize(version.job())
    assert not version.home.exists()


def test_unmanaged_files_in_the_models_folder_are_left_alone_before_anything_isbuilt(
    version: Version,
) -> None:
    version.models = [version.model(name, "weights") for name in ("a.bin", "b.bin")]
    unmanaged = [version.home / "models/loras" / name for name in ("a.bin", "b.bin")]
    unmanaged[0].parent.mkdir(parents=True)
    for file in unmanaged:
        file.write_text("something else")
    with pytest.raises(MismatchError, match=r"(?s)a\.bin is not the file.*b\.bin is not the file"):
        realize(version.job())
    assert {file.read_text() for file in unmanaged} == {"something else"}
    assert not (version.home / ".venv").exists()


def test_a_home_that_is_refused_for_a_model_of_a_users_stays_whole(version: Version) -> None:
    version.models = [version.model("a.bin", "weights")]
    realize(version.job())
    marker = (version.home / ".comfy_env").read_bytes()
    place = version.home / "models/loras/a.bin"
    version.write("painter/__init__.py", "# edited\n")
    for content in ("WEIGHTS", "of another size"):
        place.unlink()
        place.write_text(content)
        with pytest.raises(MismatchError, match="left alone"):
            realize(version.job())
        assert (version.home / ".comfy_env").read_bytes() == marker
        assert place.read_text() == content
    place.unlink()
    assert built(realize(version.job())) == ["node:painter", "check"]
