"""The digest of a spec: which lock answers it."""

from __future__ import annotations

import json

from comfy_files.files import digest_of
from runpod_comfy.spec.model import Spec


def spec_digest(spec: Spec) -> str:
    """`sha256:…` over everything in the spec that decides what its lock holds.

    What is not set has no part in it, so that a new optional field changes no digest of a spec
    that does not use it.
    """
    document = {"schema": "runpod-comfy/spec-digest/1", **spec.document()}
    del document["schema_version"]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_of(text.encode())
