"""What is read from pictures that anybody may have made."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_errors import InvalidInputError, UnavailableError
from rp_handler.pictures.parts import png_chunk
from rp_handler.pictures.texts import with_texts
from runpod_comfy.api.provenance import read_origin
from tests.hostile_texts import hostile, texts, values
from tests.media_files import noise, picture

GRAPH = {"1": {"class_type": "Paint", "inputs": {"name": "x.png"}}}
DOCUMENT: dict[str, Any] = {
    "schema": "runpod-comfy/provenance/1",
    "version": {
        "id": "demo",
        "lock": "sha256:" + "0" * 64,
        "image": None,
        "comfyui": "0.3.75",
        "handler": "0.1.0",
    },
    "workflow": "sha256:" + "1" * 64,
    "models": [{"path": "loras/x.safetensors", "sha256": "2" * 64}],
    "inputs": [{"name": "photo.png", "sha256": "3" * 64}],
    "device": {"name": "cpu", "type": "cpu", "platform": "linux-x86_64"},
}
PICTURES = {kind: picture(noise(), kind) for kind in ("PNG", "JPEG", "WEBP")}


def marked(
    path: Path, document: object = DOCUMENT, graph: object = GRAPH, kind: str = "PNG"
) -> Path:
    """A picture that says this; texts are put there as they are."""
    found = {"provenance": document, "prompt": graph}
    said = {name: it if isinstance(it, str) else json.dumps(it) for name, it in found.items()}
    made = with_texts(PICTURES[kind], said)
    assert made is not None
    path.write_bytes(made[0])
    return path


@pytest.mark.parametrize("kind", PICTURES)
def test_it_is_read_from_each_format(tmp_path: Path, kind: str) -> None:
    origin = read_origin(marked(tmp_path / "x", kind=kind))
    assert origin.provenance.version.id == "demo"
    assert origin.provenance.device.name == "cpu"
    assert origin.graph is not None
    assert origin.graph.document == GRAPH


DEEP = "[" * 100_000
NESTED = "[" * 200 + "]" * 200


@pytest.mark.parametrize(
    ("document", "graph", "sentence"),
    [
        ("{", GRAPH, "the provenance in FILE is not valid JSON"),
        (DEEP, GRAPH, "the provenance in FILE is nested too deeply"),
        (NESTED, GRAPH, "the provenance in FILE is nested too deeply"),
        ("9" * 5000, GRAPH, "the provenance in FILE is not valid JSON"),
        ("[]", GRAPH, "the provenance in FILE cannot be used: it must be an object in braces"),
        ("{}", GRAPH, "the provenance in FILE cannot be used: 'schema' is missing; 'version' is m"),
        (
            {"schema": "runpod-comfy/provenance/2"},
            GRAPH,
            "the provenance in FILE has the format run",
        ),
        (
            DOCUMENT | {"models": 5},
            GRAPH,
            "'models' must be a list in square brackets, not a number",
        ),
        (DOCUMENT | {"workflow": "x\ny"}, GRAPH, "'workflow' must be 'sha256:' and 64 lower-case"),
        (DOCUMENT | {"version": {"id": "../x"}}, GRAPH, "'version.id' must start with a letter or"),
        (
            DOCUMENT | {"inputs": [{"name": "a"}] * 10_001},
            GRAPH,
            "'inputs' must have at most 10000",
        ),
        (DOCUMENT, "{", "the prompt in FILE is not valid JSON"),
        (DOCUMENT, DEEP, "the prompt in FILE is nested too deeply"),
        (DOCUMENT, {"1": 5}, "the workflow in FILE is not a graph"),
    ],
    ids=range(14),
)
def test_what_cannot_be_used_is_a_sentence(
    tmp_path: Path, document: object, graph: object, sentence: str
) -> None:
    file = marked(tmp_path / "x.png", document, graph)
    with pytest.raises(InvalidInputError) as caught:
        read_origin(file)
    assert sentence in caught.value.message.replace(str(file), "FILE")
    assert caught.value.message.isprintable()


def test_files_that_say_nothing_are_refused(tmp_path: Path) -> None:
    bomb = png_chunk(b"zTXt", b"provenance\0\0" + zlib.compress(bytes(64 << 20)))
    content = PICTURES["PNG"]
    contents = {
        "does not say what it was made from": content,
        "is not a PNG, JPEG or WebP file": b"text",
        "cannot be used: the file is damaged": content[:60],
        "cannot be used: it has a text of more than 16 MB": content[:33] + bomb + content[33:],
    }
    for sentence, one in contents.items():
        (file := tmp_path / "x.png").write_bytes(one)
        with pytest.raises(InvalidInputError, match=sentence):
            read_origin(file)
    with pytest.raises(InvalidInputError, match="is not a file"):
        read_origin(tmp_path)
    os.truncate(file, 1 << 40)
    with pytest.raises(InvalidInputError, match="is too large for a picture: more than 256 MB"):
        read_origin(file)
    with pytest.raises(UnavailableError, match="there is no file"):
        read_origin(tmp_path / "nothing")


_keys = st.sampled_from(
    [(key,) for key in DOCUMENT]
    + [("version", key) for key in DOCUMENT["version"]]
    + [("device", key) for key in DOCUMENT["device"]]
    + [("models", 0, "path"), ("models", 0, "sha256"), ("inputs", 0, "name")]
)


@hostile(2000)
@given(_keys, st.one_of(values, texts))
def test_any_value_is_read_or_refused_in_one_printable_sentence(
    tmp_path: Path, keys: tuple[Any, ...], value: object
) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    at = document
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    file = marked(tmp_path / "x.png", document)
    try:
        read_origin(file)
    except InvalidInputError as error:
        refused = error.message
    else:
        refused = ""
    assert refused.isprintable()
    assert len(refused) < 1000
