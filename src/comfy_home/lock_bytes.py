"""A lock as bytes, and its digest, for the build side and the run side."""

from __future__ import annotations

import json
from typing import Any

from comfy_files.files import digest_of

_ALWAYS: dict[str, Any] = {
    **{"allow_pickle": [], "base": {}, "comfy_args": [], "custom_nodes": []},
    **{"env": {}, "models": [], "run_install_scripts": []},
}
_ALWAYS_IN_PYTHON: dict[str, Any] = {"torch": [], "wheels": []}


def lock_bytes(document: dict[str, Any]) -> bytes:
    """The canonical bytes of a lock's JSON document: sorted keys, two spaces, a newline at the end.

    Empty values are left out, because every default in a lock is empty.
    """
    filled = _filled(document)
    python = {**_ALWAYS_IN_PYTHON, **filled.get("python", {})}
    whole = {**_ALWAYS, **filled, "python": python}
    text = json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()


def lock_digest(document: dict[str, Any]) -> str:
    """`sha256:…` of `lock_bytes`, independent of the file's layout and of defaults written out."""
    return digest_of(lock_bytes(document))


def _filled(value: Any) -> Any:
    """The value without keys whose value is None or empty."""
    if isinstance(value, list):
        return [_filled(each) for each in value]
    if not isinstance(value, dict):
        return value
    filled = {key: _filled(each) for key, each in value.items()}
    return {key: each for key, each in filled.items() if each not in (None, [], {})}
