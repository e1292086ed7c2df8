"""Models on several kinds of hosts, which are asked and not read."""

from __future__ import annotations

import hashlib

import pytest

from comfy_errors import MismatchError, UnavailableError
from comfy_models.model_file import ModelSource, Pin
from tests.http_server import Answer
from tests.model_hosts.civitai import TOKEN, CivitaiDouble, CivitaiFile
from tests.model_hosts.gcs import GcsDouble
from tests.model_hosts.hub import HubDouble
from tests.model_hosts.s3 import S3Double
from tests.runpod_comfy.lock.model_shelf import Shelf

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = CivitaiFile(id=7, name="up.safetensors", content=CONTENT, primary=True)


def test_a_model_of_three_hosts_is_pinned_at_each_of_them(
    shelf: Shelf,
    hub_here: HubDouble,
    civitai_here: CivitaiDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", TOKEN)
    commit = hub_here.publish("org/up", {"up.safetensors": CONTENT})
    civitai_here.publish(2, FILE)
    shelf.answers["/up"] = Answer(headers={"ETag": '"v1"'}, body=CONTENT)
    web = f"{shelf.url}/up"
    asked = {"source": web, "mirrors": ["hf://org/up/up.safetensors", "civitai://2"]}
    (model,) = shelf.lock(asked).models
    assert (model.sha256, model.size) == (SHA256, len(CONTENT))
    assert model.sources == [
        ModelSource(url=web, pin=Pin(etag="v1", length=len(CONTENT))),
        ModelSource(url="hf://org/up/up.safetensors", pin=Pin(commit=commit, etag=SHA256)),
        ModelSource(url="civitai://2", pin=Pin(version_id=2, file_id=7)),
    ]
    assert shelf.said == []


def test_files_in_buckets_are_pinned_and_hashed_at_their_first_download(
    shelf: Shelf, gcs_here: GcsDouble, s3_here: S3Double
) -> None:
    gcs_here.bucket("models")
    generation = gcs_here.put("models", "up.safetensors", CONTENT)
    s3_here.bucket("models")
    s3_here.put("models", "up.safetensors", CONTENT)
    sent: list[int] = []
    s3_here.sent = sent.append
    urls = [f"{scheme}://models/up.safetensors" for scheme in ("gs", "s3")]
    (model,) = shelf.lock({"source": urls[0], "mirrors": urls[1:]}).unhashed
    assert model.size == len(CONTENT)
    of_gcs, of_s3 = (source.pin for source in model.sources)
    assert of_gcs.generation == generation
    assert of_gcs.crc32c
    assert of_s3.etag == hashlib.md5(CONTENT).hexdigest()
    assert (gcs_here.sent_bytes, sent) == (0, [])


def test_a_checksum_that_a_host_does_not_confirm_is_refused_with_both(
    shelf: Shelf, hub_here: HubDouble
) -> None:
    hub_here.publish("org/up", {"up.safetensors": CONTENT})
    source, other = "hf://org/up/up.safetensors", "0" * 64
    (error,) = shelf.faults({"source": source, "checksum": f"sha256:{other}"})
    assert isinstance(error, MismatchError)
    assert f"{source} has sha256 {SHA256}, the spec says {other}" in error.message
    (error,) = shelf.faults({"source": source, "size": 3})
    assert f"{source} has {len(CONTENT)} bytes, the spec says 3" in error.message


def test_hosts_that_have_different_files_are_both_named(
    shelf: Shelf,
    hub_here: HubDouble,
    civitai_here: CivitaiDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", TOKEN)
    hub_here.publish("org/up", {"up.safetensors": CONTENT[::-1]})
    civitai_here.publish(2, FILE)
    source = "hf://org/up/up.safetensors"
    (error,) = shelf.faults({"source": source, "mirrors": ["civitai://2"]})
    assert isinstance(error, MismatchError)
    assert f"civitai://2 has sha256 {SHA256}, {source} has " in error.message


def test_every_model_that_needs_a_token_is_named_with_its_variable(
    shelf: Shelf, hub_here: HubDouble, civitai_here: CivitaiDouble
) -> None:
    hub_here.publish("org/gated", {"a.safetensors": CONTENT}, access="gated")
    civitai_here.publish(2, FILE)
    models = [
        {"name": "gated", "source": "hf://org/gated/a.safetensors"},
        {"name": "early", "source": "civitai://2"},
    ]
    first, second = shelf.faults(*models)
    for error, name, variable in ((first, "gated", "HF_TOKEN"), (second, "early", "CIVITAI_TOKEN")):
        assert isinstance(error, UnavailableError)
        assert error.message.startswith(f"model {name}: ")
        assert variable in error.remedy
