"""What docs/models.md shows of a spec is what a spec may have."""

from __future__ import annotations

import json
import re

import pytest

from runpod_comfy.spec.model import Model, Options
from runpod_comfy.spec.model_sources import source_scheme
from tests.docs.documents import ROOT

TEXT = (ROOT / "docs" / "models.md").read_text()
SOURCES = re.findall(r"`((?:\w+://|urn:)[^`…]+)`", TEXT)
OBJECTS = re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_the_page_shows_a_source_of_every_kind() -> None:
    kinds = {source_scheme(source) for source in SOURCES}
    assert kinds >= {"hf", "civitai", "urn", "gs", "s3", "https", "file"}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_on_the_page_is_accepted(source: str) -> None:
    Model.model_validate({"name": "x.safetensors", "source": source, "target_subdir": "loras"})


@pytest.mark.parametrize("text", OBJECTS)
def test_every_model_on_the_page_is_accepted(text: str) -> None:
    Model.model_validate({"name": "x.safetensors", **json.loads(text)})


@pytest.mark.parametrize("option", re.findall(r"`\"options\": (\{[^`]*\})`", TEXT))
def test_every_option_on_the_page_is_accepted(option: str) -> None:
    Options.model_validate(json.loads(option))


def test_the_messages_on_the_page_are_those_of_the_program() -> None:
    sources = [path.read_text() for path in (ROOT / "src").rglob("*.py")]
    # Literals that go on in the next line are one.
    told = re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))
    _, _, table = TEXT.partition("| the message |")
    cells = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    messages = [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]
    parts = [part.strip(" ,") for message in messages for part in message.split("…")]
    assert len(parts) > 10
    assert [part for part in parts if part not in told and not re.search(r"\d", part)] == []
