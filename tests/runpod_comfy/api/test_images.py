"""What is read of an image, by an engine that is replaced by the file that it would give."""

from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.api import images
from runpod_comfy.api.images import node_classes_of_image


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
