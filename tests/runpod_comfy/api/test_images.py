"""What is read of an image, by an engine that is replaced by the file that it would give."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.api import images
from runpod_comfy.api.images import device_of_image, node_classes_of_image
from runpod_comfy.images import show
from runpod_comfy.images.dockerfile import LOCK, VERSION
from tests.runpod_comfy.images.canned_engine import CannedEngine, served


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The record of node classes by the image's name."""
    records: dict[str, bytes] = {}
    monkeypatch.setattr(images, "connect", lambda: None)
    monkeypatch.setattr(images, "read_image_file", lambda _client, image, _path: records.get(image))
    return records


def test_the_node_classes_of_an_image_are_those_of_its_record(recorded: dict[str, bytes]) -> None:
    recorded["small:1"] = b'{"KSampler": {"output": []}}'
    assert node_classes_of_image("small:1") == {"KSampler": {"output": []}}
    assert node_classes_of_image("other:1") is None


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (b"{", "is not valid JSON"),
        (b"\xff", "is not text in UTF-8"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"[]", "is not a JSON object"),
        (b'{"KSampler": 5}', 'has no JSON object for the node class "KSampler"'),
    ],
)
def test_a_broken_record_is_one_sentence(
    recorded: dict[str, bytes], record: bytes, fault: str
) -> None:
    recorded["small:1"] = record
    with pytest.raises(InvalidInputError) as caught:
        node_classes_of_image("small:1")
    assert caught.value.message.startswith(f"the record of node classes in small:1 {fault}")
    assert caught.value.remedy == "Build the image again: runpod-comfy image build ID"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedEngine]:
    """An engine with an image for Arm, whose runtimes are Docker's."""
    labels = {VERSION: "demo", LOCK: "sha256:0"}
    image = {
        "Id": "sha256:1",
        "Os": "linux",
        "Architecture": "arm64",
        "Config": {"Labels": labels},
    }
    canned = CannedEngine(image=image, about={"Runtimes": {"runc": {}}})
    with served(canned) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        yield canned


def test_a_container_without_gpus_computes_on_the_cpu_of_its_platform(engine: CannedEngine) -> None:
    device = device_of_image("small:1")
    assert device is not None
    assert device.key == ("cpu", "cpu", "linux-aarch64")


@pytest.mark.parametrize("about", [{"Runtimes": {"runc": {}, "nvidia": {}}}, {"Runtimes": None}])
@pytest.mark.parametrize(
    ("manifest", "type_"), [({"comfy_args": ["--cpu"]}, "cpu"), ({}, None), (None, None)]
)
def test_where_a_container_may_get_a_gpu_the_version_decides(
    engine: CannedEngine,
    monkeypatch: pytest.MonkeyPatch,
    about: dict[str, object],
    manifest: dict[str, object] | None,
    type_: str | None,
) -> None:
    engine.about = about
    written = None if manifest is None else json.dumps(manifest).encode()
    monkeypatch.setattr(show, "read_image_file", lambda *_: written)
    device = device_of_image("small:1")
    assert (device.type if device else None) == type_


def test_an_image_of_another_program_is_reported(engine: CannedEngine) -> None:
    engine.image = {**engine.image, "Config": {"Labels": None}}
    with pytest.raises(InvalidInputError, match="other:1 was not built by runpod-comfy"):
        device_of_image("other:1")
