"""What `resolve --check` finds of models, for each kind of host."""

from __future__ import annotations

from typing import Any

import pytest

from runpod_comfy.lock.drift.check import look_at_models
from runpod_comfy.lock.drift.tree import Answer, DriftFinding
from runpod_comfy.sources.model_hosts import model_hosts
from runpod_comfy.spec.model import Spec
from tests.http_server import Answer as Served
from tests.locks import bare_lock
from tests.model_hosts.civitai import TOKEN, CivitaiDouble, CivitaiFile
from tests.model_hosts.gcs import GcsDouble
from tests.model_hosts.hub import HubDouble
from tests.model_hosts.s3 import S3Double
from tests.runpod_comfy.lock.model_shelf import Shelf

FILES = {
    "config.json": b"{}",
    "unet/config.json": b"{}",
    "unet/model.safetensors": b"weights" * 100,
}


class Watch:
    """Locks models of the shelf, and looks at them again."""

    def __init__(self, shelf: Shelf, *models: dict[str, Any]) -> None:
        self._shelf = shelf
        self._spec: Spec = shelf.spec(*models)
        locked = shelf.lock(*models)
        self._lock = bare_lock(models=locked.models, unhashed_models=locked.unhashed)

    def look(self, *, offline: bool = False) -> list[Answer]:
        hosts = model_hosts(self._shelf.folder)
        return look_at_models(self._spec, self._lock, hosts, offline=offline)[0]

    def moved(self) -> list[DriftFinding]:
        (answer,) = self.look()
        assert answer.unanswered == ()
        return list(answer.moved)


def test_a_file_here_is_there_changed_or_gone(shelf: Shelf) -> None:
    path = shelf.put("a.safetensors")
    watch = Watch(shelf, {"source": "a.safetensors"})
    assert watch.look(offline=True) == [Answer()]
    path.write_bytes(b"other weights")
    (finding,) = watch.moved()
    assert "its size in bytes is 13, the lock has 7" in finding.message
    assert finding.remedy.startswith("Put the right file back, or: ")
    path.unlink()
    (finding,) = watch.moved()
    assert f"there is no file {path}" in finding.message


def test_a_file_of_a_web_server_is_there_changed_gone_or_unknown(shelf: Shelf) -> None:
    shelf.answers["/a"] = Served(headers={"ETag": '"v1"'}, body=b"weights")
    watch = Watch(shelf, {"source": f"{shelf.url}/a"})
    assert watch.look() == [Answer()]
    assert watch.look(offline=True) == []
    shelf.answers["/a"] = Served(headers={"ETag": '"v2"'}, body=b"weights")
    (finding,) = watch.moved()
    assert "its entity tag is v2, the lock has v1" in finding.message
    assert (finding.before, finding.after) == ("v1", "v2")
    assert finding.remedy.endswith("runpod-comfy resolve small --upgrade a.safetensors")
    shelf.answers["/a"] = Served(body=b"longer than weights")
    (finding,) = watch.moved()
    assert "its size in bytes is 19" in finding.message
    for status in (404, 410, 401):
        shelf.answers["/a"] = Served(status=status)
        (finding,) = watch.moved()
        assert f"answered {status}" in finding.message
    shelf.answers["/a"] = Served(status=503)
    (answer,) = watch.look()
    assert (len(answer.moved), len(answer.unanswered)) == (0, 1)


def test_each_source_of_a_model_is_looked_at(shelf: Shelf) -> None:
    shelf.put("a.safetensors")
    shelf.put("b.safetensors")
    mirrors = [f"{shelf.url}/b.safetensors", "http://127.0.0.1:9/c"]
    watch = Watch(shelf, {"source": f"{shelf.url}/a.safetensors", "mirrors": mirrors})
    (shelf.folder / "b.safetensors").unlink()
    (answer,) = watch.look()
    assert [mirrors[0] in finding.message for finding in answer.moved] == [True]
    assert [mirrors[1] in finding.message for finding in answer.unanswered] == [True]


def test_a_file_of_the_hub_moves_with_its_content_alone(shelf: Shelf, hub_here: HubDouble) -> None:
    hub_here.publish("org/small", FILES)
    watch = Watch(shelf, {"source": "hf://org/small/unet/model.safetensors"})
    assert watch.moved() == []
    hub_here.publish("org/small", {**FILES, "config.json": b"{ }"})
    assert watch.moved() == []
    hub_here.publish("org/small", {**FILES, "unet/model.safetensors": b"other"})
    (finding,) = watch.moved()
    assert "changed at hf://org/small/unet/model.safetensors: its sha256 is" in finding.message
    hub_here.publish("org/small", {"config.json": b"{}"})
    (finding,) = watch.moved()
    assert "has no unet/model.safetensors" in finding.message


