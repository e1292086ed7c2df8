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
