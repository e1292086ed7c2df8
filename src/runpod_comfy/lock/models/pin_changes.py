"""Whether a host still has the file that it was pinned to."""

from __future__ import annotations

from comfy_models.model_file import Pin

# A commit of the Hub changes with any file of its repository.
_OF_THE_FILE = {
    "etag": "entity tag",
    "generation": "generation",
    "crc32c": "crc32c",
    "version_id": "version",
    "file_id": "file",
    "length": "length",
}


def change_of_pin(before: Pin, now: Pin) -> tuple[str, str, str] | None:
    """What differs between two pins of one URL, as far as both tell it, and its two values; None if
    they can be of the same file.
    """
    for key, title in _OF_THE_FILE.items():
        then, today = getattr(before, key), getattr(now, key)
        if None not in (then, today) and then != today:
            return title, str(then), str(today)
    return None
