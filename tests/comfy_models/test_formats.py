"""What a model file is by its name, and what its first bytes say against that."""

from __future__ import annotations

import io
import json
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from comfy_models.formats import (
    HEAD_BYTES,
    PICKLE_SUFFIXES,
    fault_of_content,
    fault_of_file,
    format_of,
)

DEMO_MODEL = Path(__file__).parents[2] / "versions/demo/models" / "bicubic-2x-compact.safetensors"
TENSORS: dict[str, Any] = {"a": np.zeros((3, 4), dtype=np.float32), "b": np.ones(5, dtype=np.int8)}
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 12345\n"
S3_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>NoSuchKey</Code><Message>It does not exist.</Message></Error>"
)
PAGE = "<!-- x --><!DOCTYPE html>\n<html><head><title>\n Sign in &amp; go</title></head></html>"


def fault(content: bytes, name: str = "m.safetensors") -> str | None:
    return fault_of_content(content[:HEAD_BYTES], len(content), name)


def with_header(header: Any, tensors: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def of_length(size: int) -> bytes:
    """A file without tensors, whose header has `size` bytes."""
    return with_header(b"{}".ljust(size))


@pytest.mark.parametrize(
    ("name", "model_format"),
    [
        *(("vae/m.safetensors", "safetensors"), ("m.SFT", "safetensors"), ("m.gguf", "gguf")),
        *(("m.onnx", "onnx"), ("config.json", "other"), ("m", "other"), ("m.pt.txt", "other")),
        *((f"m{suffix}", "pickle") for suffix in (*PICKLE_SUFFIXES, ".CKPT")),
    ],
)
def test_the_name_tells_the_format(name: str, model_format: str) -> None:
    assert format_of(name) == model_format


def test_files_that_the_library_writes_have_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for tensors, metadata in ((TENSORS, {"format": "pt"}), (TENSORS, None), ({}, None)):
        save_file(tensors, path, metadata)
        assert fault(path.read_bytes()) is None
    assert fault(DEMO_MODEL.read_bytes()) is None


def test_of_a_header_beyond_the_first_bytes_only_the_length_is_checked() -> None:
    content = save({f"layer.{n:08}.weight": TENSORS["b"] for n in range(3000)})
    assert int.from_bytes(content[:8], "little") > HEAD_BYTES
    assert fault(content) is None
    assert fault(content[:-1]) is None
    assert "is not a whole safetensors file" in str(fault(content[:HEAD_BYTES]))


def test_a_file_that_was_cut_or_added_to_says_so() -> None:
    whole = save(TENSORS)
    cut = f"has {len(whole) - 3} bytes, but its header describes {len(whole)}: its end is missing"
    assert str(fault(whole[:-3])).startswith(cut)
    assert "something was added to it" in str(fault(whole + b"x"))
    assert "is not a whole safetensors file: its header has" in str(fault(whole[:20]))
    assert fault(whole[:5]) == "has 5 bytes, which is too short for a safetensors file"


def test_the_start_of_a_stream_of_unknown_size_has_no_fault() -> None:
    whole = save(TENSORS)
    for size in range(len(whole)):
        assert fault_of_content(whole[:size], None, "m.safetensors") is None
    assert "header is not valid" in str(
        fault_of_content(with_header({"a": 1}), None, "m.safetensors")
    )


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"{\xff}",
        b"{" + b"[" * 20_000,
        {"a": 1},
        {"a": {}},
        {"a": {"data_offsets": [0]}},
        {"a": {"data_offsets": [0, "8"]}},
        {"a": {"data_offsets": [4, 0]}},
        {"a": {"data_offsets": [-4, 4]}},
        {"a": {"data_offsets": [1, 8]}},
        {"a": {"data_offsets": [0, 4]}, "b": {"data_offsets": [2, 8]}},
        {"a": {"data_offsets": [0, 4]}, "b": {"data_offsets": [5, 8]}},
    ],
)
def test_a_header_that_the_library_would_refuse_is_refused(header: Any) -> None:
    found = fault(with_header(header, bytes(8)))
    assert found == "is not a safetensors file: its header is not valid"


def test_a_header_may_be_as_long_as_the_library_reads() -> None:
    too_long = (100_000_001).to_bytes(8, "little") + b"{}"
    for content in (b"x" * 100, with_header([]), too_long + bytes(100)):
        assert fault(content) == "is not a safetensors file: it does not start with a header"
    longest = (100_000_000).to_bytes(8, "little") + b"{}"
    assert fault_of_content(longest, 100_000_008, "m.safetensors") is None


