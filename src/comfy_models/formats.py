"""What a model file is: its format by its name, and what its first bytes say against it.

Nothing here loads a model: a pickle runs code when it is loaded.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Literal

from comfy_models.error_pages import fault_of_page, is_text
from comfy_models.safetensors_header import fault_of_header, header_end

ModelFormat = Literal["safetensors", "pickle", "gguf", "onnx", "other"]

PICKLE_SUFFIXES = (".ckpt", ".pt", ".bin", ".pth", ".pkl")
"""Suffixes of files that ComfyUI loads with pickle, in lower case."""

HEAD_BYTES = 64 * 1024
"""How much of its start every check of a file needs; of a longer header only the length is read."""

_FORMATS: dict[str, ModelFormat] = {
    ".safetensors": "safetensors",
    ".sft": "safetensors",
    ".gguf": "gguf",
    ".onnx": "onnx",
    **dict.fromkeys(PICKLE_SUFFIXES, "pickle"),
}
# The magic number of GGUF, in its specification (ggml, docs/gguf.md).
_GGUF = b"GGUF"
_OTHER_KINDS = (
    # torch.save writes a zip file (APPNOTE.TXT, 4.3.7), and before PyTorch 1.6 a pickle, whose
    # first opcode is PROTO with the version (pickletools).
    (b"PK\x03\x04", "a zip file, as PyTorch saves its pickled checkpoints"),
    *((b"\x80" + bytes([version]), "a pickled checkpoint") for version in range(2, 6)),
    (_GGUF, "a GGUF file"),
)


def format_of(name: str) -> ModelFormat:
    """The format of a model file by its name or path."""
    return _FORMATS.get(PurePosixPath(name).suffix.lower(), "other")


def fault_of_content(head: bytes, size: int | None, name: str) -> str | None:
    """Why a file is not what its name says, as the end of a sentence that starts with the file;
    None if nothing is wrong with what is there.

    `head` are its first bytes, HEAD_BYTES or all that there are; `size` is that of the whole file
    in bytes, None if it is not known. The `name` matters: the files of a model's folder include
    texts, which are no models.
    """
    if size == 0:
        return None if is_text(name) else "is empty"
    if fault := fault_of_page(head, name):
        return fault
    match format_of(name):
        case "safetensors":
            return _fault_of_safetensors(head, size)
        case "gguf" if not head.startswith(_GGUF[: len(head)]):
            return "is not a GGUF file"
    return None


def fault_of_file(path: Path, name: str) -> str | None:
    """As `fault_of_content`, of a whole file; of a safetensors file all of its header is read.

    Raises OSError.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEAD_BYTES)
        if format_of(name) == "safetensors":
            head += file.read(max(0, header_end(head) - len(head)))
    return fault_of_content(head, size, name)


def _fault_of_safetensors(head: bytes, size: int | None) -> str | None:
    fault = fault_of_header(head, size)
    # Only then: a header of 640 bytes starts as a pickle does.
    if fault:
        for start, kind in _OTHER_KINDS:
            if head.startswith(start):
                return f"is {kind}, not a safetensors file"
    return fault
