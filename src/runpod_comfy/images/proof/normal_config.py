"""The configuration of an image in one way of writing, with fixed times. Its digest is the id.

What is kept is what containers see
(https://github.com/opencontainers/image-spec/blob/main/config.md, and Docker's additions).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from runpod_comfy.images.labels import CREATED

_KEPT = ("architecture", "os", "os.version", "variant")
_SETTINGS = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "StopTimeout",
    "Shell",
    "Healthcheck",
    "OnBuild",
)
_UNKNOWN_TIME = "1970-01-01T00:00:00Z"


def normal_config(config: Mapping[str, Any], digests: Sequence[str]) -> bytes:
    """The bytes of the configuration, for layers with these `sha256:…` digests.

    The image's time, and that of all its history, is what its label says, else 1970.
    """
    settings = config.get("config") or {}
    created = (settings.get("Labels") or {}).get(CREATED, _UNKNOWN_TIME)
    document = {
        **{key: config[key] for key in _KEPT if config.get(key)},
        "config": {key: settings[key] for key in _SETTINGS if settings.get(key)},
        "created": created,
        "history": [_step(each, created) for each in config.get("history") or []],
        "rootfs": {"type": "layers", "diff_ids": list(digests)},
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _step(step: Mapping[str, Any], created: str) -> dict[str, Any]:
    # No comment: engines put their own names there.
    kept: dict[str, Any] = {"created": created, "created_by": step.get("created_by", "")}
    if step.get("empty_layer"):
        kept["empty_layer"] = True
    return kept