def test_a_repository_of_the_hub_may_be_renamed_gated_private_or_rewritten(
    shelf: Shelf, hub_here: HubDouble
) -> None:
    hub_here.publish("org/small", FILES)
    watch = Watch(shelf, {"source": "hf://org/small/unet/model.safetensors"})
    repo = hub_here.repos["org/small"]
    hub_here.repos = {"new/name": repo}
    hub_here.moved = {"org/small": "new/name"}
    (finding,) = watch.moved()
    assert "was renamed" in finding.message
    assert finding.after == "hf://new/name/unet/model.safetensors"
    hub_here.repos, hub_here.moved = {"org/small": repo}, {}
    repo.access = "gated"
    (finding,) = watch.moved()
    assert "is gated" in finding.message
    assert "HF_TOKEN" in finding.remedy
    repo.access = "private"
    (finding,) = watch.moved()
    assert "private" in finding.message
    repo.access = "public"
    first = next(iter(repo.commits))
    hub_here.publish("org/small", {**FILES, "config.json": b"{ }"})
    assert watch.moved() == []
    # As after a squash of the history.
    del repo.commits[first]
    (finding,) = watch.moved()
    assert first in finding.message


def test_a_folder_of_the_hub_is_looked_at_as_a_whole(shelf: Shelf, hub_here: HubDouble) -> None:
    hub_here.publish("org/small", FILES)
    unet = {"name": "unet", "source": "hf://org/small/unet/", "target_path": "diffusers/small"}
    watch = Watch(shelf, unet)
    assert watch.moved() == []
    assert watch.look(offline=True) == []
    hub_here.publish("org/small", {**FILES, "config.json": b"{ }"})
    assert watch.moved() == []
    changed = {"unet/model.safetensors": b"other", "unet/new.safetensors": b"new"}
    hub_here.publish("org/small", changed)
    hub_here.asked.clear()
    gone, other, new = watch.moved()
    assert "the model unet/config.json is gone from hf://org/small/unet/" in gone.message
    assert "the model unet/model.safetensors changed at" in other.message
    assert "has 1 new file: new.safetensors" in new.message
    assert {each.remedy.split()[-1] for each in (gone, other, new)} == {"unet"}
    # One listing, however many files.
    assert len(hub_here.asked) == 2
    hub_here.repos["org/small"].access = "private"
    (finding,) = watch.moved()
    assert finding.name == "unet"


def test_a_version_on_civitai_is_there_changed_archived_or_withdrawn(
    shelf: Shelf, civitai_here: CivitaiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", TOKEN)
    file = CivitaiFile(id=7, name="up.safetensors", content=b"weights" * 100, primary=True)
    version = civitai_here.publish(2, file)
    watch = Watch(shelf, {"source": "civitai://2"})
    assert watch.moved() == []
    other = CivitaiFile(id=8, name="up2.safetensors", content=b"other" * 100, primary=True)
    civitai_here.publish(2, other)
    (finding,) = watch.moved()
    assert "its sha256 is" in finding.message
    version = civitai_here.publish(2, file)
    version.mode = "Archived"
    (finding,) = watch.moved()
    assert "archived" in finding.message
    version.mode, version.published = None, False
    assert len(watch.moved()) == 1
    version.published, version.downloads = True, False
    (finding,) = watch.moved()
    assert "civitai" in finding.message.lower()


def test_an_object_of_gcs_is_there_replaced_private_or_gone(
    shelf: Shelf, gcs_here: GcsDouble
) -> None:
    gcs_here.bucket("models")
    first = gcs_here.put("models", "a.safetensors", b"weights")
    watch = Watch(shelf, {"source": "gs://models/a.safetensors"})
    assert watch.moved() == []
    second = gcs_here.put("models", "a.safetensors", b"WEIGHTS")
    (finding,) = watch.moved()
    assert f"its generation is {second}, the lock has {first}" in finding.message
    gcs_here.delete("models", "a.safetensors")
    assert len(watch.moved()) == 1
    gcs_here.bucket("models", access="private")
    (finding,) = watch.moved()
    assert "gs://models/a.safetensors" in finding.message


def test_an_object_of_s3_is_there_replaced_or_gone(shelf: Shelf, s3_here: S3Double) -> None:
    s3_here.bucket("models")
    s3_here.put("models", "a.safetensors", b"weights")
    watch = Watch(shelf, {"source": "s3://models/a.safetensors"})
    assert watch.moved() == []
    s3_here.put("models", "a.safetensors", b"WEIGHTS")
    (finding,) = watch.moved()
    assert "its entity tag is" in finding.message
    s3_here.client.delete_object(Bucket="models", Key="a.safetensors")
    assert len(watch.moved()) == 1