def test_a_pickle_is_not_taken_for_safetensors() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("archive/data.pkl", pickle.dumps({}, 2))
    assert "is a zip file, as PyTorch saves its pickled" in str(fault(archive.getvalue()))
    for protocol in range(2, 6):
        checkpoint = pickle.dumps({"a": [1, 2, 3]}, protocol)
        assert fault(checkpoint) == "is a pickled checkpoint, not a safetensors file"
        assert fault(checkpoint, "m.ckpt") is None
    assert "is a GGUF file" in str(fault(b"GGUF" + bytes(20)))


def test_a_header_whose_length_reads_like_a_pickle_is_a_header() -> None:
    assert of_length(640).startswith(b"\x80\x02")
    assert fault(of_length(640)) is None


def test_a_gguf_file_starts_with_its_magic_number() -> None:
    assert fault(b"GGUF\x03\x00\x00\x00", "m.gguf") is None
    assert fault(b"GGML\x03\x00\x00\x00", "m.gguf") == "is not a GGUF file"


@pytest.mark.parametrize("name", ["m.safetensors", "m.ckpt", "m.gguf", "m.onnx", "m.engine"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (PAGE, "is a web page ('Sign in & go'), not a model"),
        ("\ufeff\n <HTML>", "is a web page, not a model"),
        (S3_ERROR, "is an error in XML ('NoSuchKey: It does not exist.'), not a model"),
        ('{"error": "Invalid username"}', "is a JSON text ('Invalid username'), not a model"),
        (
            '{"error": "Unauthorized", "message": "You must be logged in"}',
            "is a JSON text ('You must be logged in'), not a model",
        ),
        (
            '{\n "error": {"code": 404, "message": "No such object"}}',
            "is a JSON text ('No such object'), not a model",
        ),
        ('{"errors": [{"message": "no"}]}', "is a JSON text ('no'), not a model"),
        ('{"a": "\u00e9', "is a JSON text, not a model"),
        ("[[" * 5000, "is a JSON text, not a model"),
        (
            POINTER,
            "is a Git LFS pointer, which stands for a file of 12,345 bytes with sha256 "
            + "ab" * 32,
        ),
        (POINTER[:60], "is a Git LFS pointer, which stands for a file"),
        ("", "is empty"),
    ],
)
def test_what_hosts_send_instead_of_a_model_is_named(
    name: str, content: str, sentence: str
) -> None:
    assert fault(content.encode(), name) == sentence


def test_a_text_that_ends_amid_a_character_is_a_text() -> None:
    head = '{"error": "é'.encode()[:-1]
    assert fault_of_content(head, None, "m.ckpt") == "is a JSON text, not a model"


def test_a_hosts_message_is_one_short_line_without_its_token() -> None:
    said = "no:\n\x1b[31m https://h/x?token=secret1 " + "x" * 500
    sentence = str(fault(json.dumps({"message": said}).encode()))
    assert sentence.startswith("is a JSON text ('no: [31m https://h/x?token=*** xxx")
    assert sentence.isprintable()
    assert len(sentence) < 300


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", '{"error": "Invalid username"}'),
        ("tokenizer/vocab.json", "[[]]"),
        ("merges.txt", ""),
        ("README.md", PAGE),
        ("index.html", PAGE),
        ("openvino_model.xml", '<?xml version="1.0"?>\n<net/>'),
        ("__init__.py", ""),
        (".gitkeep", ""),
        ("m.bin", "x"),
        ("m.bin", "{"),
        ("m.bin", "[1"),
        ("m.bin", '{"\x00'),
        ("m.bin", "<header>"),
    ],
)
def test_texts_of_a_models_folder_are_what_they_are(name: str, content: str) -> None:
    assert fault(content.encode(), name) is None


def test_no_text_is_a_pointer_or_a_web_page_instead() -> None:
    assert "is a Git LFS pointer" in str(fault(POINTER.encode(), "config.json"))
    assert "is a web page" in str(fault(PAGE.encode(), "config.json"))
    assert "is a web page" in str(fault(PAGE.encode(), "LICENSE"))


def test_a_page_made_to_take_long_is_named_at_once() -> None:
    start_s = time.process_time()
    for part in (b"<!---->", b"<!--", b"<html><title", b"<Error><Code>", b"<?xml", b'{"a":'):
        fault(part * HEAD_BYTES, "m.ckpt")
    assert time.process_time() - start_s < 1


def test_a_header_longer_than_the_first_bytes_is_read_in_a_whole_file(tmp_path: Path) -> None:
    names = {f"tensor.{number}": {"dtype": "U8", "shape": [0]} for number in range(3000)}
    header = json.dumps({name: {**each, "data_offsets": [0, 0]} for name, each in names.items()})
    assert len(header) > HEAD_BYTES
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    assert fault_of_file(path, path.name) is None
    path.write_bytes(len(header).to_bytes(8, "little") + header.replace("}}", "}]").encode())
    assert fault_of_file(path, path.name) == "is not a safetensors file: its header is not valid"
