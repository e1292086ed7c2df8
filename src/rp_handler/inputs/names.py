"""Names of input files: paths below the engine's input folder, as a graph refers to them."""

from __future__ import annotations

import unicodedata

from comfy_files.inner_path import LONGEST_NAME

_LONGEST_BYTES = 1024
# The engine takes them off a name to learn which of its folders is meant.
ANNOTATIONS = ("[input]", "[output]", "[temp]")
_EXAMPLE = 'such as "photo.png" or "faces/photo.png"'


def fault_of_name(name: str) -> str | None:
    """What is wrong with a name, as the end of a sentence; None if the engine can read it."""
    parts = name.split("/")
    if not name:
        return f"must be the name of a file, {_EXAMPLE}, not empty"
    if not is_text(name):
        return "has a control character or half a character"
    if "\\" in name:
        return "has a backslash; write / between a folder and a name"
    if any(part in ("", ".", "..") for part in parts):
        return f"must be a path below the input folder, {_EXAMPLE}, without '..' and empty parts"
    if name.endswith(ANNOTATIONS):
        return f"ends in {name[name.rindex('[') :]}, which ComfyUI does not take as part of a name"
    sizes = [len(part.encode()) for part in parts]
    if max(sizes) > LONGEST_NAME or sum(sizes) + len(sizes) > _LONGEST_BYTES:
        return f"is longer than {LONGEST_NAME} bytes, or {_LONGEST_BYTES} with its folders"
    return None


def is_text(value: str) -> bool:
    """False for a text with control characters or half a character."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in value)
