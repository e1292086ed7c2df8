"""A lock as bytes, and its digest, for the build side and the run side."""

from __future__ import annotations

import json
from typing import Any, Final

from comfy_files.files import digest_of

LOCK_VERSION: Final = 2
READ_VERSIONS = (1, LOCK_VERSION)
_EARLIER = ("source", "mirrors", "revision")

_ALWAYS: dict[str, Any] = {
    **{"allow_pickle": [], "base": {}, "comfy_args": [], "custom_nodes": []},
    **{"env": {}, "models": [], "run_install_scripts": []},
}
_ALWAYS_IN_PYTHON: dict[str, Any] = {"torch": [], "wheels": []}


def current_lock(document: dict[str, Any]) -> dict[str, Any]:
    """A lock's JSON document in the form of `LOCK_VERSION`: those of version 1 are converted."""
    if document.get("lock_version") != 1:
        return document
    models = document.get("models", [])
    if isinstance(models, list):
        models = [current_model(model) for model in models]
    return {**document, "lock_version": LOCK_VERSION, "models": models}


def current_model(model: Any) -> Any:
    """A model's JSON with `sources` in place of the `source`, `mirrors` and `revision` (the commit
    of a source on the Hugging Face Hub) of earlier locks and manifests.
    """
    if not isinstance(model, dict) or model.keys().isdisjoint(_EARLIER):
        return model
    mirrors = model.get("mirrors") or []
    if not isinstance(mirrors, list):
        mirrors = [mirrors]
    urls = [url for url in (model.get("source"), *mirrors) if url is not None]
    sources: list[dict[str, Any]] = [{"url": url} for url in urls]
    if sources and model.get("revision") is not None:
        sources[0]["pin"] = {"commit": model["revision"]}
    rest = {key: value for key, value in model.items() if key not in _EARLIER}
    return {**rest, "sources": sources}


def lock_bytes(document: dict[str, Any]) -> bytes:
    """The canonical bytes of a lock's JSON document, in the form of `LOCK_VERSION`."""
    return canonical_bytes(current_lock(document))


def canonical_bytes(document: dict[str, Any]) -> bytes:
    """The document of a lock of any version: sorted keys, two spaces, a newline at the end.

    Empty values are left out, because every default in a lock is empty.
    """
    filled = _filled(document)
    python = {**_ALWAYS_IN_PYTHON, **filled.get("python", {})}
    whole = {**_ALWAYS, **filled, "python": python}
    text = json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()


def lock_digest(document: dict[str, Any]) -> str:
    """`sha256:…` of `lock_bytes`, independent of the file's layout, of its version and of defaults
    written out.
    """
    return digest_of(lock_bytes(document))


def names_lock(digest: str | None, document: dict[str, Any]) -> bool:
    """Whether `digest` is that of this lock, as this program or an earlier one computed it."""
    current = current_lock(document)
    earlier = _in_version_1(current)
    known = [current] if earlier is None else [current, earlier]
    return digest in [digest_of(canonical_bytes(each)) for each in known]


def _in_version_1(document: dict[str, Any]) -> dict[str, Any] | None:
    """The lock as version 1 had it; None if that could not say all of it."""
    filled = _filled(document)
    models = [_model_in_version_1(model) for model in filled.get("models", [])]
    if None in models or "unhashed_models" in filled:
        return None
    return {**filled, "lock_version": 1, "models": models}


def _model_in_version_1(model: dict[str, Any]) -> dict[str, Any] | None:
    sources = model.get("sources", [{}])
    first, *others = sources
    pins = [source.get("pin", {}) for source in others]
    if "hashed_on_download" in model or any(pins) or first.get("pin", {}).keys() - {"commit"}:
        return None
    rest = {key: value for key, value in model.items() if key != "sources"}
    mirrors = [source.get("url") for source in others]
    revision = first.get("pin", {}).get("commit")
    return {**rest, "source": first.get("url"), "mirrors": mirrors, "revision": revision}


def _filled(value: Any) -> Any:
    """The value without keys whose value is None or empty."""
    if isinstance(value, list):
        return [_filled(each) for each in value]
    if not isinstance(value, dict):
        return value
    filled = {key: _filled(each) for key, each in value.items()}
    return {key: each for key, each in filled.items() if each not in (None, [], {})}
